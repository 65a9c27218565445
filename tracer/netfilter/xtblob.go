// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// blob is a structure of xtables as the kernel gives it, the same from nf_tables
// (nft_compat) and from iptables-legacy. What lies behind its end reads as zero;
// readers check the length that they need first.
type blob []byte

func (b blob) u8(at int) uint8 {
	if at >= len(b) {
		return 0
	}
	return b[at]
}

func (b blob) cut(at, n int) []byte {
	if at+n > len(b) {
		return make([]byte, n)
	}
	return b[at : at+n]
}

func (b blob) u16(at int) uint16  { return binary.NativeEndian.Uint16(b.cut(at, 2)) }
func (b blob) u32(at int) uint32  { return binary.NativeEndian.Uint32(b.cut(at, 4)) }
func (b blob) be16(at int) uint16 { return binary.BigEndian.Uint16(b.cut(at, 2)) }

func (b blob) text(at, n int) string {
	s, _, _ := bytes.Cut(b.cut(at, n), []byte{0})
	return string(s)
}

// addr reads a union nf_inet_addr.
func (b blob) addr(at int, v6 bool) netip.Addr {
	n := 4
	if v6 {
		n = 16
	}
	a, _ := netip.AddrFromSlice(b.cut(at, n))
	return a
}

// prefix reads an address and, behind it, its mask.
func (b blob) prefix(at int, v6 bool) netip.Prefix {
	a := b.addr(at, v6)
	bits := 0
	mask := b.addr(at+16, v6).AsSlice()
	for _, m := range mask {
		for ; m&0x80 != 0; m <<= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(a, bits)
}

func (b blob) ports(at int) rules.PortRange {
	return rules.PortRange{First: b.u16(at), Last: b.u16(at + 2)}
}

// xtKind names a match or target of xtables and the layout of its data.
type xtKind struct {
	name string
	rev  uint32
}

// xt is what decoding needs to know beside the data.
type xt struct {
	family string // ip or ip6; inet, where the rule does not say, is ip
	kind   xtKind
	info   blob
	*decoders
}

func (x *xt) v6() bool { return x.family == rules6 }

const rules6 = FamilyIP6

// opaque is what stands for a match or target without a decoder.
func (x *xt) opaque(letter string) string {
	return fmt.Sprintf("-%s %s [revision %d]", letter, x.kind.name, x.kind.rev)
}

// xtDecoder reads the data of one match; need is how long it has to be.
type xtDecoder struct {
	need int
	read func(*xt) rules.Match
}

// match decodes a match.
func (x *xt) match() rules.Match {
	d, ok := x.matches[x.kind]
	if !ok || len(x.info) < d.need {
		return rules.XTOpaque{Text: x.opaque("m")}
	}
	if m := d.read(x); m != nil {
		return m
	}
	return rules.XTOpaque{Text: x.opaque("m")}
}
