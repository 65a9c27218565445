// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// marker stands in front of a packet's number in its payload.
const marker = "vtrules:"

// probe is a packet: for the evaluator, and in bytes for the kernel.
type probe struct {
	rules.Packet
	id    uint32
	bytes []byte
	quote []byte // of an ICMP error
}

func (p probe) ports() bool {
	return p.Proto == rules.TCP || p.Proto == rules.UDP || p.Proto == rules.SCTP
}

// ports that packets go to and rules ask for.
var portPool = []uint16{80, 8080, 53, 22, 443, 5353, 67, 68, 8005, 9}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// Hosts of a device's network, by device; .1 is the router.
func hostOf(dev string, n int, v6 bool) netip.Addr {
	if v6 {
		net := map[string]int{"eth0": 1, "docker0": 2, "eth1": 3, "br0": 4}[dev]
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", net, n))
	}
	net := map[string]string{"eth0": "198.51.100.%d", "docker0": "172.17.0.%d", "eth1": "172.18.0.%d", "br0": "172.19.0.%d"}[dev]
	return netip.MustParseAddr(fmt.Sprintf(net, n))
}

var netDevs = []string{"eth0", "docker0", "eth1", "br0"}

// newProbe makes a random packet with a number of its own.
func newProbe(r *rand.Rand, id uint32, v6 bool) probe {
	p := probe{id: id}
	in := pick(r, "eth0", "eth0", "docker0", "eth1", "br0", "")
	p.In = in
	p.SrcMAC = rules.Some([6]byte{2, 0, 0, 0, 2, 2})
	to := pick(r, netDevs...)
	p.Src, p.Dst = hostOf(pick(r, netDevs...), 2, v6), hostOf(to, pick(r, 1, 2, 2, 3), v6)
	if in != "" && r.IntN(8) > 0 {
		p.Src = hostOf(in, 2+r.IntN(3), v6)
	}
	switch {
	case in == "":
		p.Src = hostOf(to, 1, v6)
		p.Mark = pick(r, uint32(0), 0, 1, 0x10)
		p.SrcMAC = rules.Opt[[6]byte]{}
	case r.IntN(10) == 0:
		p.Dst = pick(r, netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("10.9.9.9"))
		if v6 {
			p.Dst = netip.MustParseAddr("2001:db8:9::9")
		}
	}
	p.link(r, v6)
	p.transport(r, v6)
	p.TTL, p.TOS = rules.Some(pick(r, uint8(64), 64, 255, 2)), rules.Some(pick(r, uint8(0), 0, 0x10, 0xb8))
	p.build()
	return p
}

// link chooses how the frame is addressed.
func (p *probe) link(r *rand.Rand, v6 bool) {
	if p.In == "br0" {
		p.PhysIn = pick(r, "pa", "pb")
		p.SrcMAC.Value[4] = 5 // else the bridge learns it as a neighbour's
		if r.IntN(2) == 0 {   // to another host of the bridge
			p.PhysIn, p.PhysOut, p.Bridged, p.Dst = "pa", "pb", true, hostOf("br0", 3, v6)
			if p.Src == hostOf("br0", 3, v6) {
				p.Src = hostOf("br0", 2, v6)
			}
		}
		return
	}
	if p.In != "" && r.IntN(8) == 0 {
		switch {
		case v6:
			p.Dst, p.PktType = netip.MustParseAddr("ff02::1"), rules.Some(uint8(2))
		case r.IntN(2) == 0:
			p.Dst, p.PktType = netip.MustParseAddr("224.0.0.1"), rules.Some(uint8(2))
		default:
			p.Dst, p.PktType = netip.MustParseAddr(map[string]string{
				"eth0": "198.51.100.255", "docker0": "172.17.255.255", "eth1": "172.18.255.255",
			}[p.In]), rules.Some(uint8(1))
		}
	}
}

// transport chooses the protocol; the state follows from what connection tracking
// makes of a first packet like this.
func (p *probe) transport(r *rand.Rand, v6 bool) {
	p.Proto = pick(r, uint8(rules.TCP), rules.TCP, rules.TCP, rules.UDP, rules.UDP, rules.ICMP, rules.SCTP)
	if p.Proto == rules.ICMP && v6 {
		p.Proto = rules.ICMPv6
	}
	p.SrcPort, p.DstPort = uint16(20000+p.id%40000), pick(r, portPool...) //nolint:gosec // below 60000
	switch p.Proto {
	case rules.TCP:
		p.TCPFlags = pick(r, uint8(rules.SYN), rules.SYN, rules.SYN, rules.ACK, 0, rules.SYN|rules.FIN, rules.ACK|rules.PSH)
		if p.TCPFlags == 0 || p.TCPFlags == rules.SYN|rules.FIN {
			p.Conn.State = rules.Invalid
		}
	case rules.ICMP:
		p.ICMPType = pick(r, uint8(8), 8, 13, 0, 3)
		if p.ICMPType == 0 || p.ICMPType == 3 {
			p.Conn.State = rules.Invalid
		}
	case rules.ICMPv6:
		p.ICMPType = pick(r, uint8(128), 128, 129, 135, 134)
		switch p.ICMPType {
		case 129:
			p.Conn.State = rules.Invalid
		case 134, 135:
			p.Conn.State = rules.Untracked
		}
	}
	if !p.ports() {
		p.SrcPort, p.DstPort = 0, 0
	}
}

// build writes the packet. Checksums of TCP and the like are left out: nobody looks.
func (p *probe) build() {
	mark := binary.BigEndian.AppendUint32([]byte(marker), p.id)
	var l4 []byte
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.SrcPort), p.DstPort)
	switch p.Proto {
	case rules.TCP:
		l4 = append(append(ports, make([]byte, 8)...), 5<<4, p.TCPFlags, 0xff, 0xff, 0, 0, 0, 0)
	case rules.UDP:
		l4 = append(binary.BigEndian.AppendUint16(ports, uint16(8+len(mark))), 0, 0)
	case rules.SCTP: // an INIT chunk
		l4 = append(append(ports, make([]byte, 8)...), 1, 0, 0, byte(20+len(mark)), 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1)
	case rules.ICMP, rules.ICMPv6:
		l4 = []byte{p.ICMPType, p.ICMPCode, 0, 0, byte(p.id >> 8), byte(p.id), 0, 1}
		l4 = append(l4, p.quote...)
	default:
		l4 = make([]byte, 4)
	}
	l4 = append(l4, mark...)
	p.sum(l4)
	p.Payload = rules.Opt[[]byte]{}
	if p.V6() {
		p.bytes = append([]byte{0x60 | p.TOS.Value>>4, p.TOS.Value << 4, 0, 0}, byte(len(l4)>>8), byte(len(l4)), p.Proto, p.TTL.Value)
		p.bytes = append(append(p.bytes, p.Src.AsSlice()...), p.Dst.AsSlice()...)
	} else {
		n := 20 + len(l4)
		p.bytes = []byte{0x45, p.TOS.Value, byte(n >> 8), byte(n), byte(p.id >> 8), byte(p.id), 0, 0, p.TTL.Value, p.Proto, 0, 0}
		p.bytes = append(append(p.bytes, p.Src.AsSlice()...), p.Dst.AsSlice()...)
		binary.BigEndian.PutUint16(p.bytes[10:], checksum(p.bytes))
	}
	p.bytes = append(p.bytes, l4...)
	p.Length = rules.Some(uint16(len(p.bytes))) //nolint:gosec // short
}

// sum writes the checksum of ICMP, which translation of errors looks at.
func (p *probe) sum(l4 []byte) {
	switch p.Proto {
	case rules.ICMP:
		binary.BigEndian.PutUint16(l4[2:], checksum(l4))
	case rules.ICMPv6:
		pseudo := append(append(p.Src.AsSlice(), p.Dst.AsSlice()...), 0, 0, byte(len(l4)>>8), byte(len(l4)), 0, 0, 0, rules.ICMPv6)
		binary.BigEndian.PutUint16(l4[2:], checksum(append(pseudo, l4...)))
	}
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

func checksum(b []byte) uint16 {
	var sum uint32
	if len(b)%2 == 1 {
		b = append(b[:len(b):len(b)], 0)
	}
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // folded above
}

// known makes the packet one of a connection that connection tracking knows: a
// reply, or an error about it. It returns the connection's first packet.
func (p *probe) known() (src, dst netip.AddrPort, proto uint8, ok bool) {
	if p.PktType.Known || p.In == "" || p.Src == p.Dst {
		return src, dst, 0, false
	}
	switch p.Proto {
	case rules.TCP, rules.UDP:
		if p.Conn.State != rules.New {
			return src, dst, 0, false
		}
		src, dst = netip.AddrPortFrom(p.Dst, p.DstPort), netip.AddrPortFrom(p.Src, p.SrcPort)
		p.Conn = rules.Conn{State: rules.Established, Reply: true, Status: rules.StatusSeenReply | rules.StatusConfirmed, OrigSrc: src, OrigDst: dst}
		if p.Proto == rules.TCP {
			p.TCPFlags = rules.ACK
			p.Conn.Status |= rules.StatusAssured
		}
		p.build()
		return src, dst, p.Proto, true
	case rules.ICMP, rules.ICMPv6:
		src = netip.AddrPortFrom(p.Dst, uint16(20000+p.id%40000)) //nolint:gosec // below 60000
		dst = netip.AddrPortFrom(p.Src, 80)
		p.ICMPType, p.ICMPCode = 3, 3
		if p.V6() {
			p.ICMPType, p.ICMPCode = 1, 4
		}
		inner := probe{Packet: rules.Packet{Src: src.Addr(), Dst: dst.Addr(), SrcPort: src.Port(), DstPort: 80, Proto: rules.UDP}}
		inner.TTL, inner.TOS = rules.Some(uint8(60)), rules.Some(uint8(0))
		inner.build()
		p.Conn = rules.Conn{State: rules.Related, Reply: true, Status: rules.StatusConfirmed, OrigSrc: src, OrigDst: dst}
		p.quote = inner.bytes[:len(inner.bytes)-len(marker)-4]
		p.build()
		return src, dst, rules.UDP, true
	}
	return src, dst, 0, false
}
