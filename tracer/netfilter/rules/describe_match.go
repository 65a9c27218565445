// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// match writes a match as iptables-save does.
func (w *iptWriter) match(m Match) string {
	switch m := m.(type) {
	case Ports:
		return m.words()
	case Multiport:
		return m.words()
	case ICMPType:
		return m.words()
	case AddrType:
		return m.words()
	case Conntrack:
		return m.words()
	case MarkMatch:
		name := "-m mark "
		if m.Conn {
			name = "-m connmark "
		}
		return name + bang(m.Not, "--mark "+maskedWords(m.Mark, m.Mask))
	case Physdev:
		return m.words()
	case IPSetMatch:
		return m.words()
	case Recent:
		return m.words()
	case PktType:
		return "-m pkttype " + bang(m.Not, "--pkt-type "+pktTypeName(m.Type))
	case MAC:
		return "-m mac " + bang(m.Not, "--mac-source "+net.HardwareAddr(m.Addr[:]).String())
	case IPRange:
		return m.words()
	case Comment:
		w.comment = m.Text
		return "-m comment --comment " + quote(m.Text)
	}
	return otherWords(m)
}

func otherWords(m Match) string {
	switch m := m.(type) {
	case HopLimit:
		return m.words()
	case DSCP:
		return "-m dscp " + bang(m.Not, fmt.Sprintf("--dscp 0x%02x", m.Value))
	case TOS:
		return "-m tos " + bang(m.Not, fmt.Sprintf("--tos 0x%02x/0x%02x", m.Value, m.Mask))
	case Length:
		return "-m length " + bang(m.Not, "--length "+PortRange{m.Min, m.Max}.words())
	case RPFilter:
		return m.words()
	case RoutingHeader:
		return "-m rt " + m.Text
	case Policy:
		return "-m policy " + m.Text
	case Owner:
		return m.words()
	case U32:
		return "-m u32 " + bang(m.Not, "--u32 "+quote(m.Text))
	case XTRate:
		return "-m " + m.Text
	case XTOpaque:
		return m.Text
	}
	return ""
}

func maskedWords(value, mask uint32) string {
	if mask == ^uint32(0) {
		return fmt.Sprintf("0x%x", value)
	}
	return fmt.Sprintf("0x%x/0x%x", value, mask)
}

func (p PortRange) words() string {
	if p.First == p.Last {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d:%d", p.First, p.Last)
}

func (m Ports) words() string {
	words := []string{"-m " + protocolName(m.Proto)}
	if !m.Src.any() || m.NotSrc {
		words = append(words, bang(m.NotSrc, "--sport "+m.Src.words()))
	}
	if !m.Dst.any() || m.NotDst {
		words = append(words, bang(m.NotDst, "--dport "+m.Dst.words()))
	}
	if m.Option != 0 {
		words = append(words, bang(m.NotOption, fmt.Sprintf("--tcp-option %d", m.Option)))
	}
	if m.FlagMask != 0 || m.FlagComp != 0 || m.NotFlags {
		words = append(words, bang(m.NotFlags, "--tcp-flags "+flagWords(m.FlagMask)+" "+flagWords(m.FlagComp)))
	}
	if m.More != "" {
		words = append(words, m.More)
	}
	return strings.Join(words, " ")
}

func flagWords(bits uint8) string {
	var names []string
	for i, n := range flagNames() {
		if bits&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		return "NONE"
	}
	return strings.Join(names, ",")
}

func (m Multiport) words() string {
	name := "--ports "
	switch {
	case !m.Dst:
		name = "--sports "
	case !m.Src:
		name = "--dports "
	}
	var list []string
	for _, p := range m.Ports {
		list = append(list, p.words())
	}
	return "-m multiport " + bang(m.Not, name+strings.Join(list, ","))
}

func (m ICMPType) words() string {
	s := "-m icmp "
	option := "--icmp-type "
	if m.V6 {
		s, option = "-m icmp6 ", "--icmpv6-type "
	}
	typ := fmt.Sprint(m.Type)
	switch {
	case !m.V6 && m.Type == 0xff:
		typ = "any"
	case m.CodeMin == m.CodeMax:
		typ += fmt.Sprintf("/%d", m.CodeMin)
	}
	return s + bang(m.Not, option+typ)
}

func (m AddrType) words() string {
	s := "-m addrtype"
	if m.Src != 0 {
		s += " " + bang(m.NotSrc, "--src-type "+typeWords(m.Src))
	}
	if m.Dst != 0 {
		s += " " + bang(m.NotDst, "--dst-type "+typeWords(m.Dst))
	}
	if m.LimitIn {
		s += " --limit-iface-in"
	}
	if m.LimitOut {
		s += " --limit-iface-out"
	}
	return s
}

func typeWords(bits uint16) string {
	var names []string
	for i, n := range routeNames() {
		if bits&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

func bitWords(bits uint16, names []bitName) string {
	var list []string
	for _, n := range names {
		if bits&n.bit != 0 {
			list = append(list, n.name)
		}
	}
	if list == nil {
		return "NONE"
	}
	return strings.Join(list, ",")
}

// words writes -m conntrack's options in the order of iptables-save.
func (m Conntrack) words() string {
	if m.StateMatch {
		return "-m state " + bang(m.Inverted&CTState != 0, "--state "+bitWords(m.State, ctStateNames()))
	}
	s := "-m conntrack"
	add := func(bit uint16, words string) {
		if m.Asked&bit != 0 {
			s += " " + bang(m.Inverted&bit != 0, words)
		}
	}
	net := func(p netip.Prefix) string {
		if p.IsSingleIP() {
			return p.Addr().String()
		}
		return p.String()
	}
	add(CTState, "--ctstate "+bitWords(m.State, ctStateNames()))
	add(CTProto, fmt.Sprintf("--ctproto %d", m.Proto))
	add(CTOrigSrc, "--ctorigsrc "+net(m.OrigSrc))
	add(CTOrigDst, "--ctorigdst "+net(m.OrigDst))
	add(CTReplSrc, "--ctreplsrc "+net(m.ReplSrc))
	add(CTReplDst, "--ctrepldst "+net(m.ReplDst))
	add(CTOrigSrcPort, "--ctorigsrcport "+m.OrigSrcPort.words())
	add(CTOrigDstPort, "--ctorigdstport "+m.OrigDstPort.words())
	add(CTReplSrcPort, "--ctreplsrcport "+m.ReplSrcPort.words())
	add(CTReplDstPort, "--ctrepldstport "+m.ReplDstPort.words())
	add(CTStatus, "--ctstatus "+bitWords(m.Status, ctStatusNames()))
	expires := fmt.Sprint(m.ExpiresMin)
	if m.ExpiresMax != m.ExpiresMin {
		expires += fmt.Sprintf(":%d", m.ExpiresMax)
	}
	add(CTExpires, "--ctexpire "+expires)
	if m.Asked&CTDirection != 0 {
		s += " --ctdir " + map[bool]string{true: "REPLY", false: "ORIGINAL"}[m.Inverted&CTDirection != 0]
	}
	return s
}

func (m Physdev) words() string {
	s := "-m physdev"
	flag := func(f Flag, words string) {
		if f.Ask {
			s += " " + bang(f.Not, words)
		}
	}
	dev := func(i Iface) string {
		if i.Prefix {
			return i.Name + "+"
		}
		return i.Name
	}
	flag(m.IsIn, "--physdev-is-in")
	if m.AskIn {
		s += " " + bang(m.In.Not, "--physdev-in "+dev(m.In))
	}
	flag(m.IsOut, "--physdev-is-out")
	if m.AskOut {
		s += " " + bang(m.Out.Not, "--physdev-out "+dev(m.Out))
	}
	flag(m.IsBri, "--physdev-is-bridged")
	return s
}

func (m IPSetMatch) words() string {
	var dirs []string
	for _, src := range m.Src {
		dirs = append(dirs, map[bool]string{true: "src", false: "dst"}[src])
	}
	s := "-m set " + bang(m.Not, "--match-set "+quote(m.Set)+" "+strings.Join(dirs, ","))
	if m.More != "" {
		s += " " + m.More
	}
	return s
}

func (m Recent) words() string {
	s := "-m recent " + bang(m.Not, "--"+m.Op)
	if m.Seconds != 0 {
		s += fmt.Sprintf(" --seconds %d", m.Seconds)
	}
	if m.Reap {
		s += " --reap"
	}
	if m.Hits != 0 {
		s += fmt.Sprintf(" --hitcount %d", m.Hits)
	}
	if m.TTL {
		s += " --rttl"
	}
	s += " --name " + quote(m.List)
	if m.Mask.IsValid() {
		s += " --mask " + m.Mask.String()
	}
	if m.Dest {
		return s + " --rdest"
	}
	return s + " --rsource"
}

func (m IPRange) words() string {
	s := "-m iprange"
	add := func(ask, not bool, option string, r AddrRange) {
		if ask {
			s += " " + bang(not, option+r.First.String()+"-"+r.Last.String())
		}
	}
	add(m.AskSrc, m.NotSrc, "--src-range ", m.Src)
	add(m.AskDst, m.NotDst, "--dst-range ", m.Dst)
	return s
}

func (m HopLimit) words() string {
	name := "ttl"
	if m.V6 {
		name = "hl"
	}
	op, not := m.Op, false
	if op == "ne" {
		op, not = "eq", true
	}
	return fmt.Sprintf("-m %s ", name) + bang(not, fmt.Sprintf("--%s-%s %d", name, op, m.Value))
}

func (m RPFilter) words() string {
	s := "-m rpfilter"
	for _, f := range []struct {
		on   bool
		word string
	}{{m.Loose, "--loose"}, {m.ValidMark, "--validmark"}, {m.AcceptLocal, "--accept-local"}, {m.Invert, "--invert"}} {
		if f.on {
			s += " " + f.word
		}
	}
	return s
}

func (m Owner) words() string {
	s := "-m owner"
	ids := func(ask, not bool, word string, lo, hi uint32) {
		if !ask {
			return
		}
		n := fmt.Sprint(lo)
		if hi != lo {
			n += fmt.Sprintf("-%d", hi)
		}
		s += " " + bang(not, word+n)
	}
	if m.AskSocket {
		s += " " + bang(m.NotSocket, "--socket-exists")
	}
	ids(m.AskUID, m.NotUID, "--uid-owner ", m.UIDMin, m.UIDMax)
	ids(m.AskGID, m.NotGID, "--gid-owner ", m.GIDMin, m.GIDMax)
	return s
}
