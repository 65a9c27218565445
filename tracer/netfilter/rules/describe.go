// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Describe writes a rule's Text and Comment from its statements.
func (s *Set) Describe(c *Chain, r *Rule) {
	if c.IPTables() {
		w := iptWriter{family: c.Family}
		r.Text = w.rule(r.Stmts)
		if r.Comment == "" {
			r.Comment = w.comment
		}
		return
	}
	w := nftWriter{set: s, chain: c}
	r.Text = w.rule(r.Stmts)
	if r.Comment != "" {
		r.Text = strings.TrimSpace(r.Text + fmt.Sprintf(" comment %q", r.Comment))
	}
}

// iptWriter writes a rule in the words of iptables-save.
type iptWriter struct {
	family  string
	comment string
	head    [6]string // -s -d -i -o -p -f, which come first
	body    []string
	proto   uint8
	ports   *Ports // of native comparisons that are being collected
}

func (w *iptWriter) add(words string) {
	w.flush()
	if words != "" {
		w.body = append(w.body, words)
	}
}

// flush writes the collected comparisons of ports.
func (w *iptWriter) flush() {
	if w.ports == nil {
		return
	}
	p := *w.ports
	w.ports = nil
	w.body = append(w.body, w.match(p))
}

func (w *iptWriter) rule(list []Stmt) string {
	for _, s := range list {
		w.stmt(s)
	}
	w.flush()
	var words []string
	for _, h := range w.head {
		if h != "" {
			words = append(words, h)
		}
	}
	return strings.Join(append(words, w.body...), " ")
}

func (w *iptWriter) stmt(s Stmt) {
	switch s := s.(type) {
	case Compare:
		w.compare(s)
	case Between:
		if p, ok := s.Left.(Payload); ok && w.isPort(p) && len(s.From) == 2 && len(s.To) == 2 {
			w.port(p, PortRange{binary.BigEndian.Uint16(s.From), binary.BigEndian.Uint16(s.To)}, s.Not)
			return
		}
		w.add(native(s))
	case Test:
		w.add(w.match(s.Match))
	case Rate:
		w.add("-m " + s.Text)
	case Note:
		w.note(s)
	default:
		w.add(w.action(s))
	}
}

func (w *iptWriter) note(s Note) {
	if s.Target != "" {
		w.add(strings.TrimSpace("-j " + s.Target + " " + s.Text))
	}
}

// action is a target.
func (w *iptWriter) action(s Stmt) string {
	switch s := s.(type) {
	case Go:
		return goWords(s)
	case NAT:
		return s.words()
	case RejectWith:
		return "-j REJECT --reject-with " + s.With
	case Assign:
		return s.words()
	case Save:
		return s.words()
	case Track:
		return "-j " + s.Text
	case ToProgram:
		return "-j " + s.Text
	case Touch:
		return "-j " + s.Text
	case Opaque:
		return s.Text
	}
	return native(s)
}

func goWords(g Go) string {
	switch g.Kind {
	case GoAccept:
		return "-j ACCEPT"
	case GoDrop:
		return "-j DROP"
	case GoReturn:
		return "-j RETURN"
	case GoJump:
		return "-j " + g.Chain
	case GoGoto:
		return "-g " + g.Chain
	case GoQueue:
		return "-j NFQUEUE"
	}
	return ""
}

// native is a statement that iptables has no words for.
func native(s Stmt) string {
	w := nftWriter{set: &Set{}, chain: &Chain{}}
	return "[nft " + w.rule([]Stmt{s}) + "]"
}

func bang(not bool, words string) string {
	if not {
		return "! " + words
	}
	return words
}

// compare writes a native comparison as the option that it comes from.
func (w *iptWriter) compare(s Compare) {
	if s.Op != EQ && s.Op != NE {
		w.add(native(s))
		return
	}
	left, mask := s.Left, []byte(nil)
	if b, ok := left.(Bitwise); ok {
		left, mask = b.Of, b.Mask
	}
	not := s.Op == NE
	switch v := left.(type) {
	case Payload:
		if w.header(v, mask, s.Right, not) {
			return
		}
	case Meta:
		if w.metaWord(v, mask, s.Right, not) {
			return
		}
	}
	w.add(native(s))
}

// header writes -s, -d, -p, -f and native ports.
func (w *iptWriter) header(v Payload, mask, right []byte, not bool) bool {
	if v.Base == TransportHeader {
		return w.transport(v, mask, right, not)
	}
	if v.Base != NetworkHeader {
		return false
	}
	size, src, dst := 4, 12, 16
	if w.family == "ip6" {
		size, src, dst = 16, 8, 24
	}
	switch {
	case v.Offset == 6 && v.Len == 2 && w.family == "ip":
		w.head[5] = bang(!not, "-f")
	case v.Offset == src && v.Len <= size:
		w.head[0] = bang(not, "-s "+addrWords(right, mask, size))
	case v.Offset == dst && v.Len <= size:
		w.head[1] = bang(not, "-d "+addrWords(right, mask, size))
	case len(right) == 1 && isProto(v, size == 16):
		w.setProto(right[0], not)
	default:
		return false
	}
	return true
}

// isProto tells that a value is the header's field of the protocol above.
func isProto(v Payload, v6 bool) bool {
	at := 9
	if v6 {
		at = 6
	}
	return v.Base == NetworkHeader && v.Offset == at && v.Len == 1
}

func (w *iptWriter) setProto(n uint8, not bool) {
	w.head[4] = bang(not, "-p "+protocolName(n))
	if !not {
		w.proto = n
	}
}

// addrWords writes an address and its prefix; b may be cut after the prefix.
func addrWords(b, mask []byte, size int) string {
	bits := len(b) * 8
	if mask != nil {
		bits = 0
		for _, m := range mask {
			for ; m&0x80 != 0; m <<= 1 {
				bits++
			}
		}
	}
	full := make([]byte, size)
	copy(full, b)
	addr, ok := netip.AddrFromSlice(full)
	if !ok {
		return fmt.Sprintf("%x", b)
	}
	if mask != nil && !prefixMask(mask, bits) {
		m, _ := netip.AddrFromSlice(mask)
		return addr.String() + "/" + m.String()
	}
	return fmt.Sprintf("%s/%d", addr, bits)
}

func prefixMask(mask []byte, bits int) bool {
	for i := range mask {
		for b := range 8 {
			if one := mask[i]&(0x80>>b) != 0; one != (i*8+b < bits) {
				return false
			}
		}
	}
	return true
}

func (w *iptWriter) isPort(v Payload) bool {
	return v.Base == TransportHeader && v.Len == 2 && (v.Offset == 0 || v.Offset == 2) && w.proto != 0
}

func (w *iptWriter) collect() *Ports {
	if w.ports == nil {
		w.ports = &Ports{Proto: w.proto, Src: AnyPort(), Dst: AnyPort()}
	}
	return w.ports
}

func (w *iptWriter) port(v Payload, r PortRange, not bool) {
	p := w.collect()
	if v.Offset == 0 {
		p.Src, p.NotSrc = r, not
		return
	}
	p.Dst, p.NotDst = r, not
}

func (w *iptWriter) transport(v Payload, mask, right []byte, not bool) bool {
	switch {
	case w.isPort(v) && mask == nil && len(right) == 2:
		n := binary.BigEndian.Uint16(right)
		w.port(v, PortRange{n, n}, not)
	case v.Offset == 0 && v.Len == 4 && mask == nil && len(right) == 4 && !not && w.proto != 0:
		src, dst := binary.BigEndian.Uint16(right), binary.BigEndian.Uint16(right[2:]) // both at once
		w.port(Payload{TransportHeader, 0, 2}, PortRange{src, src}, false)
		w.port(Payload{TransportHeader, 2, 2}, PortRange{dst, dst}, false)
	case v.Offset == 13 && v.Len == 1 && len(mask) == 1 && w.proto == TCP && len(right) == 1:
		p := w.collect()
		p.FlagMask, p.FlagComp, p.NotFlags = mask[0], right[0], not
	default:
		return false
	}
	return true
}

// metaWord writes -i, -o, -p and -m mark.
func (w *iptWriter) metaWord(v Meta, mask, right []byte, not bool) bool {
	switch v.Key {
	case "iifname":
		w.head[2] = bang(not, "-i "+nameWords(right))
	case "oifname":
		w.head[3] = bang(not, "-o "+nameWords(right))
	case "l4proto":
		if len(right) != 1 {
			return false
		}
		w.setProto(right[0], not)
	case "mark":
		if len(right) != 4 || mask != nil && len(mask) != 4 {
			return false
		}
		m := MarkMatch{Mark: binary.NativeEndian.Uint32(right), Mask: ^uint32(0), Not: not}
		if mask != nil {
			m.Mask = binary.NativeEndian.Uint32(mask)
		}
		w.add(w.match(m))
	default:
		return false
	}
	return true
}

// nameWords writes a device's name; one without a NUL is a prefix.
func nameWords(b []byte) string {
	name, _, whole := strings.Cut(string(b), "\x00")
	if !whole && len(b) < ifNameLen {
		return name + "+"
	}
	return name
}
