// SPDX-License-Identifier: Apache-2.0

package rules

import "encoding/binary"

// status says what came of asking for a value.
type status uint8

const (
	known   status = iota
	broken         // there is no such thing: a rule that asks for it does not match
	unknown        // there may be
)

// image is the start of a packet with what is known of it.
type image struct {
	bytes []byte
	sure  []byte // bits that are known
	open  bool   // more may follow
}

func (m *image) put(at int, b ...byte) {
	for i, v := range b {
		m.bytes[at+i], m.sure[at+i] = v, 0xff
	}
}

func newImage(n int) image { return image{bytes: make([]byte, n), sure: make([]byte, n)} }

// load returns n bytes from an offset, as far as a mask asks for them; without a
// mask, for all.
func (m *image) load(off, n int, mask []byte) ([]byte, status) {
	if off < 0 || n < 0 {
		return nil, unknown
	}
	if off+n > len(m.bytes) {
		if m.open {
			return nil, unknown
		}
		return nil, broken
	}
	for i, sure := range m.sure[off : off+n] {
		want := byte(0xff)
		if i < len(mask) {
			want = mask[i]
		}
		if want&^sure != 0 {
			return nil, unknown
		}
	}
	return m.bytes[off : off+n], known
}

// network is the IP header.
func (r *run) network() image {
	p := &r.p
	if p.V6() {
		m := newImage(40)
		if p.TOS.Known {
			m.put(0, 0x60|p.TOS.Value>>4, p.TOS.Value<<4)
			m.sure[1] = 0xf0 // behind it, the flow label begins
		}
		if p.Length.Known && p.Length.Value >= 40 {
			m.put(4, byte((p.Length.Value-40)>>8), byte(p.Length.Value-40))
		}
		m.put(6, p.Proto)
		if p.TTL.Known {
			m.put(7, p.TTL.Value)
		}
		r.putAddrs(&m, 8, 24)
		return m
	}
	m := newImage(20)
	m.put(0, 0x45)
	if p.TOS.Known {
		m.put(1, p.TOS.Value)
	}
	if p.Length.Known {
		m.put(2, byte(p.Length.Value>>8), byte(p.Length.Value))
	}
	if !p.Fragment {
		m.put(6, 0, 0)
		m.sure[6] = 0x1f // the flags are not known
	}
	if p.TTL.Known {
		m.put(8, p.TTL.Value)
	}
	m.put(9, p.Proto)
	r.putAddrs(&m, 12, 16)
	return m
}

func (r *run) putAddrs(m *image, src, dst int) {
	if !r.vague.src {
		m.put(src, r.p.Src.AsSlice()...)
	}
	if !r.vague.dst {
		m.put(dst, r.p.Dst.AsSlice()...)
	}
}

// transport is the header behind IP's.
func (r *run) transport() image {
	p := &r.p
	var m image
	switch p.Proto {
	case TCP:
		m = newImage(20)
		m.put(13, p.TCPFlags)
	case UDP, udplite:
		m = newImage(8)
	case SCTP:
		m = newImage(12)
	case dccp:
		m = newImage(12)
	case ICMP, ICMPv6:
		m = newImage(8)
		m.put(0, p.ICMPType, p.ICMPCode)
	}
	if p.hasPorts() {
		if !r.vague.sport {
			m.put(0, binary.BigEndian.AppendUint16(nil, p.SrcPort)...)
		}
		if !r.vague.dport {
			m.put(2, binary.BigEndian.AppendUint16(nil, p.DstPort)...)
		}
	}
	if p.Payload.Known && p.Proto != TCP { // a TCP header may have options
		m.bytes = append(m.bytes, p.Payload.Value...)
		for range p.Payload.Value {
			m.sure = append(m.sure, 0xff)
		}
		return m
	}
	m.open = true
	return m
}

// payload loads bytes of a header as nf_tables does; only what the mask asks for
// has to be known.
func (r *run) payload(v Payload, mask []byte) ([]byte, status) {
	var m image
	switch v.Base {
	case LinkHeader:
		m = newImage(14)
		if r.p.SrcMAC.Known {
			m.put(6, r.p.SrcMAC.Value[:]...)
		}
		if r.p.V6() {
			m.put(12, 0x86, 0xdd)
		} else {
			m.put(12, 0x08, 0x00)
		}
		m.open = true
	case NetworkHeader:
		m = r.network()
		m.open = true
	case TransportHeader:
		if r.p.Fragment {
			return nil, broken
		}
		m = r.transport()
	default:
		return nil, unknown
	}
	return m.load(v.Offset, v.Len, mask)
}

// whole is the packet from its IP header on.
func (r *run) whole() image {
	m := r.network()
	if r.p.Fragment {
		m.open = true
		return m
	}
	t := r.transport()
	m.bytes = append(m.bytes, t.bytes...)
	m.sure = append(m.sure, t.sure...)
	m.open = t.open
	return m
}
