// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// nat sets a connection up.
func (r *run) nat(s NAT, step *Step) (Go, bool) {
	which := manip(r.hook)
	step.Does = s.Kind.word()
	if r.natDone[which] || !r.p.tracked() {
		return Go{Kind: GoAccept}, true
	}
	to, exact, drop := r.target(s)
	if drop {
		step.Text += " (the device has no address: drop)"
		step.Does = Drop.String()
		return Go{Kind: GoDrop}, true
	}
	r.natDone[which] = true
	r.translate(which, s.Kind, to, exact, step)
	return Go{Kind: GoAccept}, true
}

// word is the kind as nft writes it.
func (k NATKind) word() string { return strings.ToLower(k.String()) }

// end of a translation: an address and a port, as far as they are known.
type endpoint struct {
	addr           netip.Addr
	port           uint16
	addrOK, portOK bool // known exactly
}

// translate changes the packet.
func (r *run) translate(which int, kind NATKind, to endpoint, exact bool, step *Step) {
	p := &r.p
	addr, port := &p.Src, &p.SrcPort
	vagueAddr, vaguePort, bit := &r.vague.src, &r.vague.sport, uint32(StatusSNAT)
	if which == 1 {
		addr, port = &p.Dst, &p.DstPort
		vagueAddr, vaguePort, bit = &r.vague.dst, &r.vague.dport, StatusDNAT
	}
	from := netip.AddrPortFrom(*addr, *port)
	if to.addr.IsValid() {
		*addr = to.addr
	}
	if p.hasPorts() {
		*port = to.port
	}
	*vagueAddr = *vagueAddr || !to.addrOK
	*vaguePort = *vaguePort || !to.portOK
	now := netip.AddrPortFrom(*addr, *port)
	if now != from {
		p.Conn.Status |= bit
	}
	step.NAT = &Translation{Kind: kind, From: from, To: now, Exact: exact}
}

// target is what a connection is translated to. drop: the kernel drops for want
// of an address.
func (r *run) target(s NAT) (to endpoint, exact, drop bool) {
	addr, port := r.p.Src, r.p.SrcPort
	if manip(r.hook) == 1 {
		addr, port = r.p.Dst, r.p.DstPort
	}
	to = endpoint{addr: addr, port: port, addrOK: true, portOK: true}
	switch s.Kind {
	case Masquerade:
		to.addr, to.addrOK, drop = r.masqueradeAddr()
	case Redirect:
		to.addr, to.addrOK, drop = r.redirectAddr()
	default:
		r.given(s, &to)
	}
	if drop {
		return to, false, true
	}
	r.givenPort(s, &to)
	exact = to.addrOK && to.portOK
	return to, exact, false
}

// given reads the addresses that a rule names.
func (r *run) given(s NAT, to *endpoint) {
	if s.AddrMin == nil {
		return
	}
	low, st := r.value(s.AddrMin, 0)
	addr, ok := netip.AddrFromSlice(low)
	if st != known || !ok {
		to.addrOK = false
		return
	}
	if s.Netmap {
		to.addr, to.addrOK = r.netmap(addr, s, to.addr)
		return
	}
	to.addr = addr
	if s.AddrMax != nil {
		high, st := r.value(s.AddrMax, 0)
		to.addrOK = st == known && string(high) == string(low)
	}
}

// netmap keeps the host's part of an address.
func (r *run) netmap(base netip.Addr, s NAT, old netip.Addr) (netip.Addr, bool) {
	low := base.AsSlice()
	high := low
	if s.AddrMax != nil {
		b, st := r.value(s.AddrMax, 0)
		if st != known || len(b) != len(low) {
			return old, false
		}
		high = b
	}
	out := old.AsSlice()
	for i := range out {
		mask := ^(low[i] ^ high[i])
		out[i] = low[i]&mask | out[i]&^mask
	}
	addr, ok := netip.AddrFromSlice(out)
	return addr, ok
}

// givenPort reads the ports that a rule names.
func (r *run) givenPort(s NAT, to *endpoint) {
	if !r.p.hasPorts() {
		return
	}
	if s.PortMin == nil {
		to.portOK = !s.Random
		return
	}
	low, st := r.value(s.PortMin, 0)
	if st != known || len(low) < 2 {
		to.portOK = false
		return
	}
	first := binary.BigEndian.Uint16(low)
	last := first
	if s.PortMax != nil {
		high, st := r.value(s.PortMax, 0)
		if st != known || len(high) < 2 {
			to.portOK = false
			return
		}
		last = binary.BigEndian.Uint16(high)
	}
	if port, ok := s.shifted(to.port, first, last); ok {
		to.port, to.portOK = port, to.portOK && !s.Random
		return
	}
	switch {
	case first == last:
		to.port = first
	case to.port >= first && to.port <= last && manip(r.hook) == 0 && !s.Random:
		// A source port within the range stays.
	default:
		to.port, to.portOK = first, false
	}
}

// masqueradeAddr is the address of the device that the packet leaves by: the
// first one of the next hop's network, else the first.
func (r *run) masqueradeAddr() (addr netip.Addr, sure, drop bool) {
	d, ok := r.ev.env.Devices[r.p.Out]
	if !ok {
		return r.p.Src, false, false
	}
	hop := r.p.Dst
	if route, ok, unsure := r.ev.env.Routes.Lookup(Query{Dst: r.p.Dst, Out: r.p.Out, Mark: r.p.Mark}); ok && !unsure {
		if route.Via.IsValid() && route.Via.Is4() == hop.Is4() {
			hop = route.Via
		}
	}
	var first netip.Addr
	for _, a := range d.Addrs {
		if a.Addr().Is4() != r.p.Dst.Is4() || a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() != hop.IsLinkLocalUnicast() {
			continue
		}
		if !first.IsValid() {
			first = a.Addr()
		}
		if a.Contains(hop) && !a.Addr().IsLoopback() {
			return a.Addr(), true, false
		}
	}
	switch {
	case first.IsValid() && !first.IsLoopback():
		return first, true, false
	case r.p.V6():
		return r.p.Src, false, false
	}
	return r.otherAddr4()
}

// otherAddr4: for want of an address on the device, the kernel takes that of the
// first device that has one.
func (r *run) otherAddr4() (addr netip.Addr, sure, drop bool) {
	best := 0
	for _, d := range r.ev.env.Devices {
		for _, a := range d.Addrs {
			if a.Addr().Is4() && !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() && (best == 0 || d.Index < best) {
				best, addr = d.Index, a.Addr()
				break
			}
		}
	}
	if best == 0 {
		return r.p.Src, false, true
	}
	return addr, true, false
}

// redirectAddr is the first address of the device that the packet came by, or
// the loopback's for one that was made here.
func (r *run) redirectAddr() (addr netip.Addr, sure, drop bool) {
	if r.hook == hookOutput {
		if r.p.V6() {
			return netip.IPv6Loopback(), true, false
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true, false
	}
	d, ok := r.ev.env.Devices[r.p.In]
	if !ok {
		return r.p.Dst, false, false
	}
	for _, a := range d.Addrs {
		if a.Addr().Is4() == r.p.Dst.Is4() && (a.Addr().Is4() || a.Addr().IsLinkLocalUnicast() == r.p.Dst.IsLinkLocalUnicast()) {
			return a.Addr(), true, false
		}
	}
	return r.p.Dst, false, true
}
