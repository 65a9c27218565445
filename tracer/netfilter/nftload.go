// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

func (r *reader) payload(e *expr.Payload) error {
	v := rules.Payload{Base: rules.PayloadBase(e.Base), Offset: int(e.Offset), Len: int(e.Len)} //nolint:gosec // bases are 0 to 3
	if e.OperationType == expr.PayloadWrite {
		r.add(rules.Assign{To: v, From: r.regs.load(e.SourceRegister, v.Len)})
		return nil
	}
	r.regs.store(e.DestRegister, v)
	return nil
}

// metaKey is nft's name of what meta loads (enum nft_meta_keys).
func metaKey(n uint32) string {
	names := [...]string{
		"length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype",
		"skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname",
		"pkttype", "cpu", "iifgroup", "oifgroup", "cgroup", "random", "ipsec", "iifkind", "oifkind",
	}
	return nameOr(names[:], n)
}

// nameOr is the name of a key; of one that has none here, its number.
func nameOr(names []string, n uint32) string {
	if uint64(n) < uint64(len(names)) {
		return names[n]
	}
	return fmt.Sprintf("key %d", n)
}

func (r *reader) meta(e *expr.Meta) error {
	v := rules.Meta{Key: metaKey(uint32(e.Key))}
	if e.SourceRegister {
		r.add(rules.Assign{To: v, From: r.regs.load(e.Register, rules.Size(v))})
		return nil
	}
	r.regs.store(e.Register, v)
	return nil
}

// ctKey is nft's name of what ct loads (enum nft_ct_keys).
func ctKey(n uint32) string {
	names := [...]string{
		"state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto", "saddr", "daddr",
		"protocol", "proto-src", "proto-dst", "label", "packets", "bytes", "avgpkt", "zone", "event",
		"saddr", "daddr", "saddr", "daddr", "id",
	}
	return nameOr(names[:], n)
}

func (r *reader) ct(e expression) error {
	a, err := attributes(e.data)
	if err != nil {
		return err
	}
	v := rules.CT{Key: ctKey(a.u32(unix.NFTA_CT_KEY))}
	if d := a[unix.NFTA_CT_DIRECTION]; len(d) == 1 {
		v.Dir = "original"
		if d[0] == 1 {
			v.Dir = "reply"
		}
	}
	switch key := a.u32(unix.NFTA_CT_KEY); {
	case key == 19 || key == 20, (key == 8 || key == 9) && r.family == FamilyIP:
		v.Len = 4
	case key >= 21 && key <= 22, key == 8, key == 9:
		v.Len = 16
	}
	if a.has(unix.NFTA_CT_SREG) {
		r.add(rules.Assign{To: v, From: r.regs.load(a.u32(unix.NFTA_CT_SREG), rules.Size(v))})
		return nil
	}
	r.regs.store(a.u32(unix.NFTA_CT_DREG), v)
	return nil
}

func (r *reader) fib(e *expr.Fib) error {
	v := rules.FIB{
		Saddr: e.FlagSADDR, Daddr: e.FlagDADDR, Mark: e.FlagMARK, IIF: e.FlagIIF, OIF: e.FlagOIF, Check: e.FlagPRESENT,
	}
	switch {
	case e.ResultADDRTYPE:
		v.Result = "type"
	case e.ResultOIFNAME:
		v.Result = "oifname"
	default:
		v.Result = "oif"
	}
	r.regs.store(e.Register, v)
	return nil
}

// exthdrPresent is NFT_EXTHDR_F_PRESENT.
const exthdrPresent = 1

func (r *reader) exthdr(e *expr.Exthdr) error {
	if e.SourceRegister != 0 {
		r.add(rules.Note{Text: "tcp option set"})
		return nil
	}
	r.regs.store(e.DestRegister, rules.Exthdr{
		Op: uint8(e.Op), Type: e.Type, Offset: int(e.Offset), Len: int(e.Len), Present: e.Flags&exthdrPresent != 0, //nolint:gosec // below 4
	})
	return nil
}

func cmpOp(op expr.CmpOp) (rules.Op, bool) {
	known, ok := map[expr.CmpOp]rules.Op{
		expr.CmpOpEq: rules.EQ, expr.CmpOpNeq: rules.NE, expr.CmpOpLt: rules.LT, expr.CmpOpLte: rules.LE, expr.CmpOpGt: rules.GT, expr.CmpOpGte: rules.GE,
	}[op]
	return known, ok
}

func (r *reader) cmp(e *expr.Cmp) error {
	op, ok := cmpOp(e.Op)
	if !ok || len(e.Data) == 0 {
		return fmt.Errorf("comparison %d", e.Op)
	}
	left := r.regs.load(e.Register, len(e.Data))
	// nft writes "a-b" as two comparisons.
	if n := len(r.stmts); n > 0 && op == rules.LE {
		if was, ok := r.stmts[n-1].(rules.Compare); ok && was.Op == rules.GE && fmt.Sprint(was.Left) == fmt.Sprint(left) {
			r.stmts[n-1] = rules.Between{Left: left, From: was.Right, To: e.Data}
			return nil
		}
	}
	r.add(rules.Compare{Left: left, Op: op, Right: e.Data})
	return nil
}

func (r *reader) between(e *expr.Range) error {
	if len(e.FromData) == 0 || len(e.FromData) != len(e.ToData) {
		return fmt.Errorf("range of %d to %d bytes", len(e.FromData), len(e.ToData))
	}
	r.add(rules.Between{
		Left: r.regs.load(e.Register, len(e.FromData)), Not: e.Op == expr.CmpOpNeq, From: e.FromData, To: e.ToData,
	})
	return nil
}

// Attributes that the library does not read.
const (
	bitwiseOp   = 6 // NFTA_BITWISE_OP
	bitwiseData = 7 // NFTA_BITWISE_DATA

	byteorderSreg = 1
	byteorderDreg = 2
	byteorderLen  = 4
	byteorderSize = 5
)

// bitwise reads the masks of all kernels, and the shifts since Linux 5.6.
func (r *reader) bitwise(e expression) error {
	a, err := attributes(e.data)
	if err != nil {
		return err
	}
	n := int(a.u32(unix.NFTA_BITWISE_LEN))
	of := r.regs.load(a.u32(unix.NFTA_BITWISE_SREG), n)
	dreg := a.u32(unix.NFTA_BITWISE_DREG)
	value := func(typ uint16) []byte { return bytes.Clone(a.nested(typ)[unix.NFTA_DATA_VALUE]) }
	switch a.u32(bitwiseOp) {
	case 0:
		mask, xor := value(unix.NFTA_BITWISE_MASK), value(unix.NFTA_BITWISE_XOR)
		if len(mask) == 0 || len(mask) != len(xor) {
			return fmt.Errorf("mask of %d bytes", len(mask))
		}
		r.regs.store(dreg, rules.Bitwise{Of: of, Mask: mask, Xor: xor})
	case 1, 2:
		data := attrs{0: value(bitwiseData)}
		r.regs.store(dreg, rules.Shift{Of: of, Left: a.u32(bitwiseOp) == 1, Bits: data.u32(0)})
	default:
		return fmt.Errorf("operation %d", a.u32(bitwiseOp))
	}
	return nil
}

func (r *reader) byteorder(e expression) error {
	a, err := attributes(e.data)
	if err != nil {
		return err
	}
	of := r.regs.load(a.u32(byteorderSreg), int(a.u32(byteorderLen)))
	r.regs.store(a.u32(byteorderDreg), rules.Swap{Of: of, Size: int(a.u32(byteorderSize))})
	return nil
}

func (r *reader) lookup(e *expr.Lookup) error {
	n := 0
	set := r.sets[rules.SetKey{Family: r.family, Table: r.table, Name: e.SetName}]
	if set != nil {
		n = set.KeyLen
	}
	left := r.regs.load(e.SourceRegister, n)
	switch {
	case !e.IsDestRegSet:
		r.add(rules.InSet{Left: left, Not: e.Invert, Set: e.SetName})
	case e.DestRegister == unix.NFT_REG_VERDICT:
		r.add(rules.GoMap{Left: left, Set: e.SetName})
	default:
		v := rules.Mapped{Of: left, Set: e.SetName}
		if set != nil {
			v.Len = set.DataLen
		}
		r.regs.store(e.DestRegister, v)
	}
	return nil
}

func (r *reader) immediate(e expression) error {
	a, err := attributes(e.data)
	if err != nil {
		return err
	}
	data := a.nested(unix.NFTA_IMMEDIATE_DATA)
	dreg := a.u32(unix.NFTA_IMMEDIATE_DREG)
	if dreg != unix.NFT_REG_VERDICT {
		r.regs.store(dreg, rules.Const(bytes.Clone(data[unix.NFTA_DATA_VALUE])))
		return nil
	}
	g, err := verdict(data)
	if err != nil {
		return err
	}
	r.add(g)
	return nil
}

// verdict reads a verdict, of an immediate or of a map's element.
func verdict(data attrs) (rules.Go, error) {
	v := data.nested(unix.NFTA_DATA_VERDICT)
	g := rules.Go{Chain: v.text(unix.NFTA_VERDICT_CHAIN)}
	if !v.has(unix.NFTA_VERDICT_CODE) {
		return g, fmt.Errorf("no verdict")
	}
	switch code := int32(v.u32(unix.NFTA_VERDICT_CODE)); code { //nolint:gosec // the kernel sends a signed number as an unsigned one
	case 0:
		g.Kind = rules.GoDrop
	case 1:
		g.Kind = rules.GoAccept
	case unix.NFT_CONTINUE:
		g.Kind = rules.GoContinue
	case unix.NFT_JUMP:
		g.Kind = rules.GoJump
	case unix.NFT_GOTO:
		g.Kind = rules.GoGoto
	case unix.NFT_RETURN:
		g.Kind = rules.GoReturn
	default:
		if code&0xff != 3 {
			return g, fmt.Errorf("verdict %d", code)
		}
		g.Kind = rules.GoQueue
	}
	return g, nil
}
