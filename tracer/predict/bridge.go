// SPDX-License-Identifier: Apache-2.0

package predict

import (
	"slices"

	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// calls tells whether a bridge shows packets to netfilter.
func (m Model) calls(bridge int) bool {
	calls := m.Host.calls[bridge]
	return m.IPv6 && calls[1] || !m.IPv6 && calls[0]
}

// tagged tells whether packets in a bridge can have a VLAN tag, which hides them
// from netfilter (unless bridge-nf-filter-vlan-tagged is set): at its ports, where these are
// given one, or from their sender.
func (m Model) tagged(bridge int) bool {
	tags := func(e end) bool {
		return slices.ContainsFunc(e.wiring.Interfaces, func(i topology.Interface) bool { return i.Dev.Kind == "vlan" && i.Inner != nil })
	}
	return m.Host.tagged[bridge] || slices.ContainsFunc(m.ends(), tags)
}

// intoBridge is what a bridge does with a packet that one of its ports receives.
func (m Model) intoBridge(bridge int) []place {
	var places []place
	if m.calls(bridge) {
		if places = append(places, hostHook(journey.PreRouting, bridge)); !m.tagged(bridge) {
			return places
		}
	}
	return append(append(places, m.ports(bridge)...), at(journey.BridgeIngress, bridge))
}

// upFromBridge is what the IP layer does with what a bridge hands up.
func (m Model) upFromBridge(bridge int) []place {
	pre := hostHook(journey.PreRouting, 0)
	pre.sabotaged = m.calls(bridge) // it then is not called a second time
	return []place{pre}
}

// outOfBridge is where a bridge sends what the host gives it.
func (m Model) outOfBridge(bridge int) []place {
	return append(m.ports(bridge), m.onTopOf(bridge)...)
}

// ports are those of a bridge, as far as they are hooked.
func (m Model) ports(bridge int) []place {
	places := crossed(crossing{to: intoOther})
	for uplink, of := range m.Host.uplinks {
		if slices.Contains(of, bridge) {
			places = append(places, at(journey.UplinkEgress, uplink))
		}
	}
	for port, of := range m.Host.master {
		if of == bridge {
			places = append(places, at(journey.PortEgress, port))
		}
	}
	return places
}
