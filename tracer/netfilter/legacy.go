// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// errLegacy says that a table of iptables-legacy is not laid out as the kernel
// lays it out.
var errLegacy = errors.New("malformed table of iptables-legacy")

// layout is where the fields of an entry of a table are (struct ipt_entry,
// ip6t_entry).
type layout struct {
	family                  string
	addrLen                 int
	names, proto            int
	flags, inv, gotoBit     int
	offsets, counters, body int
}

func layout4() layout { return layout{FamilyIP, 4, 16, 80, 82, 83, 2, 88, 96, 112} }
func layout6() layout { return layout{FamilyIP6, 16, 64, 128, 131, 132, 4, 140, 152, 168} }

// Bits of an entry's inversions (IPT_INV_*).
const (
	invIn    = 1
	invOut   = 2
	invSrc   = 8
	invDst   = 16
	invFrag  = 32
	invProto = 64
)

// hookNone is where a table has no chain for a hook.
const hookNone = ^uint32(0)

// legacyTable is a table as the kernel gives it.
type legacyBlob struct {
	layout
	table      string
	entries    blob
	hooks      [5]uint32 // where the built-in chains begin
	underflows [5]uint32 // their policies
	decoders   *decoders
}

// entry is one entry: a rule, a policy, or the head of a chain.
type entry struct {
	at, target, next int
	head             string // of a user's chain; "ERROR" for the end of the table
}

// decode reads a table into chains.
func (t *legacyBlob) decode(valid uint32) ([]*rules.Chain, error) {
	list, err := t.list()
	if err != nil {
		return nil, err
	}
	heads := map[int]string{} // where chains begin
	for i, e := range list {
		if e.head != "" && i+1 < len(list) {
			heads[e.next] = e.head
		}
	}
	builtin, policies := t.builtin(valid)
	var chains []*rules.Chain
	var c *rules.Chain
	begin := func(name string, base *rules.Base) {
		c = &rules.Chain{Backend: rules.Legacy, Family: t.family, Table: t.table, Name: name, Base: base}
		chains = append(chains, c)
	}
	for i, e := range list {
		last := i+1 == len(list)
		if name, ok := builtin[e.at]; ok {
			begin(name, rules.Builtin(t.table, name))
		}
		switch {
		case e.head != "":
			if !last {
				begin(e.head, nil)
			}
		case c == nil:
			return nil, fmt.Errorf("%w: a rule outside of chains", errLegacy)
		case c.Base != nil && policies[e.at] == c.Name:
			t.policy(c, e)
		case c.Base == nil && (last || list[i+1].head != ""):
			// the return at the end of a user's chain
		default:
			c.Rules = append(c.Rules, t.rule(e, heads, len(c.Rules)+1))
		}
	}
	return chains, nil
}

// builtin names the built-in chains by where they begin and by where their
// policies are; valid has a bit for each hook.
func (t *legacyBlob) builtin(valid uint32) (begins, policies map[int]string) {
	begins, policies = map[int]string{}, map[int]string{}
	for h, name := range [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
		if valid&(1<<h) != 0 && t.hooks[h] != hookNone {
			begins[int(t.hooks[h])], policies[int(t.underflows[h])] = name, name
		}
	}
	return begins, policies
}

// list cuts the table into entries.
func (t *legacyBlob) list() ([]entry, error) {
	var list []entry
	for at := 0; at < len(t.entries); {
		if at+t.body > len(t.entries) {
			return nil, fmt.Errorf("%w: an entry of %d bytes", errLegacy, len(t.entries)-at)
		}
		e := entry{at: at, target: at + int(t.entries.u16(at+t.offsets)), next: at + int(t.entries.u16(at+t.offsets+2))}
		if e.next <= at || e.next > len(t.entries) || e.target < at+t.body || e.target+xtHeader > e.next {
			return nil, fmt.Errorf("%w: an entry that ends at %d", errLegacy, e.next)
		}
		if t.entries.text(e.target+2, xtNameLen) == "ERROR" {
			e.head = t.entries[:e.next].text(e.target+xtHeader, e.next-e.target-xtHeader)
			if e.head == "" {
				e.head = "ERROR"
			}
		}
		list = append(list, e)
		at = e.next
	}
	return list, nil
}

// Sizes of struct xt_entry_match and xt_entry_target: size, name, revision.
const (
	xtHeader  = 32
	xtNameLen = 29
)

func (t *legacyBlob) counter(e entry) *rules.Counter {
	b := t.entries.cut(e.at+t.counters, 16)
	return &rules.Counter{Packets: binary.NativeEndian.Uint64(b), Bytes: binary.NativeEndian.Uint64(b[8:])}
}

func (t *legacyBlob) policy(c *rules.Chain, e entry) {
	c.Base.Policy = rules.Accept
	if t.verdict(e) == -1 {
		c.Base.Policy = rules.Drop
	}
	c.Base.Counter = t.counter(e)
}

func (t *legacyBlob) verdict(e entry) int32 {
	return int32(t.entries.u32(e.target + xtHeader)) //nolint:gosec // a signed number
}

// rule decodes one entry.
func (t *legacyBlob) rule(e entry, heads map[int]string, number int) *rules.Rule {
	r := &rules.Rule{Number: number, Counter: t.counter(e)}
	r.Stmts = t.header(e)
	for at := e.at + t.body; at < e.target; {
		size := int(t.entries.u16(at))
		if size < xtHeader || at+size > e.target {
			r.Stmts = append(r.Stmts, rules.Opaque{Text: "[malformed match]", Target: true})
			break
		}
		x := t.xt(at, size)
		r.Stmts = append(r.Stmts, rules.Test{Match: x.match()})
		at += size
	}
	return t.action(e, heads, r)
}

func (t *legacyBlob) xt(at, size int) *xt {
	return &xt{
		family: t.family, kind: xtKind{t.entries.text(at+2, xtNameLen), uint32(t.entries.u8(at + 31))},
		info: t.entries[at+xtHeader : at+size], decoders: t.decoders,
	}
}

// action adds what the rule does.
func (t *legacyBlob) action(e entry, heads map[int]string, r *rules.Rule) *rules.Rule {
	x := t.xt(e.target, e.next-e.target)
	if x.kind.name != "" {
		r.Stmts = append(r.Stmts, x.target())
		return r
	}
	v := t.verdict(e)
	g := rules.Go{}
	switch {
	case v == -1:
		g.Kind = rules.GoDrop
	case v == -2:
		g.Kind = rules.GoAccept
	case v == -4:
		g.Kind = rules.GoQueue
	case v == -5:
		g.Kind = rules.GoReturn
	case int(v) == e.next:
		return r // a rule without a target
	default:
		name, ok := heads[int(v)]
		if !ok {
			r.Stmts = append(r.Stmts, rules.Opaque{Text: fmt.Sprintf("[jump to %d]", v), Target: true})
			return r
		}
		g = rules.Go{Kind: rules.GoJump, Chain: name}
		if int(t.entries.u8(e.at+t.flags))&t.gotoBit != 0 {
			g.Kind = rules.GoGoto
		}
	}
	r.Stmts = append(r.Stmts, g)
	return r
}

// header decodes the addresses, devices and protocol.
func (t *legacyBlob) header(e entry) []rules.Stmt {
	b, inv := t.entries, int(t.entries.u8(e.at+t.inv))
	var out []rules.Stmt
	addr := func(src bool, at, bit int) {
		a, mask := b.cut(e.at+at, t.addrLen), b.cut(e.at+at+2*t.addrLen, t.addrLen)
		if string(mask) != string(make([]byte, t.addrLen)) || inv&bit != 0 {
			out = append(out, rules.CompareAddr(src, inv&bit != 0, a, mask))
		}
	}
	addr(true, 0, invSrc)
	addr(false, t.addrLen, invDst)
	dev := func(key string, at, bit int) {
		i := b.iface(e.at+at, e.at+at+32, inv&bit != 0)
		if i.Name == "" && !i.Not {
			return
		}
		name := i.Name
		if i.Prefix {
			name += "+"
		}
		out = append(out, rules.CompareDevice(key, i.Not, name))
	}
	dev("iifname", t.names, invIn)
	dev("oifname", t.names+16, invOut)
	if p := b.u16(e.at + t.proto); p != 0 {
		op := rules.EQ
		if inv&invProto != 0 {
			op = rules.NE
		}
		out = append(out, rules.Compare{Left: rules.Meta{Key: "l4proto"}, Op: op, Right: []byte{byte(p)}})
	}
	if t.family == FamilyIP && b.u8(e.at+t.flags)&1 != 0 {
		out = append(out, rules.CompareFragment(inv&invFrag != 0))
	}
	return out
}
