// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
)

// Walk tells a packet's whole way through the host: one that came by a device
// (Packet.In) through PREROUTING, the routing, INPUT or FORWARD and POSTROUTING;
// one made on the host (no In) through OUTPUT and POSTROUTING, and back in by lo
// if it is for the host itself.
func (ev *Evaluator) Walk(p Packet) Outcome {
	return ev.explore(p, func(r *run) {
		if p.In == "" {
			r.out.Verdict = r.leave()
			return
		}
		r.out.Verdict = r.arrive()
	})
}

// arrive is the way of a packet that comes by a device.
func (r *run) arrive() Verdict {
	was := r.p.Dst
	r.hook = hookPrerouting
	if t, ok := r.pktType(); ok { // translation does not change how the link addressed it
		r.p.PktType = Some(t)
	}
	if v := r.atHook(hookPrerouting); v != Accept {
		return v
	}
	if r.vague.dst {
		return r.giveUp("the address after translation is one of several")
	}
	if r.p.Bridged && r.p.Dst == was {
		return r.bridged()
	}
	r.p.Bridged, r.p.PhysOut = false, ""
	route, v := r.route(Query{Dst: r.p.Dst, Src: r.p.Src, In: r.p.In, Mark: r.p.Mark})
	if v != Accept {
		return v
	}
	if why := r.martian(); why != "" {
		return r.kernelDrops(why)
	}
	switch route.Type {
	case RouteLocal, RouteBroadcast, RouteAnycast, RouteMulticast:
		return r.local()
	}
	if r.p.PhysIn != "" && r.p.Dst != was && route.Dev == r.p.In {
		// Translated to a host of the bridge that it came by: the bridge itself
		// sends it there, by a port that its own table knows.
		r.p.Bridged, r.p.PhysOut = true, anyPort
		return r.bridged()
	}
	return r.forward(route)
}

// anyPort is a bridge's port that is not known.
const anyPort = "?"

// local hands a packet to the host's own sockets.
func (r *run) local() Verdict {
	if v := r.atHook(hookInput); v != Accept {
		return v
	}
	r.out.End = Delivered
	return Accept
}

// forward sends a packet on.
func (r *run) forward(route Route) Verdict {
	on := r.ev.env.Forward4
	if r.p.V6() {
		on = r.ev.env.Forward6
	}
	if !on {
		return r.kernelDrops("forwarding is off")
	}
	if r.p.PktType.Known && r.p.PktType.Value != pktHost {
		return r.kernelDrops("it was sent to a broadcast or multicast address of the link")
	}
	if r.p.TTL.Known { // a packet has lost one hop when FORWARD sees it
		if r.p.TTL.Value <= 1 {
			return r.kernelDrops("its time to live is used up")
		}
		r.p.TTL.Value--
	}
	r.p.Out = route.Dev
	return r.through(Forwarded)
}

// bridged is the way of a packet that the bridge forwards by itself and shows to
// netfilter (bridge-nf-call-iptables).
func (r *run) bridged() Verdict {
	r.p.Out = r.p.In
	return r.through(Forwarded)
}

func (r *run) through(end End) Verdict {
	if v := r.atHook(hookForward); v != Accept {
		return v
	}
	if v := r.atHook(hookPostrouting); v != Accept {
		return v
	}
	r.out.End = end
	return Accept
}

// leave is the way of a packet that the host makes.
func (r *run) leave() Verdict {
	route, v := r.route(r.query())
	if v != Accept {
		return v
	}
	r.p.Out = r.outOf(route)
	before := r.p
	if v := r.atHook(hookOutput); v != Accept {
		return v
	}
	if r.vague.dst || r.vague.mark {
		return r.giveUp("the address or mark after OUTPUT is not known")
	}
	if r.p.Dst != before.Dst || r.p.Mark != before.Mark || r.p.Src != before.Src {
		if route, v = r.route(r.query()); v != Accept {
			return v
		}
		r.p.Out = r.outOf(route)
	}
	if v := r.atHook(hookPostrouting); v != Accept {
		return v
	}
	if route.Type != RouteLocal {
		r.out.End = Sent
		return Accept
	}
	return r.comeBack()
}

func (r *run) query() Query { return Query{Dst: r.p.Dst, Src: r.p.Src, Mark: r.p.Mark} }

// loopback is the name of lo.
func (r *run) loopback() string {
	for name, d := range r.ev.env.Devices {
		if d.Loopback {
			return name
		}
	}
	return "lo"
}

// outOf is the device that a packet made here leaves by: what is for the host
// itself leaves by lo, whichever device has the address.
func (r *run) outOf(route Route) string {
	if route.Type == RouteLocal {
		return r.loopback()
	}
	return route.Dev
}

// comeBack: what is for the host itself comes in again by the loopback device.
func (r *run) comeBack() Verdict {
	lo := r.loopback()
	r.p.In, r.p.Out, r.cameBack = lo, "", true
	if r.p.tracked() { // POSTROUTING's end has put the connection into the table
		r.p.Conn.Status |= StatusConfirmed
	}
	if v := r.atHook(hookPrerouting); v != Accept {
		return v
	}
	return r.local()
}

// route asks the routing; a verdict other than Accept says that there is no way.
func (r *run) route(q Query) (Route, Verdict) {
	routes := &r.ev.env.Routes
	if !routes.known() {
		return Route{}, r.giveUp("the routes are not known")
	}
	if b := q.Dst; !r.p.V6() && (b.IsMulticast() || b == netip.AddrFrom4([4]byte{255, 255, 255, 255})) && r.p.In != "" {
		return Route{Type: RouteBroadcast}, r.member(b)
	}
	if r.p.V6() && q.Dst.IsMulticast() && r.p.In != "" {
		return Route{Type: RouteMulticast}, r.member(q.Dst)
	}
	route, ok, unsure := routes.Lookup(q)
	if unsure {
		return route, r.giveUp("a policy rule of the routing is not known")
	}
	if !ok {
		return route, r.kernelDrops(fmt.Sprintf("no route to %s", q.Dst))
	}
	switch route.Type {
	case RouteBlackhole, RouteUnreachable, RouteProhibit:
		return route, r.kernelDrops(fmt.Sprintf("the route to %s says no", q.Dst))
	}
	r.step(Step{Kind: StepRoute, Text: route.String(), Does: "route"})
	return route, Accept
}

// member: whether the host listens to a group is not known.
func (r *run) member(group netip.Addr) Verdict {
	switch group {
	case netip.IPv6LinkLocalAllNodes(), netip.AddrFrom4([4]byte{224, 0, 0, 1}), netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return Accept
	}
	if r.choose(fmt.Sprintf("whether the host listens to %s", group)) {
		return Accept
	}
	return r.kernelDrops(fmt.Sprintf("nobody listens to %s", group))
}

// String is the route as ip(8) writes it.
func (t Route) String() string {
	s := t.Dst.String()
	if t.Type == RouteLocal {
		s = "local " + s
	}
	if t.Via.IsValid() {
		s += " via " + t.Via.String()
	}
	if t.Dev != "" {
		s += " dev " + t.Dev
	}
	return s
}

func (r *run) kernelDrops(why string) Verdict {
	r.step(Step{Kind: StepKernel, Text: why, Does: Drop.String()})
	return Drop
}

// martian says why the kernel takes a packet's addresses for forged; "" if it
// does not.
func (r *run) martian() string {
	p := &r.p
	dev := r.ev.env.Devices[p.In]
	if dev.Loopback {
		return ""
	}
	if p.V6() {
		if p.Src.IsLoopback() || p.Dst.IsLoopback() {
			return "::1 came by another device than lo"
		}
		return ""
	}
	if (p.Src.IsLoopback() || p.Dst.IsLoopback()) && !r.ev.env.RouteLocalnet && !dev.RouteLocalnet {
		return "127.0.0.0/8 came by another device than lo, and route_localnet is off"
	}
	if p.Src.IsMulticast() || p.Src == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return "its source is no host's address"
	}
	if !dev.AcceptLocal && r.ev.env.Routes.typeOf(p.Src, "") == RouteLocal {
		return "its source is an address of this host"
	}
	return r.noWayBack(dev)
}

// noWayBack is what rp_filter says of a packet's source; "" if it is content.
func (r *run) noWayBack(dev Device) string {
	p := &r.p
	if dev.RPFilter == 0 {
		return ""
	}
	route, ok, unsure := r.ev.env.Routes.Lookup(Query{Dst: p.Src, Src: p.Dst, In: p.In})
	if unsure {
		return ""
	}
	if !ok || route.Type != RouteUnicast && route.Type != RouteLocal || dev.RPFilter == 1 && route.Dev != p.In {
		return "rp_filter: no way back to its source by the device that it came by"
	}
	return ""
}
