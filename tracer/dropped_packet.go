package tracer

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// The kernel's enum ip_conntrack_info.
const (
	ctEstablished      = 0
	ctRelated          = 1
	ctNew              = 2
	ctEstablishedReply = 3
	ctRelatedReply     = 4
	ctUntracked        = 7
)

// hookOf is the netfilter hook that a packet was dropped at: of the hop that it
// was in or, where that holds several, of where its route led.
func hookOf(hop string, v *bpf.KernelVtDropped) string {
	if name, ok := strings.CutPrefix(hop, "netfilter/"); ok {
		name, _, _ = strings.Cut(name, "/")
		return name
	}
	switch {
	case v.Local != 0:
		return "input"
	case v.Out == 0:
		return "prerouting"
	case v.Ifindex == 0:
		return "output"
	case v.Ifindex != v.Out:
		return "forward"
	}
	return "postrouting"
}

// packetOf makes the packet as the rules of that hook saw it. What is not kept
// (marks, times to live, lengths) is not known, or 0.
func packetOf(key *bpf.KernelVtDroppedKey, v *bpf.KernelVtDropped, hook string, env rules.Env) rules.Packet {
	p := rules.Packet{
		Src: addressOf(key.SourceHigh, key.SourceLow), Dst: addressOf(key.TargetHigh, key.TargetLow), Proto: key.Protocol,
		TCPFlags: v.TcpFlags, ICMPType: v.IcmpType, ICMPCode: v.IcmpCode,
	}
	if key.Protocol != rules.ICMP && key.Protocol != rules.ICMPv6 {
		p.SrcPort, p.DstPort = v.SourcePort, key.TargetPort
	}
	p.Conn = connOf(v, hook)
	in, out := deviceAt(env, v.Ifindex), deviceAt(env, v.Out)
	switch hook {
	case "prerouting", "input":
		p.In = in
		// conntrack has translated it, maybe; rules before that saw it as it came
		if p.Conn.OrigDst.IsValid() && !p.Conn.Reply && p.Conn.Status&rules.StatusDNAT != 0 && hook == "prerouting" {
			p.Conn.NewDst = netip.AddrPortFrom(p.Dst, p.DstPort)
			p.Dst, p.DstPort = p.Conn.OrigDst.Addr(), p.Conn.OrigDst.Port()
		}
	case "forward":
		p.In, p.Out = in, out
		if v.Role == uint8(bpf.KernelVtRoleVT_ROLE_PORT) { // a bridge's port: it forwards by itself
			p.In, p.PhysOut, p.Bridged = out, in, true
			if from := deviceAt(env, key.Drop.Ifindex); from != in {
				p.PhysIn = from
			}
		}
	case "output", "postrouting":
		p.Out = out
	}
	return p
}

func connOf(v *bpf.KernelVtDropped, hook string) rules.Conn {
	if v.Tracked == 0 {
		switch {
		case v.Ctinfo == ctUntracked:
			return rules.Conn{State: rules.Untracked}
		case hook == "prerouting" || hook == "output": // connection tracking has not seen it yet
			return rules.Conn{State: rules.New}
		}
		return rules.Conn{State: rules.Invalid}
	}
	c := rules.Conn{
		Status:  v.Status,
		OrigSrc: netip.AddrPortFrom(addressOf(v.OpenedSourceHigh, v.OpenedSourceLow), bits.ReverseBytes16(v.OpenedSourcePort)),
		OrigDst: netip.AddrPortFrom(addressOf(v.OpenedTargetHigh, v.OpenedTargetLow), bits.ReverseBytes16(v.OpenedTargetPort)),
	}
	switch v.Ctinfo {
	case ctEstablished, ctEstablishedReply:
		c.State = rules.Established
	case ctRelated, ctRelatedReply:
		c.State = rules.Related
	case ctNew:
		c.State = rules.New
	}
	c.Reply = v.Ctinfo == ctEstablishedReply || v.Ctinfo == ctRelatedReply
	return c
}

// addressOf is an address as the kernel side keeps it: see addressKey.
func addressOf(high, low uint64) netip.Addr {
	if high == 0 && low>>32 == 0xffff {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(low))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], high)
	binary.NativeEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

func deviceAt(env rules.Env, index uint32) string {
	for name, d := range env.Devices {
		if d.Index == int(index) {
			return name
		}
	}
	return ""
}

func packetText(key *bpf.KernelVtDroppedKey, v *bpf.KernelVtDropped) string {
	src, dst := addressOf(key.SourceHigh, key.SourceLow), addressOf(key.TargetHigh, key.TargetLow)
	if key.TargetPort == 0 || key.Protocol == rules.ICMP || key.Protocol == rules.ICMPv6 {
		return fmt.Sprintf("%s -> %s %s", src, dst, protocolName(key.Protocol))
	}
	return fmt.Sprintf("%s -> %s %s", netip.AddrPortFrom(src, v.SourcePort), netip.AddrPortFrom(dst, key.TargetPort), protocolName(key.Protocol))
}

// ruleNamed names the rule, or the chain's policy, that decided.
func ruleNamed(s *rules.Step) *NetfilterRule {
	r := &NetfilterRule{
		Backend: string(s.Chain.Backend), Family: s.Chain.Family, Table: s.Chain.Table, Chain: s.Chain.Name, Text: s.Text,
	}
	if s.Rule != nil {
		r.Handle, r.Number, r.Text = s.Rule.Handle, max(1, s.Rule.Number), s.Rule.Text
	}
	return r
}

// movedOf is by how much a rule's counter, or a policy's, grew; false for one
// without. One that is new has counted from 0.
func movedOf(before, now *rules.Set, r NetfilterRule) (uint64, bool) {
	last, ok := counterOf(now, r)
	if !ok {
		return 0, false
	}
	first, _ := counterOf(before, r)
	return grown(last, first), true
}

func counterOf(set *rules.Set, r NetfilterRule) (uint64, bool) {
	c := set.Chain(rules.Backend(r.Backend), r.Family, r.Table, r.Chain)
	switch {
	case c == nil:
		return 0, false
	case r.Number == 0:
		if c.Base == nil || c.Base.Counter == nil {
			return 0, false
		}
		return c.Base.Counter.Packets, true
	}
	// of nf_tables by handle; of legacy by text, the first as far as place goes
	i := slices.IndexFunc(c.Rules, func(x *rules.Rule) bool {
		return x.Handle == r.Handle && x.Text == r.Text && (r.Handle != 0 || x.Number == r.Number)
	})
	if i < 0 && r.Handle == 0 {
		i = slices.IndexFunc(c.Rules, func(x *rules.Rule) bool { return x.Text == r.Text })
	}
	if i < 0 || c.Rules[i].Counter == nil {
		return 0, false
	}
	return c.Rules[i].Counter.Packets, true
}

// addRule counts packets with those of the same rule; the packet that is shown
// is that of the most.
func addRule(list []DropRule, r DropRule) []DropRule {
	for i := range list {
		if list[i].same(r) {
			if r.Packet < list[i].Packet { // whichever order they come in
				list[i].Packet = r.Packet
			}
			list[i].Count += r.Count
			return list
		}
	}
	return append(list, r)
}

func (r DropRule) same(other DropRule) bool {
	if r.Rule == nil || other.Rule == nil {
		return r.Rule == other.Rule && r.Why == other.Why
	}
	return *r.Rule == *other.Rule
}

// finishRules orders them, and counts what is of none of them.
func finishRules(d *Drop) {
	if d.Reason != reasonByRule || d.Hop == "transport" {
		d.Rules = nil
		return
	}
	var sum uint64
	for i := range d.Rules {
		r := &d.Rules[i]
		r.Count = min(r.Count, d.Count-sum) // drops that came while they were read
		sum += r.Count
	}
	d.Rules = slices.DeleteFunc(d.Rules, func(r DropRule) bool { return r.Count == 0 })
	if sum < d.Count {
		d.Rules = append(d.Rules, DropRule{Count: d.Count - sum, Why: "their addresses were not kept"})
	}
	slices.SortStableFunc(d.Rules, func(a, b DropRule) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Packet, b.Packet))
	})
}
