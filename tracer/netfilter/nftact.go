// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// reg returns what a register that a translation names holds; nil for none.
func (r *reader) reg(n uint32, size int) rules.Value {
	if n == 0 {
		return nil
	}
	return r.regs.load(n, size)
}

func (r *reader) nat(e *expr.NAT) error {
	size := 4
	if e.Family == unix.NFPROTO_IPV6 {
		size = 16
	}
	kind := rules.SNAT
	if e.Type == expr.NATTypeDestNAT {
		kind = rules.DNAT
	}
	r.add(rules.NAT{
		Kind: kind, AddrMin: r.reg(e.RegAddrMin, size), AddrMax: r.reg(e.RegAddrMax, size),
		PortMin: r.reg(e.RegProtoMin, 2), PortMax: r.reg(e.RegProtoMax, 2),
		Netmap: e.Prefix, Random: e.Random || e.FullyRandom, Fully: e.FullyRandom, Persistent: e.Persistent,
	})
	return nil
}

func (r *reader) masq(e *expr.Masq) error {
	s := rules.NAT{Kind: rules.Masquerade, Random: e.Random || e.FullyRandom, Fully: e.FullyRandom, Persistent: e.Persistent}
	if e.ToPorts {
		s.PortMin, s.PortMax = r.reg(e.RegProtoMin, 2), r.reg(e.RegProtoMax, 2)
	}
	r.add(s)
	return nil
}

func (r *reader) redir(e *expr.Redir) error {
	r.add(rules.NAT{
		Kind: rules.Redirect, PortMin: r.reg(e.RegisterProtoMin, 2), PortMax: r.reg(e.RegisterProtoMax, 2),
		Random: e.Flags&(natRandom|natFully) != 0, Fully: e.Flags&natFully != 0,
	})
	return nil
}

// rejectCode is nft's name of what reject answers.
func rejectCode(kind string, code uint8) string {
	var names map[uint8]string
	switch kind {
	case "icmp":
		names = map[uint8]string{
			0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable",
			9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited",
		}
	case "icmpv6":
		names = map[uint8]string{
			0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route",
		}
	default:
		names = map[uint8]string{0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
	}
	return kind + " " + names[code]
}

func (r *reader) reject(e *expr.Reject) error {
	with := "tcp reset"
	switch e.Type {
	case unix.NFT_REJECT_ICMP_UNREACH:
		with = rejectCode("icmp", e.Code)
		if r.family == FamilyIP6 {
			with = rejectCode("icmpv6", e.Code)
		}
	case unix.NFT_REJECT_ICMPX_UNREACH:
		with = rejectCode("icmpx", e.Code)
	}
	if r.iptables {
		with = strings.NewReplacer("icmpv6 ", "icmp6-", "icmp ", "icmp-", "tcp reset", "tcp-reset", "prot-", "proto-").Replace(with)
		with = strings.Replace(with, "icmp6-admin-", "icmp6-adm-", 1)
	}
	r.add(rules.RejectWith{With: with})
	return nil
}

// defaultBurst is what both nft and iptables leave out when they write a rate.
const defaultBurst = 5

func (r *reader) limit(e *expr.Limit) error {
	unit := map[expr.LimitTime]string{
		expr.LimitTimeSecond: "second", expr.LimitTimeMinute: "minute", expr.LimitTimeHour: "hour", expr.LimitTimeDay: "day", expr.LimitTimeWeek: "week",
	}[e.Unit]
	s := rules.Rate{Over: e.Over}
	switch {
	case r.iptables:
		short := strings.NewReplacer("second", "sec", "minute", "min").Replace(unit)
		s.Text = fmt.Sprintf("limit --limit %d/%s", e.Rate, short)
		if e.Burst != 0 && e.Burst != defaultBurst {
			s.Text += fmt.Sprintf(" --limit-burst %d", e.Burst)
		}
	default:
		over := map[bool]string{true: "over "}[e.Over]
		what := map[bool]string{true: "bytes"}[e.Type == expr.LimitTypePktBytes]
		s.Text = strings.TrimSpace(fmt.Sprintf("limit rate %s%d%s/%s", over, e.Rate, map[bool]string{true: " bytes"}[what != ""], unit))
		if e.Burst != 0 && e.Burst != defaultBurst {
			s.Text += fmt.Sprintf(" burst %d packets", e.Burst)
		}
	}
	r.add(s)
	return nil
}

// has tells whether an attribute of log was there.
func has(e *expr.Log, attr uint32) bool { return e.Key&(1<<attr) != 0 }

func (r *reader) log(e *expr.Log) error {
	prefix := strings.TrimRight(string(e.Data), "\x00")
	if r.iptables {
		s := rules.Note{Target: "LOG"}
		level := uint8(4)
		if has(e, unix.NFTA_LOG_LEVEL) {
			level = uint8(e.Level) //nolint:gosec // levels are below 8
		}
		s.Text = logWords(prefix, level, uint32(e.Flags))
		if has(e, unix.NFTA_LOG_GROUP) {
			s = rules.Note{Target: "NFLOG"}
			if prefix != "" {
				s.Text = "--nflog-prefix " + quoted(prefix)
			}
			if e.Group != 0 {
				s.Text = strings.TrimSpace(s.Text + fmt.Sprintf(" --nflog-group %d", e.Group))
			}
		}
		r.add(s)
		return nil
	}
	text := "log"
	if prefix != "" {
		text += fmt.Sprintf(" prefix %q", prefix)
	}
	if has(e, unix.NFTA_LOG_GROUP) {
		text += fmt.Sprintf(" group %d", e.Group)
	}
	r.add(rules.Note{Text: text})
	return nil
}

func (r *reader) count(e *expr.Counter) error {
	r.counter = &rules.Counter{Packets: e.Packets, Bytes: e.Bytes}
	return nil
}

// dynset: what rules add to sets while packets pass.
func (r *reader) dynset(e *expr.Dynset) error {
	op := map[uint32]string{0: "add", 1: "update", 2: "delete"}[e.Operation]
	set := r.sets[rules.SetKey{Family: r.family, Table: r.table, Name: e.SetName}]
	n := 0
	if set != nil {
		n = set.KeyLen
	}
	_ = r.regs.load(e.SrcRegKey, n)
	if len(e.Exprs) > 0 {
		r.add(rules.Rate{Text: fmt.Sprintf("%s @%s (a rate for each)", op, e.SetName)})
	}
	r.add(rules.Touch{Set: e.SetName, Text: op + " @" + e.SetName})
	return nil
}

// Kinds of objects (NFT_OBJECT_*).
const (
	objCounter   = 1
	objQuota     = 2
	objHelper    = 3
	objLimit     = 4
	objConnlimit = 5
	objTimeout   = 7
	objSecmark   = 8
	objExpect    = 9
)

func (r *reader) objref(e expression) error {
	a, err := attributes(e.data)
	if err != nil {
		return err
	}
	name := a.text(unix.NFTA_OBJREF_IMM_NAME)
	switch a.u32(unix.NFTA_OBJREF_IMM_TYPE) {
	case objCounter:
		r.add(rules.Note{Text: fmt.Sprintf("counter name %q", name)})
	case objHelper:
		r.add(rules.Track{Text: fmt.Sprintf("ct helper set %q", name)})
	case objTimeout, objSecmark, objExpect:
		r.add(rules.Note{Text: fmt.Sprintf("object %q", name)})
	case objQuota, objLimit, objConnlimit:
		r.add(rules.Rate{Text: fmt.Sprintf("limit name %q", name)})
	default:
		return fmt.Errorf("object %q", name)
	}
	return nil
}

// Attributes of match and target (NFTA_MATCH_*, NFTA_TARGET_*).
const (
	attrXTRev  = 2
	attrXTInfo = 3
)

func (r *reader) xt(e expression) (*xt, error) {
	a, err := attributes(e.data)
	if err != nil {
		return nil, err
	}
	return &xt{
		family: r.family, kind: xtKind{a.text(attrXTName), a.u32(attrXTRev)}, info: bytes.Clone(a[attrXTInfo]), decoders: r.decoders,
	}, nil
}

func (r *reader) match(e expression) error {
	x, err := r.xt(e)
	if err != nil {
		return err
	}
	r.add(rules.Test{Match: x.match()})
	return nil
}

func (r *reader) target(e expression) error {
	x, err := r.xt(e)
	if err != nil {
		return err
	}
	r.add(x.target())
	return nil
}
