// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// nested bounds how deep a value may be built: the kernel has few registers, a
// made-up one could go on for ever.
const nested = 32

// value computes a value for the packet.
func (r *run) value(v Value, depth int) ([]byte, status) {
	if depth > nested {
		return nil, unknown
	}
	switch v := v.(type) {
	case Payload:
		return r.payload(v, nil)
	case Meta:
		return r.meta(v.Key)
	case CT:
		return r.ct(v)
	case FIB:
		return r.fib(v)
	case Exthdr:
		return r.exthdr(v)
	case Const:
		return v, known
	case Bitwise:
		return r.bitwise(v, depth)
	case Shift:
		return r.shift(v, depth)
	case Swap:
		return r.swap(v, depth)
	case Mapped:
		return r.mapped(v, depth)
	case Concat:
		return r.concat(v, depth)
	}
	return nil, unknown
}

func (r *run) bitwise(v Bitwise, depth int) ([]byte, status) {
	var b []byte
	var st status
	if p, ok := v.Of.(Payload); ok {
		b, st = r.payload(p, v.Mask)
	} else {
		b, st = r.value(v.Of, depth+1)
	}
	if st != known {
		return nil, st
	}
	if len(v.Mask) > len(b) || len(v.Xor) > len(v.Mask) {
		return nil, unknown
	}
	out := make([]byte, len(v.Mask))
	for i := range out {
		out[i] = b[i] & v.Mask[i]
		if i < len(v.Xor) {
			out[i] ^= v.Xor[i]
		}
	}
	return out, known
}

// shift works on 32 bit words in the host's order, as the kernel's registers do;
// only single words are shifted by what writes rules.
func (r *run) shift(v Shift, depth int) ([]byte, status) {
	b, st := r.value(v.Of, depth+1)
	switch {
	case st != known:
		return nil, st
	case len(b) != 4:
		return nil, unknown
	}
	n := binary.NativeEndian.Uint32(b)
	if v.Left {
		n <<= v.Bits
	} else {
		n >>= v.Bits
	}
	return binary.NativeEndian.AppendUint32(nil, n), known
}

func (r *run) swap(v Swap, depth int) ([]byte, status) {
	b, st := r.value(v.Of, depth+1)
	if st != known {
		return nil, st
	}
	if v.Size <= 0 || len(b)%v.Size != 0 {
		return nil, unknown
	}
	out := slices.Clone(b)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 { // a big-endian host's order is the network's
		for i := 0; i < len(out); i += v.Size {
			slices.Reverse(out[i : i+v.Size])
		}
	}
	return out, known
}

func (r *run) concat(v Concat, depth int) ([]byte, status) {
	var out []byte
	for _, part := range v {
		b, st := r.value(part, depth+1)
		if st != known {
			return nil, st
		}
		out = append(out, b...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out, known
}

func (r *run) mapped(v Mapped, depth int) ([]byte, status) {
	b, st := r.value(v.Of, depth+1)
	if st != known {
		return nil, st
	}
	e, in := r.lookup(v.Set, b)
	switch {
	case in == maybe, in == yes && e == nil:
		return nil, unknown
	case in == no:
		return nil, broken
	}
	return e.Data, known
}

// lookup finds a key in a set of nf_tables.
func (r *run) lookup(name string, key []byte) (*Element, tri) {
	set := r.ev.set.Sets[SetKey{r.chainNow.Family, r.chainNow.Table, name}]
	if set == nil {
		r.why("set %s was not read", name)
		return nil, maybe
	}
	if r.touched[name] {
		r.why("set %s changes as the packet passes", name)
		return nil, maybe
	}
	for i := range set.Elems {
		if set.covers(&set.Elems[i], key) {
			return &set.Elems[i], yes
		}
	}
	if set.CatchAll != nil {
		return set.CatchAll, yes
	}
	return nil, no
}

// covers tells whether an element holds a key: a concatenated one part by part.
func (s *NFSet) covers(e *Element, key []byte) bool {
	if len(s.Fields) == 0 {
		return within(e, key, 0, min(len(e.Key), s.KeyLen))
	}
	at := 0
	for _, n := range s.Fields {
		if !within(e, key, at, n) {
			return false
		}
		at += (n + 3) &^ 3
	}
	return true
}

func within(e *Element, key []byte, at, n int) bool {
	if n < 0 || at+n > len(key) || at+n > len(e.Key) || at+n > len(e.End) {
		return false
	}
	k := key[at : at+n]
	return bytes.Compare(e.Key[at:at+n], k) <= 0 && bytes.Compare(k, e.End[at:at+n]) <= 0
}

// exthdr: packets are taken to have neither extension headers nor other TCP
// options than those that nobody asks for; whether they have is not known.
func (r *run) exthdr(v Exthdr) ([]byte, status) {
	if v.Op == 0 { // extension headers: Packet has none
		if v.Present {
			return []byte{0}, known
		}
		return nil, broken
	}
	if r.p.Proto != TCP {
		return nil, broken
	}
	return nil, unknown
}

// why remembers the reason of something unknown.
func (r *run) why(format string, args ...any) {
	r.reason = fmt.Sprintf(format, args...)
}
