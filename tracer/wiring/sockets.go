// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// hostSocket ends a packet for the host itself.
func (w *walker) hostSocket(p rules.Packet) {
	if w.backing {
		w.way.Verdict.Answered = "client"
		w.step(Step{Place: hostPlace, Kind: KindSocket, Text: "back at the socket that began the connection"})
		return
	}
	s := find(w.f.Host.Sockets, p)
	many := w.f.Host.Env.Routes.ForMany(p.Dst)
	if many && (s == nil || p.Proto != rules.UDP) {
		w.unanswered(hostPlace, p)
		return
	}
	if s == nil {
		w.silent(hostPlace, p)
		if !w.proxying {
			w.answerFromHost(p)
		}
		return
	}
	if proxy := w.proxyOf(s); proxy != nil && !w.proxying {
		w.proxied(s, proxy, p)
		return
	}
	place, target := hostPlace, ""
	for i := range w.f.Targets {
		m := &w.f.Targets[i]
		if m.Wiring.Same && slices.ContainsFunc(m.Space.Sockets, func(o container.Socket) bool { return o.Inode == s.Inode }) {
			place, target = "the host's namespace, for "+m.Name+" (host mode)", m.Name
		}
	}
	w.arrived(place, target, s)
	if !many { // what answers for many answers with an address of its own
		w.answerFromHost(p)
	}
}

// arrived ends a packet in a socket.
func (w *walker) arrived(place, target string, s *container.Socket) {
	w.step(Step{Place: cmp.Or(target, hostPlace), Kind: KindSocket, Text: "taken by " + socketText(s), Decides: true})
	w.way.Verdict.Target, w.way.Verdict.Processes = target, holders(*s)
	if slices.ContainsFunc(s.Holders, func(p container.Process) bool { return p.Name == keeper }) {
		w.end(Delivered, "delivered to %s in %s, which only keeps the port for a container and answers nothing: the rules that should translate it are missing", socketText(s), place)
		return
	}
	w.end(Delivered, "delivered to %s in %s", socketText(s), place)
}

// silent ends a packet that no socket takes.
func (w *walker) silent(place string, p rules.Packet) {
	if p.Proto == rules.ICMP || p.Proto == rules.ICMPv6 {
		w.step(Step{Place: place, Kind: KindSocket, Text: "the kernel itself answers echo requests", Decides: true})
		w.end(Delivered, "delivered: the kernel of %s itself answers", place)
		return
	}
	w.refused = !w.proxying // a proxy answers for itself
	answer := "the sender gets an ICMP port unreachable"
	switch p.Proto {
	case rules.TCP:
		answer = "the sender gets a reset"
	case rules.SCTP:
		answer = "the sender gets an abort, or an ICMP protocol unreachable where the kernel has no SCTP"
	}
	w.step(Step{Place: place, Kind: KindSocket, Text: fmt.Sprintf("no socket takes %s %s", protocolName(p.Proto), netip.AddrPortFrom(p.Dst, p.DstPort)), Decides: true})
	w.end(NothingListens, "arrives, but nothing listens on %s %s in %s: %s", protocolName(p.Proto), netip.AddrPortFrom(p.Dst, p.DstPort), place, answer)
}

// unanswered ends a packet for a group or for all that no socket takes. The kernel
// takes no connection by such an address, and tells no sender of one.
func (w *walker) unanswered(place string, p rules.Packet) {
	switch p.Proto {
	case rules.ICMP, rules.ICMPv6:
		w.way.Verdict.Why = fmt.Sprintf("whether the kernel of %s answers an echo request to %s", place, p.Dst)
		w.end(Undecided, "cannot be told: %s", w.way.Verdict.Why)
	case rules.UDP:
		to := netip.AddrPortFrom(p.Dst, p.DstPort)
		w.step(Step{Place: place, Kind: KindSocket, Text: fmt.Sprintf("no socket takes udp %s", to), Decides: true})
		w.end(NothingListens, "arrives, but nothing listens on udp %s in %s: the sender is not told, as the address is no single one's", to, place)
	default:
		why := fmt.Sprintf("no connection is taken by %s, which is no single one's address", p.Dst)
		w.step(Step{Place: place, Kind: KindKernel, Text: why, Does: rules.Drop.String(), Decides: true})
		w.end(Dropped, "dropped by the kernel in %s: %s", place, why)
	}
}

// find is the socket that takes a packet: an exact address counts before all
// addresses, as in the kernel.
func find(all []container.Socket, p rules.Packet) *container.Socket {
	var best *container.Socket
	for i := range all {
		s := &all[i]
		if s.Protocol != protocolName(p.Proto) || s.Port != p.DstPort || !s.Takes(p.Dst) {
			continue
		}
		if best == nil || s.Addr == p.Dst || best.Addr.Is6() && p.Dst.Is4() && best.Addr != p.Dst {
			best = s
		}
	}
	return best
}
