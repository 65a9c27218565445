// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
)

// known tells whether there is a local table to ask.
func (r *Routes) known() bool { return len(r.Routes) > 0 }

// conntrack follows the kernel's conntrack_mt.
func (r *run) conntrack(m Conntrack) tri {
	p := &r.p
	asked := func(bit uint16) (ask, not bool) { return m.Asked&bit != 0, m.Inverted&bit != 0 }
	if ask, not := asked(CTState); ask && truth(m.State&p.ctState() != 0).not(not) == no {
		return no
	}
	if !p.tracked() {
		return truth(m.Asked&CTState != 0)
	}
	out := yes
	if ask, not := asked(CTStatus); ask {
		out = and(out, truth((m.Status&uint16(p.Conn.Status) != 0) != not)) //nolint:gosec // low bits are all that rules know
	}
	if ask, not := asked(CTProto); ask {
		out = and(out, truth((uint16(p.Proto) == m.Proto) != not))
	}
	if ask, not := asked(CTDirection); ask {
		out = and(out, truth(p.Conn.Reply == not))
	}
	if m.Asked&CTExpires != 0 {
		r.why("when the connection expires")
		out = and(out, maybe)
	}
	src, dst := r.original()
	out = and(out, r.tuplePart(m, CTOrigSrc, src, m.OrigSrc), r.tuplePart(m, CTOrigDst, dst, m.OrigDst),
		r.tuplePort(m, CTOrigSrcPort, src, m.OrigSrcPort), r.tuplePort(m, CTOrigDstPort, dst, m.OrigDstPort))
	replSrc, replDst := r.reply()
	return and(out, r.tuplePart(m, CTReplSrc, replSrc, m.ReplSrc), r.tuplePart(m, CTReplDst, replDst, m.ReplDst),
		r.tuplePort(m, CTReplSrcPort, replSrc, m.ReplSrcPort), r.tuplePort(m, CTReplDstPort, replDst, m.ReplDstPort))
}

// ctState is the state as xtables numbers it, with what NAT did.
func (p *Packet) ctState() uint16 {
	var bits uint16
	switch p.Conn.State {
	case Invalid:
		return CTStateInvalid
	case Untracked:
		return CTStateUntracked
	case Established:
		bits = CTStateEstablished
	case Related:
		bits = CTStateRelated
	case New:
		bits = CTStateNew
	}
	if p.Conn.Status&StatusSNAT != 0 {
		bits |= CTStateSNAT
	}
	if p.Conn.Status&StatusDNAT != 0 {
		bits |= CTStateDNAT
	}
	return bits
}

// reply is the tuple of a reply to a connection's first packet: as it will be,
// judging by the translations so far.
func (r *run) reply() (src, dst netip.AddrPort) {
	p := &r.p
	if p.Conn.State != New || p.Conn.Reply || r.vague.src || r.vague.dst || r.vague.sport || r.vague.dport {
		return src, dst
	}
	return netip.AddrPortFrom(p.Dst, p.DstPort), netip.AddrPortFrom(p.Src, p.SrcPort)
}

func (r *run) tuplePart(m Conntrack, bit uint16, ap netip.AddrPort, in netip.Prefix) tri {
	if m.Asked&bit == 0 {
		return yes
	}
	if !ap.IsValid() {
		r.why("the connection's first packet")
		return maybe
	}
	return truth(in.Contains(ap.Addr())).not(m.Inverted&bit != 0)
}

func (r *run) tuplePort(m Conntrack, bit uint16, ap netip.AddrPort, in PortRange) tri {
	if m.Asked&bit == 0 {
		return yes
	}
	if !ap.IsValid() {
		r.why("the connection's first packet")
		return maybe
	}
	return truth(in.holds(ap.Port())).not(m.Inverted&bit != 0)
}

// rpfilter: does a packet to the source leave by the device that this one came
// by.
func (r *run) rpfilter(m RPFilter) tri {
	p := &r.p
	if r.ev.env.Devices[p.In].Loopback {
		return truth(!m.Invert)
	}
	if !r.ev.env.Routes.known() || r.vague.src {
		return maybe
	}
	if p.asksForAddress() {
		return truth(!m.Invert)
	}
	q := Query{Dst: p.Src, Src: p.Dst}
	if m.ValidMark {
		q.Mark = p.Mark
	}
	if p.V6() && p.Src.IsLinkLocalUnicast() {
		q.Out = p.In
	}
	route, ok, unsure := r.ev.env.Routes.Lookup(q)
	if unsure {
		return maybe
	}
	hit := ok && (route.Type == RouteUnicast || route.Type == RouteLocal && m.AcceptLocal) &&
		(m.Loose || route.Dev == p.In)
	return truth(hit != m.Invert)
}

// asksForAddress tells that a packet's sender has no address yet, as before DHCP.
func (p *Packet) asksForAddress() bool {
	if !p.Src.IsUnspecified() {
		return false
	}
	return p.V6() || p.Dst.IsMulticast() || p.Dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// u32 follows the kernel's u32_match_it, on the bits that are known of the packet.
func (r *run) u32(m U32) tri {
	whole := r.whole()
	for _, test := range m.Tests {
		v, st := test.value(&whole)
		switch {
		case st == broken:
			return truth(m.Not)
		case st == unknown:
			r.why("what the packet holds")
			return maybe
		case !inRanges(v, test.Values):
			return truth(m.Not)
		}
	}
	return truth(!m.Not)
}

// value computes the location of a test.
func (t U32Test) value(whole *image) (uint32, status) {
	v, sure, st := whole.word(t.Start)
	base := uint32(0)
	for _, s := range t.Steps {
		if st != known {
			return 0, st
		}
		switch s.Op {
		case '&':
			v, sure = v&s.Number, sure|^s.Number
		case '<':
			v, sure = v<<s.Number, ^(^sure << s.Number)
		case '>':
			v, sure = v>>s.Number, ^(^sure >> s.Number)
		case '@':
			if ^sure != 0 {
				return 0, unknown
			}
			base += v
			v, sure, st = whole.word(base + s.Number)
		}
	}
	if st == known && ^sure != 0 {
		st = unknown
	}
	return v, st
}

// word is four bytes and which of their bits are known.
func (m *image) word(at uint32) (v, sure uint32, st status) {
	if at > 1<<16 {
		return 0, 0, broken
	}
	if int(at)+4 > len(m.bytes) {
		if m.open {
			return 0, 0, unknown
		}
		return 0, 0, broken
	}
	return binary.BigEndian.Uint32(m.bytes[at:]), binary.BigEndian.Uint32(m.sure[at:]), known
}

func inRanges(v uint32, list [][2]uint32) bool {
	for _, one := range list {
		if one[0] <= v && v <= one[1] {
			return true
		}
	}
	return false
}
