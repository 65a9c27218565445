// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"net/netip"
)

// ifNameLen is IFNAMSIZ.
const ifNameLen = 16

func num32(v uint32) ([]byte, status) { return binary.NativeEndian.AppendUint32(nil, v), known }
func num16(v uint16) ([]byte, status) { return binary.NativeEndian.AppendUint16(nil, v), known }

func name16(s string) ([]byte, status) {
	b := make([]byte, ifNameLen)
	copy(b[:ifNameLen-1], s)
	return b, known
}

// meta loads something about the packet that no header holds.
func (r *run) meta(key string) ([]byte, status) {
	p := &r.p
	switch key {
	case "mark":
		if r.vague.mark {
			return nil, unknown
		}
		return num32(p.Mark)
	case "l4proto":
		return []byte{p.Proto}, known
	case "nfproto":
		if p.V6() {
			return []byte{10}, known
		}
		return []byte{2}, known
	case "protocol":
		if p.V6() {
			return []byte{0x86, 0xdd}, known
		}
		return []byte{0x08, 0x00}, known
	case "pkttype":
		t, ok := r.pktType()
		if !ok {
			return nil, unknown
		}
		return []byte{t}, known
	case "length":
		if !p.Length.Known {
			return nil, unknown
		}
		return num32(uint32(p.Length.Value))
	case "ipsec":
		if p.IPsec {
			return []byte{1}, known
		}
		return []byte{0}, known
	case "skuid":
		return r.owner(p.UID)
	case "skgid":
		return r.owner(p.GID)
	}
	return r.metaDevice(key)
}

// metaDevice loads something about the devices that the packet comes and goes by.
func (r *run) metaDevice(key string) ([]byte, status) {
	p := &r.p
	switch key {
	case "iifname":
		return name16(p.In)
	case "oifname":
		return name16(p.Out)
	case "ibrname", "obrname": // only chains of the bridge family have them
		return nil, broken
	case "iif":
		return r.index(p.In)
	case "oif":
		return r.index(p.Out)
	case "iiftype":
		return r.linkType(p.In)
	case "oiftype":
		return r.linkType(p.Out)
	case "iifgroup":
		return r.group(p.In)
	case "oifgroup":
		return r.group(p.Out)
	}
	return nil, unknown
}

// owner: only packets that are made here have a socket.
func (r *run) owner(id Opt[uint32]) ([]byte, status) {
	if r.hook != hookOutput && r.hook != hookPostrouting || r.p.In != "" {
		if r.hook == hookInput || r.hook == hookPrerouting {
			return nil, unknown // early demux may have found one
		}
		return nil, broken
	}
	if !id.Known {
		return nil, unknown
	}
	return num32(id.Value)
}

func (r *run) index(dev string) ([]byte, status) {
	if dev == "" {
		return num32(0)
	}
	d, ok := r.ev.env.Devices[dev]
	if !ok {
		return nil, unknown
	}
	return num32(uint32(d.Index)) //nolint:gosec // indexes of devices are positive
}

// Types of devices (ARPHRD_*).
const (
	linkEther    = 1
	linkLoopback = 772
)

func (r *run) linkType(dev string) ([]byte, status) {
	if dev == "" {
		return nil, broken
	}
	d, ok := r.ev.env.Devices[dev]
	switch {
	case !ok:
		return nil, unknown
	case d.Loopback:
		return num16(linkLoopback)
	case d.Type != 0:
		return num16(d.Type)
	}
	return num16(linkEther)
}

func (r *run) group(dev string) ([]byte, status) {
	if dev == "" {
		return nil, broken
	}
	d, ok := r.ev.env.Devices[dev]
	if !ok {
		return nil, unknown
	}
	return num32(d.Group)
}

// Packet types (PACKET_*).
const (
	pktHost      = 0
	pktBroadcast = 1
	pktMulticast = 2
	pktLoopback  = 5
)

// pktType is how the link layer addressed the packet.
func (r *run) pktType() (uint8, bool) {
	p := &r.p
	if p.PktType.Known {
		return p.PktType.Value, true
	}
	loopback := p.In == "" || r.ev.env.Devices[p.In].Loopback
	if loopback {
		// Of a packet made here, nf_tables and xtables guess by the address.
		switch {
		case p.Dst.IsMulticast():
			return pktMulticast, r.ev.env.Devices[p.In].Loopback
		case p.In == "":
			return pktHost, false
		}
		return pktHost, true
	}
	switch {
	case p.Dst.IsMulticast():
		return pktMulticast, true
	case r.ev.env.Routes.typeOf(p.Dst, "") == RouteBroadcast:
		return pktBroadcast, true
	}
	return pktHost, true
}

// tracked tells whether the packet has a connection.
func (p *Packet) tracked() bool { return p.Conn.State != Invalid && p.Conn.State != Untracked }

// The kernel's bits of a state in nf_tables (NF_CT_STATE_*).
func (p *Packet) stateBit() uint32 {
	switch p.Conn.State {
	case Established:
		return 1 << 1
	case Related:
		return 1 << 2
	case New:
		return 1 << 3
	case Untracked:
		return 1 << 6
	}
	return 1 << 0
}

// ct loads something of the packet's connection.
func (r *run) ct(v CT) ([]byte, status) {
	p := &r.p
	if v.Key == "state" {
		return num32(p.stateBit())
	}
	if !p.tracked() {
		return nil, broken
	}
	switch v.Key {
	case "direction":
		if p.Conn.Reply {
			return []byte{1}, known
		}
		return []byte{0}, known
	case "status":
		return num32(p.Conn.Status)
	case "mark":
		if r.vague.ctmark {
			return nil, unknown
		}
		return num32(p.Conn.Mark)
	case "zone":
		return num16(0)
	case "l3proto":
		if p.V6() {
			return []byte{10}, known
		}
		return []byte{2}, known
	case "protocol":
		return []byte{p.Proto}, known
	case "helper":
		if p.Conn.Helper.Known {
			return name16(p.Conn.Helper.Value)
		}
	case "saddr", "daddr", "proto-src", "proto-dst":
		return r.tuple(v)
	}
	return nil, unknown
}

// tuple loads an address or port of the connection.
func (r *run) tuple(v CT) ([]byte, status) {
	if v.Dir != "original" {
		return nil, unknown
	}
	src, dst := r.original()
	var ap netip.AddrPort
	switch v.Key {
	case "saddr", "proto-src":
		ap = src
	default:
		ap = dst
	}
	if !ap.IsValid() {
		return nil, unknown
	}
	if v.Key == "saddr" || v.Key == "daddr" {
		return ap.Addr().AsSlice(), known
	}
	return binary.BigEndian.AppendUint16(nil, ap.Port()), known
}

// original is the connection's first packet before translation.
func (r *run) original() (src, dst netip.AddrPort) {
	c := &r.p.Conn
	if c.OrigSrc.IsValid() && c.OrigDst.IsValid() {
		return c.OrigSrc, c.OrigDst
	}
	return netip.AddrPort{}, netip.AddrPort{}
}
