// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Query asks for the way of a connection's first packet.
type Query struct {
	From netip.Addr
	// To may lack its address: then it is the host's, as the sender would use it.
	To    netip.AddrPort
	Proto uint8 // rules.TCP, UDP, SCTP, ICMP
}

// anyPort stands for the port that a client happens to get.
const anyPort = 40000

// mostStages bounds how often a packet crosses from one namespace to another.
const mostStages = 8

// hostPlace is what steps in the host's namespace are marked by.
const hostPlace = "host"

// asker keeps what several questions to the same rules share.
type asker struct {
	f      *Facts
	host   *rules.Evaluator
	spaces map[*Member]*rules.Evaluator
	ups    []topology.Link  // the uplinks, once they were asked for
	behind map[string][]int // ports that an address is behind, once asked for
	heard  map[int][]string // addresses learned, by port
}

func newAsker(f *Facts) *asker { return &asker{f: f, spaces: map[*Member]*rules.Evaluator{}} }

func (a *asker) uplinks() []topology.Link {
	if a.ups == nil {
		a.ups = a.f.uplinks()
	}
	return a.ups
}

// learned tells whether a bridge knows an address behind a port.
func (a *asker) learned(mac string, port int) bool {
	return slices.Contains(a.ports(mac), port)
}

// ports are those that bridges have an address behind.
func (a *asker) ports(mac string) []int {
	if a.behind == nil {
		a.behind = map[string][]int{}
		for _, l := range a.f.Learned {
			a.behind[l.MAC] = append(a.behind[l.MAC], l.Port)
		}
	}
	return a.behind[mac]
}

func (a *asker) onHost() *rules.Evaluator {
	if a.host == nil {
		a.host = evaluator(a.f.Host)
	}
	return a.host
}

func (a *asker) in(m *Member) *rules.Evaluator {
	if m.Wiring.Same {
		return a.onHost()
	}
	if a.spaces[m] == nil {
		a.spaces[m] = evaluator(m.Space)
	}
	return a.spaces[m]
}

func evaluator(s Space) *rules.Evaluator {
	set := s.Rules
	if set == nil {
		set = &rules.Set{}
	}
	return rules.NewEvaluator(set, s.Env)
}

// Explain tells the way of a packet, step by step, and what becomes of it. It
// asks the rules that were read, not the kernel.
func (f *Facts) Explain(q Query) Way {
	q.Proto = ofFamily(q.Proto, q.From)
	w := &walker{asker: newAsker(f), q: q}
	w.steps = &w.way.There
	w.way = Way{There: []Step{}, Onward: []Step{}, Back: []Step{}, Verdict: Verdict{Processes: []Process{}}}
	w.way.Protocol = protocolName(q.Proto)
	w.sender, w.from = f.owner(q.From)
	if w.sender == nil && (q.From.IsLoopback() || f.Host.Namespace.HasAddr(q.From)) {
		w.local = true
	}
	if !w.q.To.Addr().IsValid() {
		to, ok := w.target()
		if !ok {
			w.way.From, w.way.To = endpoint(q.From, anyPort, q.Proto), fmt.Sprintf(":%d", q.To.Port())
			w.end(Unreachable, "the host has no address of that family which %s could send to", q.From)
			return w.way
		}
		w.q.To = netip.AddrPortFrom(to, q.To.Port())
	}
	w.way.From, w.way.To = endpoint(q.From, anyPort, q.Proto), endpoint(w.q.To.Addr(), w.q.To.Port(), q.Proto)
	if q.From.Is4() != w.q.To.Addr().Is4() {
		w.end(Unreachable, "%s and %s are of two families", q.From, w.q.To.Addr())
		return w.way
	}
	w.walk()
	return w.way
}

// walker follows one packet.
type walker struct {
	*asker
	q      Query
	way    Way
	steps  *[]Step
	local  bool // made on the host
	sender *Member
	from   *topology.Interface // of the sender
	stages int

	// What the host's connection tracking knows, for the answer.
	before, after rules.Packet
	tracked       bool
	proxying      bool // this is the proxy's own connection
	backing       bool // this is the answer
	refused       bool // no socket took the packet: the kernel says so
}

// target is the host's address that a sender would use.
func (w *walker) target() (netip.Addr, bool) {
	if w.local {
		return w.q.From, true
	}
	same := func(p netip.Prefix) bool {
		return p.Addr().Is4() == w.q.From.Is4() && !p.Addr().IsLinkLocalUnicast()
	}
	if w.sender == nil {
		if route, ok, _ := w.f.Host.Env.Routes.Lookup(rules.Query{Dst: w.q.From}); ok {
			for _, p := range w.f.Host.Env.Devices[route.Dev].Addrs {
				if same(p) {
					return p.Addr(), true
				}
			}
		}
	}
	for _, l := range w.uplinks() {
		for _, p := range l.Addrs {
			if same(p) {
				return p.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// walk begins where the sender is.
func (w *walker) walk() {
	p := rules.Packet{Src: w.q.From, Dst: w.q.To.Addr(), Proto: w.q.Proto, SrcPort: anyPort, DstPort: w.q.To.Port(), TCPFlags: rules.SYN, ICMPType: echo(w.q.Proto, false)}
	switch {
	case w.sender != nil:
		w.way.Origin = w.sender.Name
		w.leaveTarget(w.sender, p)
	case w.local:
		w.way.Origin = hostPlace
		w.step(Step{Place: hostPlace, Kind: KindStart, Text: "made by a process of the host"})
		w.onHostFrom(p)
	default:
		w.way.Origin = "outside"
		w.arrive(p)
	}
}

// arrive begins at a device of the host.
func (w *walker) arrive(p rules.Packet) {
	if m, in := w.f.owner(p.Dst); m != nil && in.Lower != nil {
		w.step(Step{Place: hostPlace, Kind: KindStart, Text: fmt.Sprintf("arrives at %s; %s takes it there, before the host's rules", in.Lower.Name, kindMode(in.Dev))})
		w.enterTarget(m, in, p)
		return
	}
	route, ok, unsure := w.f.Host.Env.Routes.Lookup(rules.Query{Dst: p.Src})
	if !ok || unsure {
		w.end(Unreachable, "the host has no route to %s, by whose device the packet would come", p.Src)
		return
	}
	p.In = route.Dev
	w.step(Step{Place: hostPlace, Kind: KindStart, Text: "arrives at " + deviceText(w.f.Host.Namespace.ByName(route.Dev), route.Dev)})
	if l := w.f.Host.Namespace.ByName(route.Dev); l != nil && l.Kind == "bridge" && w.f.containers(*l) {
		w.step(Step{Place: hostPlace, Kind: KindStart, Text: fmt.Sprintf("%s is in the network of %s, but no target that is known here has it", p.Src, route.Dev)})
	}
	w.onHostFrom(p)
}

// onHostFrom asks the host's rules about a packet that begins or arrives there.
func (w *walker) onHostFrom(p rules.Packet) {
	if w.stages++; w.stages > mostStages {
		w.end(Undecided, "it crosses more than %d namespaces", mostStages)
		return
	}
	out := w.onHost().Walk(p)
	if !w.backing {
		w.before, w.after, w.tracked = p, out.Packet, true
	}
	w.add(hostPlace, out)
	switch out.End {
	case rules.Delivered:
		w.hostSocket(out.Packet)
	case rules.Forwarded, rules.Sent:
		w.fromHost(p, out.Packet)
	default:
		w.stopped(hostPlace, out)
	}
}

// stopped words an end that is none of the packet's own.
func (w *walker) stopped(place string, out rules.Outcome) {
	switch out.End {
	case rules.HandedOver:
		w.end(HandedOver, "handed to a program by %s", deciderText(place, out.Decider))
	case rules.Undetermined:
		w.way.Verdict.Why = fmt.Sprint(out.Unknowns)
		if len(out.Unknowns) > 0 {
			w.way.Verdict.Why = joined(out.Unknowns)
		}
		w.end(Undecided, "cannot be told: %s", w.way.Verdict.Why)
	default:
		word := "dropped"
		if out.Verdict == rules.Reject {
			word = "rejected (its sender is told)"
		}
		if d := out.Decider; d != nil {
			w.way.Verdict.Rule = ruleOf(d.Chain, d.Rule)
		}
		w.end(Dropped, "%s by %s", word, deciderText(place, out.Decider))
	}
}

func deciderText(place string, d *rules.Step) string {
	if d == nil {
		return "the kernel in " + place
	}
	if d.Chain == nil {
		return "the kernel in " + place + ": " + d.Text
	}
	what := fmt.Sprintf("%s of %s/%s in %s", d.Text, d.Chain.Table, d.Chain.Name, place)
	if d.Rule != nil {
		what = fmt.Sprintf("rule %d of %s/%s in %s: %s", max(1, d.Rule.Number), d.Chain.Table, d.Chain.Name, place, d.Text)
	}
	return what
}

// fromHost finds who is behind the device that the host sends by.
func (w *walker) fromHost(p, out rules.Packet) {
	m, in := w.f.owner(out.Dst)
	switch {
	case m != nil && in.Lower != nil:
		w.end(Unreachable, "%s belongs to %s by a %s on %s: host and container do not reach each other by that device", out.Dst, m.Name, in.Dev.Kind, in.Lower.Name)
	case m != nil && reaches(in, out.Out):
		if same, ok := w.hairpin(p, in); same && !ok {
			w.end(Dropped, "dropped by bridge %s: the packet would go back by port %s, which has no hairpin mode", in.Bridge.Name, in.Peer.Name)
			return
		}
		w.enterTarget(m, in, out)
	case m != nil:
		w.end(Unreachable, "the host sends what is for %s of %s by %s, which does not lead there", out.Dst, m.Name, out.Out)
	default:
		w.beyond(out)
	}
}

// hairpin tells whether a packet goes back by the port it came by, and whether
// the port lets it.
func (w *walker) hairpin(p rules.Packet, in *topology.Interface) (same, ok bool) {
	if p.PhysIn == "" || in.Peer == nil || p.PhysIn != in.Peer.Name {
		return false, true
	}
	return true, in.Peer.Port != nil && in.Peer.Port.Hairpin
}

func reaches(in *topology.Interface, dev string) bool {
	if in.Bridge != nil {
		return in.Bridge.Name == dev
	}
	return in.Peer != nil && in.Peer.Name == dev
}

// beyond ends a packet that leaves by a device behind which no target is.
func (w *walker) beyond(out rules.Packet) {
	l := w.f.Host.Namespace.ByName(out.Out)
	if slices.ContainsFunc(w.uplinks(), func(u topology.Link) bool { return u.Name == out.Out }) || l != nil && l.Kind != "bridge" && l.Kind != "veth" {
		w.step(Step{Place: hostPlace, Kind: KindDevice, Text: "leaves by " + deviceText(l, out.Out)})
		if w.backing && out.Src == w.q.To.Addr() && out.SrcPort == w.q.To.Port() && out.Dst == w.q.From && out.DstPort == anyPort {
			w.way.Verdict.Answered = "client"
			return
		}
		w.end(Leaves, "leaves the host by %s, from %s to %s", out.Out, endpoint(out.Src, out.SrcPort, out.Proto), endpoint(out.Dst, out.DstPort, out.Proto))
		return
	}
	if w.f.Host.Env.Routes.ForMany(out.Dst) {
		w.flooded(out.Out, out.Dst)
		return
	}
	w.end(Unreachable, "%s is behind %s, but no target that is known here has that address", out.Dst, out.Out)
}

// end says what became of the packet, once: that of the answer is another thing.
func (w *walker) end(kind, format string, args ...any) {
	v := &w.way.Verdict
	sentence := fmt.Sprintf(format, args...)
	if w.backing {
		v.Answered = sentence
		return
	}
	v.Kind, v.Text = kind, sentence
}
