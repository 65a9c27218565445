package journey

import "slices"

// Chains names what lies between the borders of one netfilter hook: the chains
// that run after border i and before the next one that is stamped.
type Chains interface {
	// Between returns the name of what runs between two borders of a hook, ""
	// where there is nothing to tell apart (details devices and hooks).
	Between(target bool, point Point, from, to int) string
}

// Context is what names depend on beside the hooks.
type Context struct {
	Chains  Chains
	Routed  bool // the host's ends of the veths are no ports of a bridge
	Devices bool // detail devices: what lies between two devices is one hop
}

// Hop is the stretch between two hooks.
type Hop struct {
	Name   string // netfilter/forward
	Target bool   // lies in the target's namespace rather than the host's
}

// Hops names the stretches of a journey that passed these hooks, in order: one
// less than there are hooks. What a stretch is called depends on its two ends
// and, around a bridge that calls netfilter by itself (br_netfilter), on
// whether the packet was inside the bridge.
func Hops(hooks []Hook, c Context) []Hop {
	if len(hooks) < 2 {
		return nil
	}
	hops := make([]Hop, 0, len(hooks)-1)
	inside := (entersBridge(hooks[0]) || bridged(hooks)) && !c.Routed
	for i := 1; i < len(hooks); i++ {
		from, to := hooks[i-1], hooks[i]
		hops = append(hops, Hop{
			Name:   name(from, to, inside, c),
			Target: side(from, to),
		})
		inside = stillInside(inside, to) && !c.Routed
	}
	return hops
}

// Next names the stretch that a packet was in when it ended behind the last of these hooks.
func Next(hooks []Hook, c Context) Hop {
	if len(hooks) == 0 {
		return Hop{Name: "unknown"}
	}
	inside := false
	for _, hook := range hooks {
		inside = stillInside(inside, hook) && !c.Routed
	}
	last := hooks[len(hooks)-1]
	return Hop{Name: after(last, inside, c), Target: last.OfTarget()}
}

// entersBridge tells whether a packet whose first hook this is is about to be
// bridged: one from a container that is no target is first seen as it comes out
// of its veth, which is a port of a bridge.
func entersBridge(hook Hook) bool {
	return hook == PortIngress || hook == NetifRx || hook == GROReceive
}

// bridged tells whether a packet that came by an uplink was bridged, as the uplink
// is a port of the container's bridge: what is routed leaves by the bridge's own
// device before it leaves by a port.
func bridged(hooks []Hook) bool {
	port := slices.Index(hooks, PortEgress)
	return hooks[0] == UplinkIngress && port > 0 && !slices.Contains(hooks[:port], BridgeEgress)
}

func stillInside(inside bool, hook Hook) bool {
	switch hook {
	case PortIngress:
		return true
	case BridgeIngress, PortEgress, UplinkIngress, DeviceIngress, DeviceEgress, LoopbackIngress:
		return false
	}
	return inside
}

// side tells whether a hop lies in the target: where it ends, but a crossing of
// the veth is of the side it leaves, as that side's CPU time pays for it.
func side(from, to Hook) bool {
	crosses := from == DeviceEgress || from == PortEgress
	if crosses || to == NetifRx || to == GROReceive || to == KfreeSkb {
		return from.OfTarget()
	}
	return to.OfTarget()
}

func name(from, to Hook, inside bool, c Context) string {
	if target, point, border, ok := to.AsNetfilter(); ok {
		return nameToNetfilter(from, target, point, border, inside, c.Chains)
	}
	if to == KfreeSkb {
		return after(from, inside, c)
	}
	return nameToDevice(from, to, inside)
}

// nameToNetfilter names a hop that ends at a netfilter border.
func nameToNetfilter(from Hook, target bool, point Point, border int, inside bool, chains Chains) string {
	fromTarget, fromPoint, fromBorder, fromNetfilter := from.AsNetfilter()
	if fromNetfilter && fromPoint == point && fromTarget == target {
		return withChain("netfilter/"+point.String(), chains.Between(target, point, fromBorder, border))
	}
	if border != 0 {
		return withChain("netfilter/"+point.String(), chains.Between(target, point, 0, border))
	}
	switch {
	case inside:
		return "bridge"
	case from == UplinkIngress:
		return "uplink"
	case from.IsDevice():
		if point == Forward || point == LocalIn {
			return "routing" // nothing is hooked at PRE_ROUTING
		}
		return "ip"
	}
	return "routing"
}

// nameToDevice names a hop that ends at a device or a tracepoint; inside is
// whether it began inside a bridge.
func nameToDevice(from, to Hook, inside bool) string {
	if _, point, _, ok := from.AsNetfilter(); ok && inside && point == PreRouting && to != BridgeEgress {
		// a tag hides the packet from the hooks behind; by the bridge's own device goes what DNAT has given another address, and is routed
		return "bridge"
	}
	switch to {
	case NetifRx, LoopbackIngress:
		if from == LoopbackEgress {
			return "loopback"
		}
		if to == LoopbackIngress {
			return "softirq"
		}
		return nameToCrossing(from)
	case GROReceive:
		return "softirq"
	case StartXmit:
		return "qdisc"
	case PortIngress, DeviceIngress:
		return nameToReceiver(from)
	case BridgeIngress:
		return "bridge"
	}
	return nameToSender(from, to)
}

// nameToSender names a hop that ends at the egress of a device.
func nameToSender(from, to Hook) string {
	_, point, border, fromNetfilter := from.AsNetfilter()
	if to == PortEgress && (!fromNetfilter || point == PostRouting) {
		return "bridge"
	}
	if fromNetfilter {
		return nameLeaving(point, border)
	}
	switch from {
	case UplinkIngress, BridgeIngress, PortIngress, DeviceIngress:
		return "forwarding" // detail devices: routing and all of netfilter in one
	}
	return "device" // one device upon another: macvlan, VLAN
}

// nameToCrossing names a hop that ends where a veth has been crossed: from the
// device that sent or, for a container that is no target, from further off.
func nameToCrossing(from Hook) string {
	if _, point, border, ok := from.AsNetfilter(); ok {
		return nameLeaving(point, border)
	}
	if from == BridgeEgress || from == PortIngress {
		return "bridge"
	}
	return "veth"
}

// nameToReceiver names a hop that ends where a veth's receiving end hands the packet on.
func nameToReceiver(from Hook) string {
	switch from {
	case NetifRx:
		return "softirq"
	case GROReceive:
		return "gro"
	case PortEgress, DeviceEgress:
		return "veth"
	}
	return "device"
}

// nameLeaving names the way from the last netfilter border to a device.
func nameLeaving(point Point, border int) string {
	switch {
	case point == PostRouting:
		return "confirm+neighbour"
	case point == LocalOut && border == 0:
		return "netfilter/output"
	case point == PreRouting:
		return "routing"
	}
	return "netfilter/postrouting"
}

// after names what follows a hook, for a packet that got no further.
func after(hook Hook, inside bool, c Context) string {
	if target, point, border, ok := hook.AsNetfilter(); ok {
		return afterNetfilter(target, point, border, inside, c.Chains)
	}
	if c.Devices && (hook == UplinkIngress || hook == BridgeIngress || hook == PortIngress && c.Routed) {
		return "forwarding"
	}
	if hook == PortIngress && c.Routed {
		return "netfilter/prerouting"
	}
	names := map[Hook]string{
		UplinkIngress: "netfilter/prerouting", LoopbackIngress: "netfilter/prerouting",
		PortIngress: "bridge", BridgeIngress: "routing", BridgeEgress: "bridge",
		PortEgress: "veth", DeviceEgress: "veth", NetifRx: "softirq", GROReceive: "softirq",
		DeviceIngress: "netfilter/input", LoopbackEgress: "loopback", UplinkEgress: "qdisc",
	}
	if name, ok := names[hook]; ok {
		return name
	}
	return "unknown"
}

func afterNetfilter(target bool, point Point, border int, inside bool, chains Chains) string {
	if border != LastBorder {
		return withChain("netfilter/"+point.String(), chains.Between(target, point, border, border+1))
	}
	switch point {
	case PreRouting:
		if inside {
			return "bridge"
		}
		return "routing"
	case Forward, LocalOut:
		return "netfilter/postrouting"
	case LocalIn:
		return "transport"
	}
	return "confirm+neighbour"
}

func withChain(name, chain string) string {
	if chain == "" {
		return name
	}
	return name + "/" + chain
}
