// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strings"
)

// ipset tells whether a packet is in a set of ipset(8).
func (r *run) ipset(m IPSetMatch) tri {
	set := r.ev.set.IPSets[m.Set]
	switch {
	case set == nil:
		r.why("the set %s was not read", m.Set)
		return maybe
	case m.More != "" || r.touched["ipset "+m.Set]:
		r.why("the set %s counts or changes", m.Set)
		return maybe
	case set.Family != r.p.Family() && set.Type != "list:set" && !strings.HasPrefix(set.Type, "bitmap:port"):
		return truth(m.Not)
	}
	_, parts, _ := strings.Cut(set.Type, ":")
	kinds := strings.Split(parts, ",")
	if len(m.Src) == 0 || len(kinds) > len(m.Src) {
		return maybe
	}
	out := no
	best := -1 // of the longest prefix, which decides
	for _, e := range set.Entries {
		hit := r.entry(&e, kinds, m.Src)
		if hit == no {
			continue
		}
		if hit == maybe {
			return maybe
		}
		if bits := e.Net.Bits() + e.Net2.Bits(); bits > best || bits == best && e.NoMatch {
			best, out = bits, truth(!e.NoMatch)
		}
	}
	return out.not(m.Not)
}

// entry compares each part of a set's key in the direction that the rule gives.
func (r *run) entry(e *IPSetEntry, kinds []string, src []bool) tri {
	out, nets := yes, 0
	for i, kind := range kinds {
		switch kind {
		case "ip", "net":
			in := e.Net
			if nets++; nets == 2 {
				in = e.Net2
			}
			out = and(out, r.inNet(src[i], in))
		case "port":
			out = and(out, r.setPort(e, src[i]))
		case "iface":
			dev := r.p.Out
			if src[i] {
				dev = r.p.In
			}
			out = and(out, truth(dev == e.Iface))
		case "mark":
			out = and(out, truth(r.p.Mark == e.Mark && !r.vague.mark))
		case "mac":
			out = and(out, opt(r.p.SrcMAC, func(v [6]byte) bool { return v == e.MAC }))
		default:
			return maybe
		}
	}
	return out
}

func (r *run) inNet(src bool, in netip.Prefix) tri {
	addr, sure := r.dst()
	if src {
		addr, sure = r.src()
	}
	if !sure {
		return maybe
	}
	return truth(in.IsValid() && in.Contains(addr))
}

// setPort: ICMP's type and code stand where others have a port.
func (r *run) setPort(e *IPSetEntry, src bool) tri {
	p := &r.p
	if e.Proto != 0 && e.Proto != p.Proto {
		return no
	}
	switch {
	case p.Proto == ICMP || p.Proto == ICMPv6:
		return truth(e.Port == uint16(p.ICMPType)<<8|uint16(p.ICMPCode))
	case !p.hasPorts():
		return truth(e.Port == 0 && e.Proto != 0)
	case src:
		return port(r.vague.sport, p.SrcPort, PortRange{e.Port, e.Port}, false)
	}
	return port(r.vague.dport, p.DstPort, PortRange{e.Port, e.Port}, false)
}
