// SPDX-License-Identifier: Apache-2.0

package rules

import "net/netip"

// match tells whether a match of xtables holds.
func (r *run) match(m Match) tri {
	if t, ok := r.headers(m); ok {
		return t
	}
	switch m := m.(type) {
	case AddrType:
		return r.addrType(m)
	case Conntrack:
		return r.conntrack(m)
	case MarkMatch:
		return r.mark(m)
	case Physdev:
		return r.physdev(m)
	case IPSetMatch:
		return r.ipset(m)
	case Recent:
		return r.recent(m)
	case PktType:
		return r.xtPktType(m)
	case RPFilter:
		return r.rpfilter(m)
	case Policy:
		return r.policy(m)
	case Owner:
		return r.xtOwner(m)
	case XTRate:
		return r.holds(Rate(m))
	case Comment:
		return yes
	case XTOpaque:
		r.why("%s is not known", m.Text)
	}
	return maybe
}

// headers answers matches that ask for nothing but what the packet's headers
// hold; ok is false for others.
func (r *run) headers(m Match) (t tri, ok bool) {
	p := &r.p
	switch m := m.(type) {
	case Ports:
		t = r.ports(m)
	case Multiport:
		t = r.multiport(m)
	case ICMPType:
		t = r.icmp(m)
	case MAC:
		t = r.mac(m)
	case IPRange:
		t = r.ipRange(m)
	case HopLimit:
		t = r.hopLimit(m)
	case DSCP:
		t = opt(p.TOS, func(v uint8) bool { return v>>2 == m.Value }).not(m.Not)
	case TOS:
		t = opt(p.TOS, func(v uint8) bool { return v&m.Mask == m.Value }).not(m.Not)
	case Length:
		t = opt(p.Length, func(v uint16) bool { return m.Min <= v && v <= m.Max }).not(m.Not)
	case RoutingHeader:
		t = no
	case U32:
		t = r.u32(m)
	default:
		return no, false
	}
	return t, true
}

// opt answers by a value that may not be known.
func opt[T any](v Opt[T], holds func(T) bool) tri {
	if !v.Known {
		return maybe
	}
	return truth(holds(v.Value))
}

// and joins answers: all must hold.
func and(list ...tri) tri {
	out := yes
	for _, t := range list {
		switch t {
		case no:
			return no
		case maybe:
			out = maybe
		}
	}
	return out
}

func or(a, b tri) tri {
	switch {
	case a == yes || b == yes:
		return yes
	case a == maybe || b == maybe:
		return maybe
	}
	return no
}

func (r *run) src() (netip.Addr, bool) { return r.p.Src, !r.vague.src }
func (r *run) dst() (netip.Addr, bool) { return r.p.Dst, !r.vague.dst }

func port(vague bool, p uint16, in PortRange, not bool) tri {
	if in.any() {
		return truth(!not)
	}
	if vague {
		return maybe
	}
	return truth(in.holds(p) != not)
}

func (r *run) ports(m Ports) tri {
	p := &r.p
	if p.Proto != m.Proto || p.Fragment {
		return no
	}
	if m.More != "" {
		r.why("%s is not known", m.More)
		return maybe
	}
	out := and(port(r.vague.sport, p.SrcPort, m.Src, m.NotSrc), port(r.vague.dport, p.DstPort, m.Dst, m.NotDst))
	if m.FlagMask != 0 || m.FlagComp != 0 || m.NotFlags {
		out = and(out, truth((p.TCPFlags&m.FlagMask == m.FlagComp) != m.NotFlags))
	}
	if m.Option != 0 {
		out = and(out, maybe)
	}
	return out
}

func (r *run) multiport(m Multiport) tri {
	if r.p.Fragment || !r.p.hasPorts() {
		return no
	}
	in := func(vague bool, p uint16) tri {
		if vague {
			return maybe
		}
		for _, one := range m.Ports {
			if one.holds(p) {
				return yes
			}
		}
		return no
	}
	out := no
	if m.Src {
		out = in(r.vague.sport, r.p.SrcPort)
	}
	if m.Dst {
		out = or(out, in(r.vague.dport, r.p.DstPort))
	}
	return out.not(m.Not)
}

func (r *run) icmp(m ICMPType) tri {
	p := &r.p
	want := uint8(ICMP)
	if m.V6 {
		want = ICMPv6
	}
	if p.Fragment || p.Proto != want {
		return no
	}
	any4 := !m.V6 && m.Type == 0xff
	hit := any4 || p.ICMPType == m.Type && m.CodeMin <= p.ICMPCode && p.ICMPCode <= m.CodeMax
	return truth(hit != m.Not)
}

func (r *run) addrType(m AddrType) tri {
	dev := ""
	if m.LimitIn {
		dev = r.p.In
	} else if m.LimitOut {
		dev = r.p.Out
	}
	ask := func(vague bool, addr netip.Addr, mask uint16, not bool) tri {
		if mask == 0 {
			return yes
		}
		if vague || !r.ev.env.Routes.known() {
			r.why("the routes are not known")
			return maybe
		}
		if addr.Is6() {
			return truth(r.ev.env.Routes.is6(addr, dev, mask) != not)
		}
		t := r.ev.env.Routes.typeOf(addr, dev)
		return truth((mask&(1<<t) != 0) != not)
	}
	return and(ask(r.vague.src, r.p.Src, m.Src, m.NotSrc), ask(r.vague.dst, r.p.Dst, m.Dst, m.NotDst))
}

func (r *run) mark(m MarkMatch) tri {
	if m.Conn {
		if !r.p.tracked() {
			return no
		}
		if r.vague.ctmark {
			return maybe
		}
		return truth((r.p.Conn.Mark&m.Mask == m.Mark) != m.Not)
	}
	if r.vague.mark {
		return maybe
	}
	return truth((r.p.Mark&m.Mask == m.Mark) != m.Not)
}

// is tells whether a device has the name.
func (i Iface) is(dev string) bool {
	if i.Prefix {
		return len(dev) >= len(i.Name) && dev[:len(i.Name)] == i.Name
	}
	return dev == i.Name
}

// physdev follows the kernel's physdev_mt: the port that the packet will leave by
// is known only once the bridge forwards it.
func (r *run) physdev(m Physdev) tri {
	in, out := r.p.PhysIn, ""
	if r.p.Bridged && (r.hook == hookForward || r.hook == hookPostrouting) {
		out = r.p.PhysOut
	}
	if in == "" && out == "" { // not from a bridge: only what is inverted holds
		return truth(!m.IsBri.fails(false) && !m.IsIn.fails(false) && !m.IsOut.fails(false) &&
			(!m.AskIn || m.In.Not) && (!m.AskOut || m.Out.Not))
	}
	if m.IsBri.fails(out != "") || m.IsIn.fails(in != "") || m.IsOut.fails(out != "") {
		return no
	}
	return r.portNames(m, in, out)
}

// portNames compares the bridge's ports by their names.
func (r *run) portNames(m Physdev, in, out string) tri {
	switch {
	case m.AskIn && in != "" && m.In.is(in) == m.In.Not,
		m.AskOut && out != anyPort && m.Out.is(out) == m.Out.Not:
		return no
	case m.AskOut && out == anyPort:
		r.why("the port that the bridge chooses")
		return maybe
	}
	return yes
}

// fails tells that a flag is asked for and the packet is not so.
func (f Flag) fails(is bool) bool { return f.Ask && is == f.Not }

// recent: what a list holds is not read.
func (r *run) recent(m Recent) tri {
	if m.Op == "set" {
		return truth(!m.Not)
	}
	if r.touched["recent "+m.List] && m.Hits <= 1 {
		return truth(!m.Not)
	}
	if r.ev.env.Recent == AssumeQuiet {
		return truth(m.Not)
	}
	r.why("the list %s", m.List)
	return maybe
}

// afterMatch remembers what a match left behind.
func (r *run) afterMatch(m Match) {
	if list, ok := m.(Recent); ok && list.Op == "set" {
		r.touched["recent "+list.List] = true
	}
}

func (r *run) xtPktType(m PktType) tri {
	t, ok := r.pktType()
	if !ok {
		return maybe
	}
	return truth((t == m.Type) != m.Not)
}

// mac: only packets that came by a device with Ethernet headers have one.
func (r *run) mac(m MAC) tri {
	if r.p.In == "" || r.ev.env.Devices[r.p.In].Loopback {
		return no
	}
	return opt(r.p.SrcMAC, func(v [6]byte) bool { return v == m.Addr }).not(m.Not)
}

func (r *run) ipRange(m IPRange) tri {
	ask := func(ask bool, vague bool, addr netip.Addr, in AddrRange, not bool) tri {
		switch {
		case !ask:
			return yes
		case vague:
			return maybe
		}
		return truth(in.holds(addr) != not)
	}
	return and(ask(m.AskSrc, r.vague.src, r.p.Src, m.Src, m.NotSrc), ask(m.AskDst, r.vague.dst, r.p.Dst, m.Dst, m.NotDst))
}

func (r *run) hopLimit(m HopLimit) tri {
	return opt(r.p.TTL, func(v uint8) bool {
		switch m.Op {
		case "eq":
			return v == m.Value
		case "ne":
			return v != m.Value
		case "lt":
			return v < m.Value
		}
		return v > m.Value
	})
}

// policy: none holds where no IPsec has a part; what exactly has, is not known.
func (r *run) policy(m Policy) tri {
	switch {
	case m.None:
		return truth(!r.p.IPsec)
	case !r.p.IPsec:
		return no
	}
	return maybe
}

func (r *run) xtOwner(m Owner) tri {
	here := r.p.In == ""
	if !here {
		// A packet that came from elsewhere has no socket yet.
		return truth(m.AskUID == m.NotUID && m.AskGID == m.NotGID && m.AskSocket == m.NotSocket)
	}
	ask := func(ask, not bool, v Opt[uint32], lo, hi uint32) tri {
		if !ask {
			return yes
		}
		return opt(v, func(id uint32) bool { return lo <= id && id <= hi }).not(not)
	}
	out := and(ask(m.AskUID, m.NotUID, r.p.UID, m.UIDMin, m.UIDMax), ask(m.AskGID, m.NotGID, r.p.GID, m.GIDMin, m.GIDMax))
	if m.AskSocket && m.NotSocket {
		return no
	}
	return out
}
