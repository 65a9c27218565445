package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// waiting is the line of what follows a journey's end and is no part of it.
func (o Options) waiting(w tracer.Waiting) []string {
	transport, reader := o.spread(w.Transport), o.spread(w.Reader)
	if transport == "" && reader == "" {
		return nil
	}
	var parts []string
	if transport != "" {
		parts = append(parts, "transport "+transport)
	}
	if reader != "" {
		parts = append(parts, "reader "+reader, "measured for "+Percent(w.Share)+" of packets")
	}
	return o.flow(indent+"waiting for the application: ", indent+indent, ", ", parts)
}

// spread is "1.80 ms (p99 2.91 ms)", "" when nothing was counted.
func (o Options) spread(l tracer.Latency) string {
	return spread(o.summary(l), Duration)
}

func spread(s tracer.Summary, unit func(float64) string) string {
	switch {
	case s.Count == 0:
		return ""
	case s.P50Ns == nil:
		return unit(s.MeanNs) + " on average"
	case s.P99Ns == nil:
		return unit(*s.P50Ns)
	}
	return unit(*s.P50Ns) + " (p99 " + unit(*s.P99Ns) + ")"
}

// proxied says that docker-proxy answers for the target, and what its two legs
// and the proxy itself take. The first leg's paths end at the proxy, in the
// host, and the second leg's in the target.
func (o Options) proxied(t tracer.Target) []string {
	if t.Proxied == nil {
		return nil
	}
	parts := []string{fmt.Sprintf("answered by docker-proxy, not DNAT (pid %d)", t.Proxied.PID)}
	first := o.spread(merged(t.Paths, func(p tracer.Path) bool { return p.Direction == tracer.Ingress && p.Leg() == 1 }))
	second := o.spread(merged(t.Paths, func(p tracer.Path) bool { return p.Direction == tracer.Ingress && p.Leg() == 2 }))
	for _, leg := range []struct{ name, text string }{
		{"client to proxy ", first},
		{"in the proxy ", o.spread(t.Proxied.Proxy)},
		{"proxy to container ", second},
	} {
		if leg.text != "" {
			parts = append(parts, leg.name+leg.text)
		}
	}
	return paint(o.styles().warn, o.flow(indent, indent+indent, "; ", parts))
}

// leg says between whom a path of docker-proxy's two connections goes.
func leg(p tracer.Path) string {
	switch second := p.Leg() == 2; {
	case p.Direction == tracer.Ingress && second:
		return "docker-proxy to container"
	case p.Direction == tracer.Ingress:
		return "client to docker-proxy"
	case second:
		return "container to docker-proxy"
	default:
		return "docker-proxy to client"
	}
}

// drops is a line per hop and reason, most first.
func (o Options) drops(drops []tracer.Drop) []string {
	ds := slices.Clone(drops)
	slices.SortStableFunc(ds, func(a, b tracer.Drop) int { return cmp.Compare(b.Count, a.Count) })
	var parts []string
	for _, d := range ds {
		if d.Count > 0 {
			parts = append(parts, fmt.Sprintf("%s %s in %s (%s)",
				Count(d.Count), d.Direction, Escape(d.Hop), Escape(d.Reason)))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	lines := o.flow(indent+"dropped: ", indent+indent, ", ", parts)
	for _, d := range ds {
		for _, r := range d.Rules {
			lines = append(lines, o.flow(indent+indent, indent+indent+indent, " ", rule(r))...)
		}
	}
	return paint(o.styles().alarm, lines)
}

// rule says what dropped packets, in words that may be parted:
//
//	25 by ip filter/DOCKER-USER rule 1: -p udp --dport 7 -j DROP (198.51.100.2:40312 -> 172.17.0.2:7 udp)
func rule(r tracer.DropRule) []string {
	text := Count(r.Count) + " by rule unknown"
	switch {
	case r.Rule != nil:
		text = Count(r.Count) + " by " + Escape(r.Rule.String())
	case r.Why != "":
		text += ": " + Escape(r.Why)
	}
	if r.Packet != "" {
		text += " (" + Escape(r.Packet) + ")"
	}
	return strings.Fields(text)
}

func way(d tracer.Direction) string {
	if d == tracer.Egress {
		return "out"
	}
	return "in"
}

// accounting is a line per direction, and a loud one when it does not add up.
func (o Options) accounting(t tracer.Target) []string {
	var lines []string
	for _, d := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
		a, skipped := t.Accounting[d], t.Skipped[d]
		if a == (tracer.Accounting{}) && len(skipped) == 0 {
			continue
		}
		equals := "="
		if !o.Final && a.Balance() != 0 { // packets moved while it was read, or before an interval
			equals = "≈"
		}
		parts := append(append(began(a), equals), ended(a)...)
		if len(skipped) > 0 {
			reasons := make([]string, len(skipped))
			for i, s := range skipped {
				reasons[i] = Count(s.Count) + " " + Escape(s.Reason)
			}
			parts = append(parts, "(skipped: "+strings.Join(reasons, ", ")+")")
		}
		first := fmt.Sprintf("%saccounting %-4s", indent, way(d))
		lines = append(lines, paint(o.styles().dim, o.flow(first, indent+indent, " ", parts))...)
		if off := a.Balance(); off != 0 && o.Final {
			lines = append(lines, o.prose(indent, fmt.Sprintf(
				"!!! accounting %s does not add up: %s", way(d), imbalance(off)), o.styles().alarm)...)
		}
	}
	return lines
}

func imbalance(off int64) string {
	if off > 0 {
		return plural(uint64(off), "packet") + " started and never ended"
	}
	return plural(uint64(-off), "packet") + " ended and never started"
}

// term is a part of the accounting's equation.
type term struct {
	n    uint64
	name string
}

func began(a tracer.Accounting) []string {
	return sum([]term{{a.Started, "started"}, {a.Cloned, "cloned"}})
}

func ended(a tracer.Accounting) []string {
	return sum([]term{
		{a.Completed, "completed"},
		{a.Dropped, "dropped"},
		{a.Merged, "merged"},
		{a.Evicted, "evicted"},
		{a.Expired, "expired"},
		{a.Cut, "cut"},
		{a.InFlight, "in flight"},
	})
}

// sum writes the terms that are not 0, the first one always.
func sum(terms []term) []string {
	var parts []string
	for i, t := range terms {
		switch text := Count(t.n) + " " + t.name; {
		case i == 0:
			parts = append(parts, text)
		case t.n > 0:
			parts = append(parts, "+ "+text)
		}
	}
	return parts
}

// Title is the line above all targets: what measured, where, and for how long.
func Title(s tracer.Snapshot, o Options) []string {
	parts := []string{"vethtrace " + Escape(s.Version)}
	if s.Kernel != "" {
		parts = append(parts, "Linux "+Escape(s.Kernel))
	}
	parts = append(parts, "detail "+Escape(string(s.Detail)), Duration(float64(s.Duration)))
	if by := otherProviders(s.Hooks); len(by) > 0 {
		parts = append(parts, "by "+strings.Join(by, ", "))
	}
	if len(s.Missing) > 0 {
		parts = append(parts, "without "+without(s.Missing))
	}
	if o.Raw {
		parts = append(parts, "raw: what measuring costs is included")
	}
	lines := o.flow("", indent, "  ", parts)
	if budget := budgetWords(s); len(budget) > 0 {
		lines = append(lines, o.flow("", indent, ", ", budget)...)
	}
	return paint(o.styles().dim, lines)
}

// otherProviders are those that hooks have come down to, as this kernel lacks the first ones.
func otherProviders(hooks []tracer.Attachment) (by []string) {
	for _, h := range hooks {
		switch h.Provider {
		case tracer.ProviderClsact, tracer.ProviderTrampoline, tracer.ProviderRawTracepoint:
			if name := string(h.Provider); !slices.Contains(by, name) {
				by = append(by, name)
			}
		}
	}
	slices.Sort(by)
	return by
}

// without names the hooks that a run lacks, the first of many.
func without(missing []tracer.Missing) string {
	const most = 4
	var names []string
	for _, m := range missing[:min(len(missing), most)] {
		names = append(names, Escape(m.Hook))
	}
	text := strings.Join(names, ", ")
	if more := len(missing) - most; more > 0 {
		text += fmt.Sprintf(" and %d more hooks", more)
	}
	return text
}

// Notes are what a reader must know, one after another.
func Notes(s tracer.Snapshot, o Options) []string {
	var lines []string
	for _, n := range s.Notes {
		lines = append(lines, o.prose("note: ", Escape(n), o.styles().warn)...)
	}
	return lines
}

// Cost is what measuring costs, and loudly what it missed.
func Cost(s tracer.Snapshot, o Options) []string {
	ob := s.Observer
	var hooks []string
	for name := range ob.StampNs {
		hooks = append(hooks, name)
	}
	slices.SortFunc(hooks, func(a, b string) int {
		return cmp.Or(cmp.Compare(ob.StampNs[b], ob.StampNs[a]), strings.Compare(a, b))
	})
	for i, name := range hooks {
		hooks[i] = Escape(name) + " " + Duration(ob.StampNs[name])
	}
	var parts []string
	if len(hooks) > 0 {
		parts = append(parts, strings.Join(hooks, ", ")+" a stamp")
	}
	if sec := s.Duration.Seconds(); sec > 0 {
		parts = append(parts, Quantity(float64(ob.Stamps)/sec, "")+" stamps/s")
	}
	parts = append(parts, Percent(ob.CPUShare)+" of one CPU")
	lines := paint(o.styles().dim, o.flow("measuring costs ", indent, "; ", parts))
	lines = append(lines, o.selfCheck(ob.SelfCheck)...)
	for _, m := range []struct {
		n    uint64
		text string
	}{
		{ob.RecursionMisses, "runs of our programs were skipped by the kernel (recursion): their stamps are missing"},
		{ob.RingLost, "slow or sampled journeys could not be recorded"},
		{ob.CallsLost, "calls of functions are in no figure: too many in one journey, or too many different ones"},
		{ob.Unpathed, "completed journeys are counted, but in no table: too many different paths"},
	} {
		if m.n > 0 {
			lines = append(lines, o.prose("!!! ", Count(m.n)+" "+m.text, o.styles().alarm)...)
		}
	}
	return lines
}
