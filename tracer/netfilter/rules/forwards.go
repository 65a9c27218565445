// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// PortForward is a port of the host that a rule translates to another address.
type PortForward struct {
	Proto uint8
	Host  netip.AddrPort // the unspecified address for any of the host's
	To    netip.AddrPort
}

// mostPorts bounds what one rule is taken to publish: a range of thousands is a
// firewall's work.
const mostPorts = 256

// PortForwards lists the ports that rules translate to one of these addresses,
// each once, in the order of the rules. A rule counts that asks for protocol and
// destination port itself, as those of CNI's portmap plugin and netavark do, and
// knows where it sends the packet; conditions on who sends it do not matter.
func (s *Set) PortForwards(to []netip.Addr) []PortForward {
	var found []PortForward
	for _, c := range s.Chains {
		for _, r := range c.Rules {
			for _, f := range forwards(r) {
				if slices.Contains(to, f.To.Addr()) && !slices.Contains(found, f) {
					found = append(found, f)
				}
			}
		}
	}
	return found
}

// asks is what a rule asks for, as far as publishing a port goes.
type asks struct {
	proto uint8
	dst   netip.Addr // invalid: any
	ports PortRange
	ok    bool // ports are set
}

// forwards lists what one rule publishes.
func forwards(r *Rule) []PortForward {
	var a asks
	for _, s := range r.Stmts {
		nat, ok := s.(NAT)
		if !ok {
			a.add(s)
			continue
		}
		if nat.Kind == DNAT && !nat.Netmap && a.ok && a.proto != 0 {
			return a.publishes(nat)
		}
	}
	return nil
}

// add takes a condition.
func (a *asks) add(s Stmt) {
	switch s := s.(type) {
	case Test:
		a.match(s.Match)
	case Compare:
		if s.Op == EQ {
			a.equal(s.Left, s.Right)
		}
	case Between:
		if isDstPort(s.Left) && !s.Not && len(s.From) == 2 && len(s.To) == 2 {
			a.ports, a.ok = PortRange{binary.BigEndian.Uint16(s.From), binary.BigEndian.Uint16(s.To)}, true
		}
	}
}

// match takes a condition of xtables.
func (a *asks) match(m Match) {
	switch m := m.(type) {
	case Ports:
		if !m.Dst.any() && !m.NotDst {
			a.proto, a.ports, a.ok = m.Proto, m.Dst, true
		}
	case Multiport:
		if m.Dst && !m.Src && !m.Not && len(m.Ports) == 1 {
			a.ports, a.ok = m.Ports[0], true
		}
	}
}

func (a *asks) equal(left Value, right []byte) {
	switch v := left.(type) {
	case Meta:
		if v.Key == "l4proto" && len(right) == 1 {
			a.proto = right[0]
		}
	case Payload:
		switch {
		case isDstPort(v) && len(right) == 2:
			port := binary.BigEndian.Uint16(right)
			a.ports, a.ok = PortRange{port, port}, true
		case v == Payload{NetworkHeader, 9, 1} && len(right) == 1:
			a.proto = right[0]
		case v == Payload{NetworkHeader, 16, 4}, v == Payload{NetworkHeader, 24, 16}:
			if addr, ok := netip.AddrFromSlice(right); ok {
				a.dst = addr
			}
		}
	}
}

func isDstPort(v Value) bool {
	p, ok := v.(Payload)
	return ok && p == Payload{TransportHeader, 2, 2}
}

// publishes lists the ports of a translation whose addresses are written in it.
func (a *asks) publishes(nat NAT) []PortForward {
	raw, ok := nat.AddrMin.(Const)
	addr, valid := netip.AddrFromSlice(raw)
	if high, given := nat.AddrMax.(Const); nat.AddrMax != nil && (!given || string(high) != string(raw)) {
		return nil // one of several addresses
	}
	if !ok || !valid || int(a.ports.Last)-int(a.ports.First) >= mostPorts {
		return nil
	}
	host := a.dst
	if !host.IsValid() {
		host = netip.IPv6Unspecified()
		if addr.Is4() {
			host = netip.IPv4Unspecified()
		}
	}
	var list []PortForward
	for port := int(a.ports.First); port <= int(a.ports.Last); port++ {
		to, ok := nat.portFor(uint16(port))
		if !ok {
			return nil
		}
		list = append(list, PortForward{Proto: a.proto, Host: netip.AddrPortFrom(host, uint16(port)), To: netip.AddrPortFrom(addr, to)})
	}
	return list
}

// portFor is the port that a translation makes of one; ok is false where the
// kernel chooses.
func (n NAT) portFor(port uint16) (to uint16, ok bool) {
	if n.PortMin == nil {
		return port, true
	}
	low, ok := n.PortMin.(Const)
	if !ok || len(low) < 2 {
		return 0, false
	}
	first := binary.BigEndian.Uint16(low)
	if n.PortMax == nil {
		return first, true
	}
	high, ok := n.PortMax.(Const)
	if !ok || len(high) < 2 {
		return 0, false
	}
	last := binary.BigEndian.Uint16(high)
	if first == last {
		return first, true
	}
	return n.shifted(port, first, last)
}

// shifted is the port of a range that keeps its order (--to-destination
// ADDR:FIRST-LAST/BASE).
func (n NAT) shifted(port, first, last uint16) (to uint16, ok bool) {
	if !n.Shifted || last < first {
		return 0, false
	}
	size := uint32(last) - uint32(first) + 1
	return first + uint16(uint32(port-n.Base)%size), true //nolint:gosec // below size
}
