// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// expression is one of a rule of nf_tables, as the kernel lists it.
type expression struct {
	name string
	data []byte // NFTA_EXPR_DATA
}

// registers are what a rule has loaded so far: by slots of four bytes, a value at
// the first one that it fills.
type registers struct {
	slots map[uint32]rules.Value
	lost  bool // an expression without a model may have written anything
}

// slot is the index of a register: the kernel has two ways to number them.
func slot(reg uint32) uint32 {
	if reg >= unix.NFT_REG32_00 {
		return reg - unix.NFT_REG32_00 + 4
	}
	return reg * 4
}

func (r *registers) store(reg uint32, v rules.Value) {
	if r.slots == nil {
		r.slots = map[uint32]rules.Value{}
	}
	at := slot(reg)
	r.slots[at] = v
	for n := uint32(1); n < uint32(rules.Size(v)+3)/4; n++ { //nolint:gosec // sizes are small
		delete(r.slots, at+n)
	}
}

// load returns what n bytes from a register on hold; n of 0: the one value there.
func (r *registers) load(reg uint32, n int) rules.Value {
	at := slot(reg)
	first, ok := r.slots[at]
	if r.lost || !ok {
		return rules.OpaqueValue{Text: "an unknown value", Len: n}
	}
	if n <= (rules.Size(first)+3)&^3 {
		return first
	}
	var parts rules.Concat
	for have := 0; have < n; {
		v, ok := r.slots[at]
		size := (rules.Size(v) + 3) &^ 3
		if !ok || size == 0 {
			return rules.OpaqueValue{Text: "an unknown value", Len: n}
		}
		parts = append(parts, v)
		have += size
		at += uint32(size) / 4 //nolint:gosec // sizes are small
	}
	return parts
}

// reader turns the expressions of one rule into statements.
type reader struct {
	family   string
	iptables bool // the rule is of one of iptables' tables
	sets     map[rules.SetKey]*rules.NFSet
	table    string
	decoders *decoders
	regs     registers
	stmts    []rules.Stmt
	counter  *rules.Counter
}

func (r *reader) add(s rules.Stmt) { r.stmts = append(r.stmts, s) }

// opaque stands for an expression that has no model or could not be read.
func (r *reader) opaque(name string) {
	r.regs.lost = true
	r.add(rules.Opaque{Text: "[" + name + "]", Target: true})
}

// read takes one expression. The library indexes what it decodes without checking
// lengths; what makes it panic is no expression that anything could be said about.
func (r *reader) read(e expression) {
	defer func() {
		if recover() != nil {
			r.opaque(e.name)
		}
	}()
	read, ok := r.decoders.exprs[e.name]
	if !ok {
		r.opaque(e.name)
		return
	}
	if err := read(r, e); err != nil {
		r.opaque(e.name)
	}
}

// familyNumber is the number that the library decodes an expression under.
func (r *reader) familyNumber() byte {
	if r.family == FamilyIP6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// lib makes a reader of an expression that the library decodes in full.
func lib[T any, P interface {
	*T
	expr.Any
}](fn func(*reader, P) error,
) func(*reader, expression) error {
	return func(r *reader, e expression) error {
		v := P(new(T))
		if err := expr.Unmarshal(r.familyNumber(), e.data, v); err != nil {
			return fmt.Errorf("decode %s: %w", e.name, err)
		}
		return fn(r, v)
	}
}

// exprReaders read expressions, by their names. The library's decoders of ct (no
// source register), bitwise (no operation), byteorder, verdicts and xtables' data
// leave out what is needed here: those are read from their attributes.
func exprReaders() map[string]func(*reader, expression) error {
	return map[string]func(*reader, expression) error{
		"payload":      lib((*reader).payload),
		"meta":         lib((*reader).meta),
		"cmp":          lib((*reader).cmp),
		"range":        lib((*reader).between),
		"lookup":       lib((*reader).lookup),
		"fib":          lib((*reader).fib),
		"exthdr":       lib((*reader).exthdr),
		"nat":          lib((*reader).nat),
		"masq":         lib((*reader).masq),
		"redir":        lib((*reader).redir),
		"reject":       lib((*reader).reject),
		"limit":        lib((*reader).limit),
		"log":          lib((*reader).log),
		"counter":      lib((*reader).count),
		"dynset":       lib((*reader).dynset),
		"ct":           (*reader).ct,
		"bitwise":      (*reader).bitwise,
		"byteorder":    (*reader).byteorder,
		"immediate":    (*reader).immediate,
		"objref":       (*reader).objref,
		"match":        (*reader).match,
		"target":       (*reader).target,
		"notrack":      constant(rules.Track{Off: true, Text: "notrack"}),
		"queue":        constant(rules.ToProgram{Text: "queue"}),
		"tproxy":       constant(rules.ToProgram{Text: "tproxy"}),
		"connlimit":    constant(rules.Rate{Text: "ct count"}),
		"quota":        constant(rules.Rate{Text: "quota"}),
		"last":         func(*reader, expression) error { return nil },
		"dup":          constant(rules.Note{Text: "dup"}),
		"flow_offload": constant(rules.Note{Text: "flow add"}),
		// Values without a model; the number is that of the attribute with the
		// register.
		"numgen": opaqueValue(1), "hash": opaqueValue(2), "rt": opaqueValue(1), "socket": opaqueValue(2),
		"osf": opaqueValue(1), "xfrm": opaqueValue(1), "tunnel": opaqueValue(2),
	}
}

// constant reads an expression that always means the same.
func constant(s rules.Stmt) func(*reader, expression) error {
	return func(r *reader, _ expression) error {
		r.add(s)
		return nil
	}
}

// opaqueValue reads an expression that only loads something.
func opaqueValue(dreg uint16) func(*reader, expression) error {
	return func(r *reader, e expression) error {
		a, err := attributes(e.data)
		if err != nil {
			return err
		}
		r.regs.store(a.u32(dreg), rules.OpaqueValue{Text: e.name, Len: 4})
		return nil
	}
}

// attrs are netlink attributes by type; of one that comes twice, the last.
type attrs map[uint16][]byte

func attributes(b []byte) (attrs, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, fmt.Errorf("decode attributes: %w", err)
	}
	a := attrs{}
	for ad.Next() {
		a[ad.Type()] = ad.Bytes()
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("decode attributes: %w", err)
	}
	return a, nil
}

// u32 is a number in network order; 0 without one.
func (a attrs) u32(typ uint16) uint32 {
	if len(a[typ]) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(a[typ])
}

func (a attrs) text(typ uint16) string {
	s, _, _ := strings.Cut(string(a[typ]), "\x00")
	return s
}

func (a attrs) has(typ uint16) bool {
	_, ok := a[typ]
	return ok
}

// nested are the attributes within one.
func (a attrs) nested(typ uint16) attrs {
	n, err := attributes(a[typ])
	if err != nil {
		return attrs{}
	}
	return n
}
