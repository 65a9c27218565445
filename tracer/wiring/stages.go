// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net/netip"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// leaveTarget begins, or answers, in a target's namespace.
func (w *walker) leaveTarget(m *Member, p rules.Packet) {
	if !w.backing {
		w.step(Step{Place: m.Name, Kind: KindStart, Text: "made by a process of " + m.Name})
	}
	p.In, p.Out, p.PhysIn, p.PhysOut, p.Bridged = "", "", "", "", false
	out := w.in(m).Walk(p)
	w.add(m.Name, out)
	switch out.End {
	case rules.Delivered:
		w.targetSocket(m, out.Packet)
		return
	case rules.Sent:
	default:
		w.stopped(m.Name, out)
		return
	}
	in := m.interfaceNamed(out.Packet.Out)
	if in == nil || !in.Connected() {
		reason := "not known"
		if in != nil {
			reason = in.Reason
		}
		w.end(Unreachable, "leaves %s by %s, which does not lead to the host: %s", m.Name, out.Packet.Out, reason)
		return
	}
	next := out.Packet.Dst
	if route, ok, _ := m.Space.Env.Routes.Lookup(rules.Query{Dst: out.Packet.Dst, Src: out.Packet.Src}); ok && route.Via.IsValid() && !m.Space.Env.Routes.ForMany(next) {
		next = route.Via
	}
	if in.Lower != nil {
		w.wire(m, in, out.Packet, next)
		return
	}
	w.cross(m, in, out.Packet, next)
}

// cross takes a packet from a target by its pair to the host.
func (w *walker) cross(m *Member, in *topology.Interface, out rules.Packet, next netip.Addr) {
	w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("%s of %s -> %s", in.Dev.Name, m.Name, deviceText(in.Peer, ""))})
	if why := closed(in); why != "" {
		w.end(Dropped, "dropped at %s: %s", in.Peer.Name, why)
		return
	}
	p := w.fresh(out)
	if in.Bridge == nil {
		p.In = in.Peer.Name
		w.onHostFrom(p)
		return
	}
	call := w.f.nfCall(*in.Bridge)
	asked := p.V6() && call.IP6Tables || !p.V6() && call.IPTables
	p.In = in.Bridge.Name
	if asked {
		p.PhysIn = in.Peer.Name
	}
	if m.Space.Env.Routes.ForMany(next) {
		w.flooded(in.Bridge.Name, next)
		return
	}
	if w.f.Host.Namespace.HasAddr(next) {
		w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("bridge %s: for the bridge itself, by its port %s", in.Bridge.Name, in.Peer.Name)})
		w.onHostFrom(p)
		return
	}
	to, other := w.f.owner(next)
	if to == nil || other.Bridge == nil || other.Bridge.Name != in.Bridge.Name {
		w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("bridge %s: nobody that is known here answers for %s", in.Bridge.Name, next)})
		w.end(Unreachable, "no target that is known here has %s on bridge %s", next, in.Bridge.Name)
		return
	}
	w.bridged(p, in, to, other, asked)
}

// flooded ends a packet for a group or for all on a bridge: it is copied to each
// port and to the host, and has as many ends as there are.
func (w *walker) flooded(bridge string, to netip.Addr) {
	w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("bridge %s: copied to those on it, as %s is no single one's address", bridge, to)})
	w.way.Verdict.Why = fmt.Sprintf("which of those on bridge %s take what is for %s", bridge, to)
	w.end(Undecided, "cannot be told: %s", w.way.Verdict.Why)
}

// bridged takes a packet from one port of a bridge to another.
func (w *walker) bridged(p rules.Packet, in *topology.Interface, to *Member, other *topology.Interface, asked bool) {
	if in.Peer.Port != nil && other.Peer.Port != nil && in.Peer.Port.Isolated && other.Peer.Port.Isolated {
		w.end(Dropped, "dropped by bridge %s: its ports %s and %s are isolated", in.Bridge.Name, in.Peer.Name, other.Peer.Name)
		return
	}
	word := "which is not shown to iptables (bridge-nf-call is off)"
	if asked {
		word = "which is shown to iptables (bridge-nf-call)"
	}
	w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("bridge %s forwards by itself, port %s to port %s, %s", in.Bridge.Name, in.Peer.Name, other.Peer.Name, word)})
	if !asked {
		w.enterTarget(to, other, p)
		return
	}
	p.Bridged, p.PhysOut = true, other.Peer.Name
	w.onHostFrom(p)
}

// wire takes a packet from a macvlan or ipvlan to where its lower device leads.
func (w *walker) wire(m *Member, in *topology.Interface, out rules.Packet, next netip.Addr) {
	w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("%s of %s -> %s: %s, the host's rules are not asked", in.Dev.Name, m.Name, in.Lower.Name, kindMode(in.Dev))})
	if w.f.Host.Namespace.HasAddr(next) || w.f.Host.Namespace.HasAddr(out.Dst) {
		w.end(Unreachable, "a %s does not reach the host that it is on: %s", in.Dev.Kind, out.Dst)
		return
	}
	to, other := w.f.owner(next)
	if to != nil && other.Lower != nil && other.Lower.Index == in.Lower.Index {
		w.enterTarget(to, other, w.fresh(out))
		return
	}
	if w.backing && w.way.Origin == "outside" {
		w.way.Verdict.Answered = "client"
		return
	}
	w.end(Leaves, "leaves by %s, from %s to %s", in.Lower.Name, out.Src, out.Dst)
}

// closed says why nothing passes a pair.
func closed(in *topology.Interface) string {
	switch {
	case !in.Dev.Up:
		return in.Dev.Name + " is down"
	case in.Peer != nil && !in.Peer.Up:
		return in.Peer.Name + " is down"
	case in.Bridge != nil && !in.Bridge.Up:
		return "bridge " + in.Bridge.Name + " is down"
	case in.Peer != nil && in.Peer.Port != nil && in.Peer.Port.State != "" && in.Peer.Port.State != "forwarding":
		return "its port is " + in.Peer.Port.State
	}
	return ""
}

// fresh is the packet as another namespace sees it: connection tracking, marks
// and devices are each namespace's own.
func (w *walker) fresh(p rules.Packet) rules.Packet {
	n := rules.Packet{
		Src: p.Src, Dst: p.Dst, Proto: p.Proto, SrcPort: p.SrcPort, DstPort: p.DstPort, TCPFlags: p.TCPFlags, ICMPType: p.ICMPType, ICMPCode: p.ICMPCode,
	}
	if w.backing {
		n.Conn = w.answering()
	}
	return n
}

// enterTarget takes a packet over the pair into a target.
func (w *walker) enterTarget(m *Member, in *topology.Interface, out rules.Packet) {
	if in.Bridge != nil {
		w.step(Step{Place: hostPlace, Kind: KindDevice, Text: fmt.Sprintf("bridge %s -> port %s", in.Bridge.Name, deviceText(in.Peer, ""))})
	}
	if why := closed(in); why != "" {
		w.end(Dropped, "dropped at %s: %s", in.Dev.Name, why)
		return
	}
	w.step(Step{Place: m.Name, Kind: KindDevice, Text: "arrives at " + deviceText(&in.Dev, "")})
	p := rules.Packet{
		Src: out.Src, Dst: out.Dst, Proto: out.Proto, SrcPort: out.SrcPort, DstPort: out.DstPort, TCPFlags: out.TCPFlags,
		ICMPType: out.ICMPType, ICMPCode: out.ICMPCode, In: in.Dev.Name,
	}
	if w.backing {
		p.Conn = rules.Conn{
			State: w.answerState(), Reply: true, Status: rules.StatusConfirmed | rules.StatusSeenReply,
			OrigSrc: netip.AddrPortFrom(p.Dst, p.DstPort), OrigDst: netip.AddrPortFrom(p.Src, p.SrcPort),
		}
	}
	got := w.in(m).Walk(p)
	w.add(m.Name, got)
	switch got.End {
	case rules.Delivered:
		w.targetSocket(m, got.Packet)
	case rules.Forwarded:
		w.end(Leaves, "%s is a router: it sends the packet on by %s", m.Name, got.Packet.Out)
	default:
		w.stopped(m.Name, got)
	}
}

// targetSocket ends a packet for a target itself, and answers.
func (w *walker) targetSocket(m *Member, p rules.Packet) {
	if w.backing {
		w.way.Verdict.Answered = "client"
		w.step(Step{Place: m.Name, Kind: KindSocket, Text: "back at the socket that began the connection"})
		return
	}
	s := find(m.Space.Sockets, p)
	if m.Space.Env.Routes.ForMany(p.Dst) && (s == nil || p.Proto != rules.UDP) {
		w.unanswered(m.Name, p)
		return
	}
	if s != nil {
		w.arrived(m.Name, m.Name, s)
	} else {
		w.silent(m.Name, p)
	}
	if w.stages == 0 && w.sender == m { // it never left the target
		w.way.Verdict.Answered = "client"
		return
	}
	w.answer(m, p)
}

// answer follows what a target sends back.
func (w *walker) answer(m *Member, p rules.Packet) {
	w.backing = true
	if w.proxying {
		return // the proxy gets its answer, and answers itself: see proxied
	}
	w.steps = &w.way.Back
	back := w.reply(p)
	back.Conn = rules.Conn{
		State: w.answerState(), Reply: true, Status: rules.StatusConfirmed | rules.StatusSeenReply,
		OrigSrc: netip.AddrPortFrom(p.Src, p.SrcPort), OrigDst: netip.AddrPortFrom(p.Dst, p.DstPort),
	}
	w.stages = 0
	w.leaveTarget(m, back)
}

// answerFromHost follows what a process of the host sends back.
func (w *walker) answerFromHost(p rules.Packet) {
	w.backing = true
	w.steps = &w.way.Back
	if w.local || w.proxying {
		w.way.Verdict.Answered = "client"
		return
	}
	back := w.reply(p)
	back.Conn = w.answering()
	w.stages = 0
	w.onHostFrom(back)
}

// reply is the packet that answers one: that of the same connection, or the
// message about it that no socket takes it.
func (w *walker) reply(p rules.Packet) rules.Packet {
	back := rules.Packet{
		Src: p.Dst, Dst: p.Src, Proto: p.Proto, SrcPort: p.DstPort, DstPort: p.SrcPort, TCPFlags: rules.SYN | rules.ACK,
		ICMPType: echo(p.Proto, true),
	}
	switch {
	case w.refused && p.Proto == rules.TCP:
		back.TCPFlags = rules.RST | rules.ACK
	case w.unreachable() && p.V6():
		back.Proto, back.ICMPType, back.ICMPCode = rules.ICMPv6, 1, 4
	case w.unreachable():
		back.Proto, back.ICMPType, back.ICMPCode = rules.ICMP, 3, 3
	}
	return back
}

// unreachable tells whether the answer is a port unreachable.
func (w *walker) unreachable() bool { return w.refused && w.q.Proto == rules.UDP }

// answerState is what connection tracking takes an answer for.
func (w *walker) answerState() rules.State {
	if w.unreachable() {
		return rules.Related
	}
	return rules.Established
}

// answering is what the host's connection tracking knows about an answer.
func (w *walker) answering() rules.Conn {
	c := rules.Conn{State: w.answerState(), Reply: true, Status: rules.StatusConfirmed | rules.StatusSeenReply}
	if !w.tracked { // the bridge carried it past connection tracking
		return rules.Conn{State: rules.New}
	}
	src, dst := netip.AddrPortFrom(w.before.Src, w.before.SrcPort), netip.AddrPortFrom(w.before.Dst, w.before.DstPort)
	c.OrigSrc, c.OrigDst = src, dst
	if to := netip.AddrPortFrom(w.after.Dst, w.after.DstPort); to != dst {
		c.NewSrc, c.Status = dst, c.Status|rules.StatusDNAT
	}
	if from := netip.AddrPortFrom(w.after.Src, w.after.SrcPort); from != src {
		c.NewDst, c.Status = src, c.Status|rules.StatusSNAT
	}
	return c
}
