// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"cmp"
	"net/netip"
	"slices"
)

// Uplinks returns the devices by which packets of the traced devices enter and
// leave the host: those of the host that a route uses and that are neither
// traced nor a port of a traced bridge, and ports of a traced bridge that lead to
// a wire or a virtual machine instead of a namespace, by index.
//
// traced are indexes of bridges, their ports or routed veth ends. Where devices
// are stacked the lowest counts: a bond's slaves, a VLAN's or macvlan's parent,
// a bridge's ports. A bridge whose ports all lead to other namespaces (another
// network of Docker) is no uplink: packets to it go to another container.
// Tunnels (wireguard, vxlan, ipip) are uplinks themselves: what they send is
// another packet.
func Uplinks(host Namespace, traced ...int) []Link {
	s := stack{host: host, seen: map[int]bool{}}
	// a thousand targets name their one bridge a thousand times
	traced = slices.Clone(traced)
	slices.Sort(traced)
	for _, index := range slices.Compact(traced) {
		s.exclude(index)
	}
	for _, r := range host.Routes {
		if !r.leavesHost() {
			continue
		}
		for _, index := range r.Links {
			// What a route of a bridge's port says is never used: packets
			// that enter there belong to the bridge.
			if l := host.ByIndex(index); l != nil && !s.bridged(*l) {
				s.lower(*l)
			}
		}
	}
	for _, port := range s.wires {
		s.lower(port)
	}
	slices.SortFunc(s.found, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return s.found
}

// leavesHost tells whether packets that follow the route may leave by its
// device. Each device that is up has an IPv6 link-local and a multicast route:
// these say nothing about where packets go.
func (r Route) leavesHost() bool {
	if r.Type != RouteUnicast {
		return false
	}
	dst := r.Dst.Addr()
	every := r.Dst.Bits() == 0 || r.Dst == netip.Prefix{}
	linkLocal := dst.Is6() && dst.IsLinkLocalUnicast()
	return every || !dst.IsMulticast() && !linkLocal
}

// stack walks from the devices that routes name to the lowest ones.
type stack struct {
	host  Namespace
	seen  map[int]bool // visited or excluded, by index
	found []Link
	wires []Link // ports of traced bridges that lead out of the host
}

func (s *stack) exclude(index int) {
	s.seen[index] = true
	if l := s.host.ByIndex(index); l == nil || l.Kind != "bridge" {
		return
	}
	for _, port := range s.host.Ports(index) {
		if leadsOut(port) {
			s.wires = append(s.wires, port)
		} else {
			s.seen[port.Index] = true
		}
	}
}

// leadsOut tells whether a bridge's port leads to a wire, a tunnel or a virtual
// machine; else a namespace is behind it, or nothing.
func leadsOut(port Link) bool { return !paired(port.Kind) && port.Kind != "dummy" }

func (s *stack) bridged(l Link) bool {
	m := s.host.ByIndex(l.Master)
	return l.Master != 0 && m != nil && m.Kind == "bridge"
}

func (s *stack) lower(l Link) {
	if s.seen[l.Index] || l.Loopback {
		return
	}
	s.seen[l.Index] = true
	below := s.below(l)
	if below == nil {
		s.found = append(s.found, l)
		return
	}
	for _, b := range below {
		s.lower(b)
	}
}

// below returns the devices beneath one; nil when it is itself the lowest, empty
// when it leads to no wire.
func (s *stack) below(l Link) []Link {
	switch l.Kind {
	case "bond", "team", "vrf":
		return s.host.Ports(l.Index) // nil without slaves: the device itself
	case "bridge":
		wires := []Link{}
		for _, port := range s.host.Ports(l.Index) {
			if leadsOut(port) {
				wires = append(wires, port)
			}
		}
		return wires
	case "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec":
		if parent := s.host.ByIndex(l.Parent); parent != nil && l.ParentNetnsID == -1 {
			return []Link{*parent}
		}
	}
	return nil
}
