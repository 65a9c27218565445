// SPDX-License-Identifier: Apache-2.0

package rules

import "net/netip"

// fib asks the routing as nf_tables does.
func (r *run) fib(v FIB) ([]byte, status) {
	p := &r.p
	if !r.ev.env.Routes.known() {
		r.why("the routes are not known")
		return nil, unknown
	}
	addr, other, vague := p.Dst, p.Src, r.vague.dst
	if v.Saddr {
		addr, other, vague = p.Src, p.Dst, r.vague.src
	}
	if vague {
		return nil, unknown
	}
	dev := ""
	switch {
	case v.IIF:
		dev = p.In
	case v.OIF:
		dev = p.Out
	}
	if v.Result == "type" {
		return num32(uint32(r.ev.env.Routes.typeOf(addr, dev)))
	}
	found, st := r.fibDevice(v, addr, other, dev)
	if st != known {
		return nil, st
	}
	switch {
	case v.Check:
		if found != "" {
			return num32(1) // the kernel fills the register, rules compare one byte or four
		}
		return num32(0)
	case v.Result == "oifname":
		return name16(found)
	}
	return r.index(found)
}

// fibDevice is the device by which an address is reached: dev, if given, or none.
func (r *run) fibDevice(v FIB, addr, other netip.Addr, dev string) (string, status) {
	p := &r.p
	if r.hook == hookPrerouting && r.ev.env.Devices[p.In].Loopback {
		return p.In, known
	}
	if !p.V6() && p.Src.IsUnspecified() && (p.Dst.IsMulticast() || p.Dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		return p.In, known
	}
	q := Query{Dst: addr, Src: other}
	if v.Mark {
		if r.vague.mark {
			return "", unknown
		}
		q.Mark = p.Mark
	}
	if p.V6() && addr.IsLinkLocalUnicast() {
		q.Out = dev
	}
	route, ok, unsure := r.ev.env.Routes.Lookup(q)
	switch {
	case unsure:
		return "", unknown
	case !ok, route.Type != RouteUnicast, dev != "" && route.Dev != dev:
		return "", known
	}
	return route.Dev, known
}
