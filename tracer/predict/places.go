// SPDX-License-Identifier: Apache-2.0

package predict

import (
	"slices"

	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// place is where packets are, or could be, stamped.
type place struct {
	hook      journey.Hook // of netfilter: its border 0
	device    int          // index; 0: of any device
	bridge    int          // the bridge that calls this netfilter hook; 0: the IP layer does
	other     bool         // in the namespace of the peer rather than the target's own
	onTop     bool         // a device that is stacked on one of the host
	local     bool         // POST_ROUTING of what the host itself sends
	sabotaged bool         // PRE_ROUTING behind a bridge that has called it already
	bridged   bool         // a bridge's egress that br_netfilter sends to, from inside the bridge, what it has translated
	wild      bool         // what comes here is not known: anything may
	crossing  crossing     // of netif_rx and napi_gro_receive
}

// crossing is from where to where packets go that netif_rx takes: it has the
// index of the device that receives, but not the namespace which that is of.
type crossing struct {
	to  whereTo
	via int // index, in the host: its end of the veth or, aside, the device beneath
}

// whereTo is what lies behind a crossing.
type whereTo uint8

const (
	outOfOther whereTo = iota // out of a container that is no target
	intoOther                 // where journeys end
	intoTarget
	intoHost
	aside // from one device to another one that is stacked on the same
	byLo
)

func at(hook journey.Hook, device int) place { return place{hook: hook, device: device} }

// hostHook is a netfilter hook of the host; bridge is the one that calls it, 0 for the IP layer.
func hostHook(point journey.Point, bridge int) place {
	return place{hook: journey.Netfilter(false, point, 0), bridge: bridge}
}

func (m Model) targetHook(point journey.Point, other bool) place {
	return place{hook: journey.Netfilter(true, point, 0), other: other}
}

// end is a target at one end of the way.
type end struct {
	wiring *topology.Wiring
	other  bool
}

func (m Model) ends() []end {
	var all []end
	if m.Own != nil && !m.Own.Same {
		all = append(all, end{m.Own, false})
	}
	if m.Other != nil && !m.Other.Same {
		all = append(all, end{m.Other, true})
	}
	return all
}

func (m Model) end(other bool) *topology.Wiring {
	if other {
		return m.Other
	}
	return m.Own
}

// all are the places where a path can begin.
func (m Model) all() []place {
	places := []place{
		at(journey.LoopbackEgress, 0), at(journey.LoopbackIngress, 0),
	}
	places = append(places, crossed(crossing{})...)
	for point := journey.PreRouting; point <= journey.PostRouting; point++ {
		first := hostHook(point, 0)
		first.local = true // or not: it begins here
		places = append(places, first)
		for bridge := range m.Host.bridges {
			places = append(places, hostHook(point, bridge))
		}
	}
	for uplink := range m.Host.uplinks {
		places = append(places, at(journey.UplinkIngress, uplink), at(journey.UplinkEgress, uplink))
	}
	for bridge := range m.Host.bridges {
		places = append(places, at(journey.BridgeIngress, bridge), at(journey.BridgeEgress, bridge))
	}
	for _, e := range m.ends() {
		for point := journey.PreRouting; point <= journey.PostRouting; point++ {
			places = append(places, m.targetHook(point, e.other))
		}
		for _, i := range e.wiring.Interfaces {
			if !i.Connected() {
				continue
			}
			places = append(places, m.arrival(i, e.other), place{hook: journey.DeviceEgress, device: i.Dev.Index, other: e.other})
			if i.Peer != nil {
				port := i.Peer.Index
				places = append(places, at(journey.PortIngress, port), at(journey.PortEgress, port))
				places = append(places, crossed(crossing{intoHost, port})...)
				places = append(places, crossed(crossing{intoTarget, port})...)
			}
		}
	}
	return places
}

func (m Model) arrival(i topology.Interface, other bool) place {
	return place{hook: journey.DeviceIngress, device: i.Dev.Index, other: other, onTop: i.Peer == nil}
}

// next are the places right behind one.
func (m Model) next(p place) []place {
	if p.wild {
		return []place{p}
	}
	if target, point, _, ok := p.hook.AsNetfilter(); ok {
		if target {
			return m.behindTarget(point, p.other)
		}
		return m.behindHost(point, p.bridge, p.local)
	}
	switch p.hook {
	case journey.UplinkIngress:
		return m.fromUplink(p.device)
	case journey.UplinkEgress:
		return []place{at(journey.StartXmit, p.device)}
	case journey.BridgeIngress:
		return append(m.upFromBridge(p.device), m.onTopOf(p.device)...)
	case journey.BridgeEgress:
		if p.bridged {
			return []place{hostHook(journey.Forward, p.device)}
		}
		return m.outOfBridge(p.device)
	case journey.PortIngress:
		return m.fromPort(p.device)
	case journey.PortEgress:
		return m.cross(p.device)
	case journey.DeviceIngress:
		return []place{m.targetHook(journey.PreRouting, p.other)}
	case journey.DeviceEgress:
		return m.fromDevice(p.device, p.other)
	case journey.LoopbackEgress:
		return append(crossed(crossing{to: byLo}), at(journey.LoopbackIngress, 0))
	case journey.LoopbackIngress:
		return received()
	case journey.NetifRx, journey.GROReceive:
		return m.behindCrossing(p.crossing)
	}
	return nil
}

// received is what the IP layer does first with what a device of the host receives.
func received() []place { return []place{hostHook(journey.PreRouting, 0)} }

// behindHost are the places behind a netfilter hook of the host; local is set for
// what the host itself sends, which may go to its lo.
func (m Model) behindHost(point journey.Point, bridge int, local bool) []place {
	if bridge != 0 {
		switch point {
		case journey.PreRouting:
			translated := at(journey.BridgeEgress, bridge)
			translated.bridged = true
			places := []place{hostHook(journey.Forward, bridge), at(journey.BridgeIngress, bridge), translated}
			if m.tagged(bridge) {
				places = append(places, m.ports(bridge)...)
			}
			return places
		case journey.Forward:
			return []place{hostHook(journey.PostRouting, bridge)}
		}
		return m.ports(bridge)
	}
	switch point {
	case journey.PreRouting:
		// IPVS takes what it forwards out of LOCAL_IN, and sends it by LOCAL_OUT
		return []place{hostHook(journey.Forward, 0), hostHook(journey.LocalIn, 0), hostHook(journey.LocalOut, 0)}
	case journey.Forward:
		return []place{hostHook(journey.PostRouting, 0)}
	case journey.LocalOut:
		post := hostHook(journey.PostRouting, 0)
		post.local = true
		return []place{post}
	case journey.PostRouting:
		return m.leaving(local)
	}
	return nil
}

// leaving are the devices by which packets leave the host's IP layer.
func (m Model) leaving(local bool) []place {
	places := crossed(crossing{to: intoOther}) // to a container that is no target
	if local {
		places = append(places, at(journey.LoopbackEgress, 0))
	}
	for uplink := range m.Host.uplinks {
		places = append(places, at(journey.UplinkEgress, uplink))
	}
	for bridge := range m.Host.bridges {
		places = append(places, at(journey.BridgeEgress, bridge))
	}
	for _, e := range m.ends() {
		for _, i := range e.wiring.Interfaces {
			if i.Peer != nil && m.Host.master[i.Peer.Index] == 0 { // routed, or of a switch that is no bridge
				places = append(places, at(journey.PortEgress, i.Peer.Index))
			}
		}
	}
	return places
}

// crossed is where another namespace, or lo, has been reached.
func crossed(c crossing) []place {
	return []place{{hook: journey.NetifRx, crossing: c}, {hook: journey.GROReceive, crossing: c}}
}

// behindCrossing are the devices that receive, and what follows where those are not known.
func (m Model) behindCrossing(c crossing) []place {
	switch c.to {
	case intoOther:
		return nil
	case intoTarget:
		return m.arrivals(c.via)
	case intoHost:
		return []place{at(journey.PortIngress, c.via)}
	case aside:
		return m.onTopOf(c.via)
	case byLo:
		return append(received(), at(journey.LoopbackIngress, 0))
	}
	places := received()
	for bridge := range m.Host.bridges {
		places = append(places, m.intoBridge(bridge)...)
	}
	return places
}

// fromUplink is what becomes of a packet from outside.
func (m Model) fromUplink(uplink int) []place {
	if m.Host.odd[uplink] {
		return []place{{wild: true}}
	}
	places := append(received(), m.onTopOf(uplink)...)
	for _, bridge := range m.Host.uplinks[uplink] {
		places = append(places, m.intoBridge(bridge)...)
	}
	return places
}

// onTopOf are the targets' devices that are stacked on one of the host.
func (m Model) onTopOf(device int) []place {
	var places []place
	for _, e := range m.ends() {
		for _, i := range e.wiring.Interfaces {
			if i.Lower != nil && (i.Lower.Index == device || slices.Contains(m.Host.lowest(i.Lower.Index, 0), device)) {
				places = append(places, m.arrival(i, e.other))
			}
		}
	}
	return places
}

// fromPort is what becomes of a packet that the host's end of a veth receives.
func (m Model) fromPort(port int) []place {
	if m.Host.odd[port] {
		return []place{{wild: true}}
	}
	if bridge := m.Host.master[port]; bridge != 0 {
		return m.intoBridge(bridge)
	}
	return received()
}

// cross is what lies at the other end of a veth.
func (m Model) cross(port int) []place {
	arrivals := m.arrivals(port)
	if len(arrivals) == 0 {
		return crossed(crossing{to: intoOther})
	}
	return append(crossed(crossing{intoTarget, port}), arrivals...)
}

func (m Model) arrivals(port int) []place {
	var places []place
	for _, e := range m.ends() {
		for _, i := range e.wiring.Interfaces {
			if i.Peer != nil && i.Peer.Index == port {
				places = append(places, m.arrival(i, e.other))
			}
		}
	}
	return places
}

// behindTarget are the places behind a netfilter hook of a target's own namespace.
func (m Model) behindTarget(point journey.Point, other bool) []place {
	switch point {
	case journey.PreRouting: // or it forwards: a router, an engine within a container
		return []place{m.targetHook(journey.LocalIn, other), m.targetHook(journey.PostRouting, other)}
	case journey.LocalOut:
		return []place{m.targetHook(journey.PostRouting, other)}
	case journey.PostRouting:
		places := []place{m.targetHook(journey.PreRouting, other)} // by its own lo
		places = append(places, crossed(crossing{to: intoOther})...)
		if of := m.end(other); of != nil {
			for _, i := range of.Interfaces {
				if i.Connected() {
					places = append(places, place{hook: journey.DeviceEgress, device: i.Dev.Index, other: other})
				}
			}
		}
		return places
	}
	return nil
}

// fromDevice is where a target's own device sends.
func (m Model) fromDevice(device int, other bool) []place {
	of := m.end(other)
	if of == nil {
		return nil
	}
	for _, i := range of.Interfaces {
		switch {
		case i.Dev.Index != device:
		case i.Peer != nil:
			port := i.Peer.Index
			return append(crossed(crossing{intoHost, port}), at(journey.PortIngress, port))
		case i.Lower != nil:
			places := m.byLower(i.Lower.Index)
			if i.Dev.Kind == "ipvlan" && i.Dev.Mode != "l2" { // the host routes what it sends
				places = append(places, hostHook(journey.LocalOut, 0))
			}
			return places
		}
	}
	return nil
}

// byLower is where a device sends that is stacked on one of the host: by that
// one, or at once to another one on it.
func (m Model) byLower(lower int) []place {
	places := append(crossed(crossing{aside, lower}), m.onTopOf(lower)...)
	for _, device := range m.Host.lowest(lower, 0) {
		switch {
		case m.Host.isUplink(device):
			places = append(places, at(journey.UplinkEgress, device))
		case m.Host.isBridge(device):
			places = append(places, at(journey.BridgeEgress, device))
		}
	}
	return places
}
