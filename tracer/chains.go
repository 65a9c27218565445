package tracer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
)

// chainPlan says where the borders between the netfilter chains of one
// namespace lie. Details devices and hooks have no such borders: their plan is empty.
type chainPlan struct {
	points map[journey.Point]pointPlan
}

// pointPlan is one hook: the chains that run there, in order, and the priority
// of each border behind one of them but the last.
type pointPlan struct {
	names      []string
	priorities []int // one less than names
}

var points = []journey.Point{ //nolint:gochecknoglobals // the kernel's list of hooks
	journey.PreRouting, journey.LocalIn, journey.Forward, journey.LocalOut, journey.PostRouting,
}

// planChains reads the chains of the host and of new targets, at detail tables.
// With more targets than tcx is good for, in all, their own chains are not told
// apart: a namespace then has the four links that it needs, and no more.
func (t *Tracer) planChains(targets []*target, all int) error {
	var err error
	if t.chains == nil {
		if t.chains, err = t.readChains(t.host); err != nil {
			return fmt.Errorf("read the host's netfilter chains: %w", err)
		}
	}
	for _, target := range targets {
		if all > mostTCX {
			target.chains = &chainPlan{}
			continue
		}
		if target.chains, err = t.readChains(target.ns); err != nil {
			return fmt.Errorf("target %s: read its netfilter chains: %w", target.spec.Name, err)
		}
	}
	return nil
}

func (t *Tracer) readChains(ns *netns.NS) (*chainPlan, error) {
	if t.cfg.Detail != DetailTables {
		return &chainPlan{}, nil
	}
	chains, err := netfilter.BaseChains(ns)
	if err != nil {
		return nil, err
	}
	return newChainPlan(func(point journey.Point) []netfilter.Bracket {
		return merge(netfilter.Borders(chains, "ip", point.String()), netfilter.Borders(chains, "ip6", point.String()))
	}), nil
}

// newChainPlan lays the borders: one behind each bracket but the last, as far
// as border numbers reach and priorities leave room for one.
func newChainPlan(brackets func(journey.Point) []netfilter.Bracket) *chainPlan {
	plan := &chainPlan{points: map[journey.Point]pointPlan{}}
	for _, point := range points {
		var p pointPlan
		previous := math.MinInt32
		for _, bracket := range brackets(point) {
			// conntrack's confirmation runs behind the last place a link can take
			if bracket.Priority >= priorityLast {
				continue
			}
			label := strings.Join(bracket.Names, "+")
			noRoom := len(p.names) > 0 && (bracket.Priority <= previous+1 || len(p.names) == journey.LastBorder)
			if noRoom {
				p.names[len(p.names)-1] += "+" + label
			} else {
				if len(p.names) > 0 {
					p.priorities = append(p.priorities, previous+1)
				}
				p.names = append(p.names, label)
			}
			previous = bracket.Priority
		}
		if len(p.names) > 0 {
			plan.points[point] = p
		}
	}
	return plan
}

// merge joins the brackets of IPv4 and IPv6, which links watch alike.
func merge(a, b []netfilter.Bracket) []netfilter.Bracket {
	var merged []netfilter.Bracket
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Priority < b[0].Priority:
			merged, a = append(merged, a[0]), a[1:]
		case len(a) == 0 || b[0].Priority < a[0].Priority:
			merged, b = append(merged, b[0]), b[1:]
		default:
			merged, a, b = append(merged, a[0]), a[1:], b[1:]
		}
	}
	return merged
}

// between names the chains from one border to another; "" where none are told apart.
func (p *chainPlan) between(point journey.Point, from, to int) string {
	if p == nil {
		return ""
	}
	names := p.points[point].names
	if to == journey.LastBorder || to > len(names) {
		to = len(names)
	}
	if from >= to {
		return ""
	}
	return strings.Join(names[from:to], "+")
}

// borders are the places of a hook that the table of hooks does not have.
func (p *chainPlan) borders(scope Scope) []HookSpec {
	var rows []HookSpec
	for _, point := range points {
		plan, ok := p.points[point]
		if !ok || scope == ScopeTarget && point == journey.Forward {
			continue
		}
		add := func(border int) {
			rows = append(rows, HookSpec{
				Program: borderProgram(border), Provider: ProviderNetfilter, Scope: scope, Point: point, Border: border,
				Details: []Detail{DetailTables}, Bridge: true, HostMode: true, Duty: DutyAlways, Is: "border",
			})
		}
		if point == journey.PreRouting || point == journey.LocalIn {
			add(0)
		}
		for i := range plan.priorities {
			add(i + 1)
		}
		if point == journey.LocalOut || point == journey.PostRouting || point == journey.PreRouting && scope == ScopeTarget {
			add(journey.LastBorder)
		}
	}
	return rows
}

func borderProgram(border int) string {
	if border == journey.LastBorder {
		return "vt_border_last"
	}
	return fmt.Sprintf("vt_border_%d", border)
}

func (p *chainPlan) priority(h HookSpec) int {
	if plan := p.points[h.Point]; h.Border > 0 && h.Border <= len(plan.priorities) {
		return plan.priorities[h.Border-1]
	}
	return priorityOf(h)
}

// attachChains attaches the borders between the chains of a namespace.
func (t *Tracer) attachChains(a attacher, to *links, scope Scope, plan *chainPlan) error {
	for _, h := range plan.borders(scope) {
		if scope == ScopeHost && h.Point == journey.LocalOut && h.Border == journey.LastBorder {
			continue // a row of the table
		}
		if err := a.netfilter(to, h, plan.priority(h)); err != nil {
			return err
		}
	}
	return nil
}

// naming is what the names of a target's hops depend on.
func (t *Tracer) naming(of *target) journey.Context {
	routed := !slices.ContainsFunc(of.interfaces, func(i Interface) bool { return i.Bridge != "" })
	return journey.Context{
		Chains: pathChains{t.chains, of.chains}, Routed: routed && !of.hostMode, Devices: t.cfg.Detail == DetailDevices,
	}
}

// pathChains names chains for the paths of one target.
type pathChains struct{ host, target *chainPlan }

// Between implements journey.Chains.
func (c pathChains) Between(target bool, point journey.Point, from, to int) string {
	if target {
		return c.target.between(point, from, to)
	}
	return c.host.between(point, from, to)
}
