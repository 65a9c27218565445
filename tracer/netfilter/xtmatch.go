// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"strings"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// xtMatches are the matches whose data this package reads, by name and revision.
func xtMatches() map[xtKind]xtDecoder {
	return map[xtKind]xtDecoder{
		{"tcp", 0}:       {12, readTCP},
		{"udp", 0}:       {9, readUDP},
		{"udplite", 0}:   {9, readUDP},
		{"sctp", 0}:      {292, readSCTP},
		{"multiport", 0}: {32, readMultiport},
		{"multiport", 1}: {48, readMultiport},
		{"icmp", 0}:      {4, readICMP},
		{"icmp6", 0}:     {4, readICMP},
		{"addrtype", 0}:  {12, readAddrType0},
		{"addrtype", 1}:  {8, readAddrType1},
		{"conntrack", 1}: {152, readConntrack},
		{"conntrack", 2}: {154, readConntrack},
		{"conntrack", 3}: {162, readConntrack},
		{"state", 0}:     {4, readState},
		{"mark", 1}:      {9, readMark},
		{"connmark", 1}:  {9, readMark},
		{"physdev", 0}:   {66, readPhysdev},
		{"set", 1}:       {4, readSet},
		{"set", 2}:       {4, readSet},
		{"set", 3}:       {4, readSet},
		{"set", 4}:       {4, readSet},
		{"recent", 0}:    {211, readRecent},
		{"recent", 1}:    {228, readRecent},
		{"pkttype", 0}:   {8, readPktType},
		{"mac", 0}:       {12, readMAC},
		{"iprange", 1}:   {65, readIPRange},
		{"ttl", 0}:       {2, readHopLimit},
		{"hl", 0}:        {2, readHopLimit},
		{"dscp", 0}:      {2, func(x *xt) rules.Match { return rules.DSCP{Value: x.info.u8(0), Not: x.info.u8(1) != 0} }},
		{"tos", 1}: {3, func(x *xt) rules.Match {
			return rules.TOS{Mask: x.info.u8(0), Value: x.info.u8(1), Not: x.info.u8(2) != 0}
		}},
		{"length", 0}: {5, func(x *xt) rules.Match {
			return rules.Length{Min: x.info.u16(0), Max: x.info.u16(2), Not: x.info.u8(4) != 0}
		}},
		{"rpfilter", 0}:  {1, readRPFilter},
		{"rt", 0}:        {18, readRT},
		{"policy", 0}:    {308, readPolicy},
		{"owner", 1}:     {18, readOwner},
		{"u32", 0}:       {1982, readU32},
		{"limit", 0}:     {8, readLimit},
		{"hashlimit", 1}: {1, func(*xt) rules.Match { return rules.XTRate{Text: "hashlimit"} }},
		{"comment", 0}:   {1, func(x *xt) rules.Match { return rules.Comment{Text: x.info.text(0, min(256, len(x.info)))} }},
	}
}

func readTCP(x *xt) rules.Match {
	inv := x.info.u8(11)
	return rules.Ports{
		Proto: rules.TCP, Src: x.info.ports(0), Dst: x.info.ports(4), Option: x.info.u8(8),
		FlagMask: x.info.u8(9), FlagComp: x.info.u8(10),
		NotSrc: inv&1 != 0, NotDst: inv&2 != 0, NotFlags: inv&4 != 0, NotOption: inv&8 != 0,
	}
}

func readUDP(x *xt) rules.Match {
	proto := uint8(rules.UDP)
	if x.kind.name == "udplite" {
		proto = 136
	}
	inv := x.info.u8(8)
	return rules.Ports{
		Proto: proto, Src: x.info.ports(0), Dst: x.info.ports(4), NotSrc: inv&1 != 0, NotDst: inv&2 != 0,
	}
}

func readSCTP(x *xt) rules.Match {
	flags, inv := x.info.u32(284), x.info.u32(288)
	m := rules.Ports{Proto: rules.SCTP, Src: rules.AnyPort(), Dst: rules.AnyPort(), NotSrc: inv&1 != 0, NotDst: inv&2 != 0}
	if flags&1 != 0 {
		m.Src = x.info.ports(4)
	}
	if flags&2 != 0 {
		m.Dst = x.info.ports(0)
	}
	if flags&4 != 0 {
		m.More = "--chunk-types"
	}
	return m
}

func readMultiport(x *xt) rules.Match {
	kind, count := x.info.u8(0), int(x.info.u8(1))
	m := rules.Multiport{Src: kind != 1, Dst: kind != 0}
	for i := 0; i < min(count, 15); i++ {
		p := x.info.u16(2 + 2*i)
		r := rules.PortRange{First: p, Last: p}
		if x.kind.rev == 1 && x.info.u8(32+i) != 0 && i+1 < count {
			i++
			r.Last = x.info.u16(2 + 2*i)
		}
		m.Ports = append(m.Ports, r)
	}
	m.Not = x.kind.rev == 1 && x.info.u8(47) != 0
	return m
}

func readICMP(x *xt) rules.Match {
	return rules.ICMPType{
		V6: x.kind.name == "icmp6", Type: x.info.u8(0), CodeMin: x.info.u8(1), CodeMax: x.info.u8(2), Not: x.info.u8(3)&1 != 0,
	}
}

func readAddrType0(x *xt) rules.Match {
	return rules.AddrType{
		Src: x.info.u16(0), Dst: x.info.u16(2), NotSrc: x.info.u32(4) != 0, NotDst: x.info.u32(8) != 0,
	}
}

func readAddrType1(x *xt) rules.Match {
	f := x.info.u32(4)
	return rules.AddrType{
		Src: x.info.u16(0), Dst: x.info.u16(2), NotSrc: f&1 != 0, NotDst: f&2 != 0, LimitIn: f&4 != 0, LimitOut: f&8 != 0,
	}
}

// ctAlias is XT_CONNTRACK_STATE_ALIAS: written as -m state.
const ctAlias = 1 << 13

// readConntrack reads xt_conntrack_mtinfo1 to 3: masks have a byte in the first
// and two in the others; only the third has ranges of ports, in the host's order.
func readConntrack(x *xt) rules.Match {
	b, v6 := x.info, x.v6()
	m := rules.Conntrack{
		OrigSrc: b.prefix(0, v6), OrigDst: b.prefix(32, v6), ReplSrc: b.prefix(64, v6), ReplDst: b.prefix(96, v6),
		ExpiresMin: b.u32(128), ExpiresMax: b.u32(132), Proto: b.u16(136),
		Asked: b.u16(146), Inverted: b.u16(148),
	}
	if x.kind.rev == 1 {
		m.State, m.Status = uint16(b.u8(150)), uint16(b.u8(151))
	} else {
		m.State, m.Status = b.u16(150), b.u16(152)
	}
	for i, to := range []*rules.PortRange{&m.OrigSrcPort, &m.OrigDstPort, &m.ReplSrcPort, &m.ReplDstPort} {
		if x.kind.rev == 3 {
			*to = rules.PortRange{First: b.u16(138 + 2*i), Last: b.u16(154 + 2*i)}
			continue
		}
		p := b.be16(138 + 2*i)
		*to = rules.PortRange{First: p, Last: p}
	}
	m.StateMatch = m.Asked&ctAlias != 0
	m.Asked &^= ctAlias
	return m
}

func readState(x *xt) rules.Match {
	bits := x.info.u32(0)
	m := rules.Conntrack{StateMatch: true, Asked: rules.CTState, State: uint16(bits & 0xf)}
	if bits&(1<<6) != 0 {
		m.State |= rules.CTStateUntracked
	}
	return m
}

func readMark(x *xt) rules.Match {
	return rules.MarkMatch{
		Conn: x.kind.name == "connmark", Mark: x.info.u32(0), Mask: x.info.u32(4), Not: x.info.u8(8) != 0,
	}
}

// iface reads a name of 16 bytes and its mask: a name that ends in NUL under the
// mask is whole.
func (b blob) iface(name, mask int, not bool) rules.Iface {
	n := 0
	for n < 16 && b.u8(mask+n) != 0 {
		n++
	}
	text := b.text(name, 16)
	if n > len(text) {
		return rules.Iface{Name: text, Not: not}
	}
	return rules.Iface{Name: text[:n], Prefix: true, Not: not}
}

func readPhysdev(x *xt) rules.Match {
	inv, ask := x.info.u8(64), x.info.u8(65)
	flag := func(bit uint8) rules.Flag { return rules.Flag{Ask: ask&bit != 0, Not: inv&bit != 0} }
	return rules.Physdev{
		In: x.info.iface(0, 16, inv&1 != 0), Out: x.info.iface(32, 48, inv&2 != 0),
		AskIn: ask&1 != 0, AskOut: ask&2 != 0, IsBri: flag(4), IsIn: flag(8), IsOut: flag(16),
	}
}

// Flags of a set match that this program does not evaluate
// (IPSET_FLAG_MATCH_COUNTERS, IPSET_FLAG_RETURN_NOMATCH).
const setFlagsUnread = 1<<5 | 1<<7

func readSet(x *xt) rules.Match {
	name, ok := "", false
	if x.ipset != nil {
		name, ok = x.ipset(x.info.u16(0))
	}
	if !ok {
		name = fmt.Sprintf("#%d", x.info.u16(0))
	}
	dim, flags := int(x.info.u8(2)), x.info.u8(3)
	m := rules.IPSetMatch{Set: name, Not: flags&1 != 0}
	for i := range min(dim, 6) {
		m.Src = append(m.Src, flags&(2<<i) != 0)
	}
	var more uint32
	switch x.kind.rev {
	case 3: // counters are 16 bytes each, unpadded operations behind values
		more = x.info.u32(40)
	case 4:
		more = x.info.u32(40)
	}
	if more&setFlagsUnread != 0 {
		m.More = "--return-nomatch or counters"
	}
	return m
}

func readRecent(x *xt) rules.Match {
	b := x.info
	set := b.u8(8)
	m := rules.Recent{
		Seconds: b.u32(0), Hits: b.u32(4), Not: b.u8(9) != 0, List: b.text(10, 200), Dest: b.u8(210) == 1,
		TTL: set&16 != 0, Reap: set&32 != 0,
	}
	for _, op := range []struct {
		bit  uint8
		name string
	}{{1, "rcheck"}, {2, "set"}, {4, "update"}, {8, "remove"}} {
		if set&op.bit != 0 {
			m.Op = op.name
		}
	}
	if x.kind.rev == 1 {
		m.Mask = b.addr(212, x.v6())
	}
	return m
}

func readPktType(x *xt) rules.Match {
	return rules.PktType{Type: uint8(x.info.u32(0)), Not: x.info.u32(4) != 0} //nolint:gosec // below 8
}

func readMAC(x *xt) rules.Match {
	return rules.MAC{Addr: [6]byte(x.info.cut(0, 6)), Not: x.info.u32(8) != 0}
}

func readIPRange(x *xt) rules.Match {
	b, f, v6 := x.info, x.info.u8(64), x.v6()
	return rules.IPRange{
		Src: rules.AddrRange{First: b.addr(0, v6), Last: b.addr(16, v6)}, Dst: rules.AddrRange{First: b.addr(32, v6), Last: b.addr(48, v6)},
		AskSrc: f&1 != 0, AskDst: f&2 != 0, NotSrc: f&16 != 0, NotDst: f&32 != 0,
	}
}

func readHopLimit(x *xt) rules.Match {
	ops := [...]string{"eq", "ne", "lt", "gt"}
	op := int(x.info.u8(0))
	if op >= len(ops) {
		return nil
	}
	return rules.HopLimit{V6: x.kind.name == "hl", Op: ops[op], Value: x.info.u8(1)}
}

func readRPFilter(x *xt) rules.Match {
	f := x.info.u8(0)
	return rules.RPFilter{Loose: f&1 != 0, ValidMark: f&2 != 0, AcceptLocal: f&4 != 0, Invert: f&8 != 0}
}

func readRT(x *xt) rules.Match {
	flags, inv := x.info.u8(16), x.info.u8(17)
	var words []string
	if flags&1 != 0 {
		not := ""
		if inv&1 != 0 {
			not = "! "
		}
		words = append(words, fmt.Sprintf("%s--rt-type %d", not, x.info.u32(0)))
	}
	if flags&2 != 0 {
		words = append(words, fmt.Sprintf("--rt-segsleft %d:%d", x.info.u32(4), x.info.u32(8)))
	}
	return rules.RoutingHeader{Text: strings.Join(words, " ")}
}

// sizeofPolicy is struct xt_policy_elem.
const sizeofPolicy = 76

func readPolicy(x *xt) rules.Match {
	flags := x.info.u16(4 * sizeofPolicy)
	m := rules.Policy{Out: flags&2 != 0, None: flags&4 != 0, Strict: flags&8 != 0}
	dir, pol := "in", "ipsec"
	if m.Out {
		dir = "out"
	}
	if m.None {
		pol = "none"
	}
	m.Text = "--dir " + dir + " --pol " + pol
	if m.Strict {
		m.Text += " --strict"
	}
	return m
}

func readOwner(x *xt) rules.Match {
	ask, inv := x.info.u8(16), x.info.u8(17)
	return rules.Owner{
		UIDMin: x.info.u32(0), UIDMax: x.info.u32(4), GIDMin: x.info.u32(8), GIDMax: x.info.u32(12),
		AskUID: ask&1 != 0, AskGID: ask&2 != 0, AskSocket: ask&4 != 0,
		NotUID: inv&1 != 0, NotGID: inv&2 != 0, NotSocket: inv&4 != 0,
	}
}

// Units of a rate in xt_limit: ten-thousandths of a second for one packet.
const limitScale = 10_000

func readLimit(x *xt) rules.Match {
	avg, burst := x.info.u32(0), x.info.u32(4)
	units := []struct {
		name  string
		ticks uint32
	}{{"day", 86400 * limitScale}, {"hour", 3600 * limitScale}, {"min", 60 * limitScale}, {"sec", limitScale}}
	at := 1
	for ; avg > 0 && at < len(units); at++ {
		if avg > units[at].ticks || units[at].ticks/avg < units[at].ticks%avg {
			break
		}
	}
	m := rules.XTRate{Text: "limit"}
	if avg > 0 {
		m.Text = fmt.Sprintf("limit --limit %d/%s", units[at-1].ticks/avg, units[at-1].name)
	}
	if burst != 5 {
		m.Text += fmt.Sprintf(" --limit-burst %d", burst)
	}
	return m
}

// Sizes of struct xt_u32_test and of its parts.
const (
	u32Elems    = 11
	sizeofU32   = u32Elems*8*2 + 4
	u32NumTests = u32Elems * sizeofU32
)

func readU32(x *xt) rules.Match {
	b := x.info
	m := rules.U32{Not: b.u8(u32NumTests+1) != 0}
	var text []string
	for i := range min(int(b.u8(u32NumTests)), u32Elems) {
		base := i * sizeofU32
		t := rules.U32Test{Start: b.u32(base)}
		words := fmt.Sprintf("0x%x", t.Start)
		for j := 1; j < min(int(b.u8(base+u32Elems*16)), u32Elems); j++ {
			op := min(b.u8(base+8*j+4), 3)
			step := rules.U32Step{Op: "&<>@"[op], Number: b.u32(base + 8*j)}
			t.Steps = append(t.Steps, step)
			words += [...]string{"&", "<<", ">>", "@"}[op] + fmt.Sprintf("0x%x", step.Number)
		}
		words += "="
		for j := range min(int(b.u8(base+u32Elems*16+1)), u32Elems) {
			v := [2]uint32{b.u32(base + u32Elems*8 + 8*j), b.u32(base + u32Elems*8 + 8*j + 4)}
			t.Values = append(t.Values, v)
			if j > 0 {
				words += ","
			}
			words += fmt.Sprintf("0x%x", v[0])
			if v[1] != v[0] {
				words += fmt.Sprintf(":0x%x", v[1])
			}
		}
		m.Tests, text = append(m.Tests, t), append(text, words)
	}
	m.Text = strings.Join(text, "&&")
	return m
}
