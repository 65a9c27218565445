// SPDX-License-Identifier: Apache-2.0

package rules

import "net/netip"

// Opt is a value that may not be known; its zero value is not.
type Opt[T any] struct {
	Value T
	Known bool
}

// Some is a known value.
func Some[T any](v T) Opt[T] { return Opt[T]{v, true} }

// State is what connection tracking says about a packet.
type State uint8

// The states. The zero value is New: what a first packet is.
const (
	New State = iota
	Established
	Related
	Invalid
	Untracked
)

// String is the state as rules write it.
func (s State) String() string {
	names := [...]string{"new", "established", "related", "invalid", "untracked"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Status bits of a connection, as the kernel numbers them.
const (
	StatusExpected  = 1 << 0
	StatusSeenReply = 1 << 1
	StatusAssured   = 1 << 2
	StatusConfirmed = 1 << 3
	StatusSNAT      = 1 << 4
	StatusDNAT      = 1 << 5
)

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Protocols.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
	SCTP   = 132
)

// Packet is what rules look at. Src and Dst are always needed; a field that is
// not known makes unknown what asks for it.
type Packet struct {
	Src, Dst         netip.Addr
	Proto            uint8
	SrcPort, DstPort uint16 // of TCP, UDP, SCTP
	TCPFlags         uint8
	ICMPType         uint8
	ICMPCode         uint8
	TTL              Opt[uint8]  // hop limit with IPv6
	TOS              Opt[uint8]  // traffic class with IPv6
	Length           Opt[uint16] // of the packet from its IP header on, bytes
	Payload          Opt[[]byte] // behind the transport header
	Fragment         bool        // not the first: it has no ports

	In, Out         string // devices; "" where there is none yet or any more
	PhysIn, PhysOut string // ports of a bridge, when the bridge hands it to netfilter
	Bridged         bool   // the bridge forwards it by itself
	SrcMAC          Opt[[6]byte]
	PktType         Opt[uint8] // PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2; follows from Dst and In where it is not given

	Mark uint32
	Conn Conn

	UID, GID Opt[uint32] // of the sending socket
	IPsec    bool        // came or will leave by a tunnel of IPsec
}

// Conn is the packet's connection.
type Conn struct {
	State  State
	Reply  bool   // the packet goes against the connection's first one
	Status uint32 // StatusXxx
	Mark   uint32
	Helper Opt[string]
	// The connection's first packet as it was before any translation. The zero
	// value is: as the packet is.
	OrigSrc, OrigDst netip.AddrPort
	// Where the connection's packets go since it was translated, for packets that
	// are not the first: nil without translation. Walk applies them.
	NewSrc, NewDst netip.AddrPort
}

// V6 tells whether the packet is of IPv6.
func (p *Packet) V6() bool { return p.Dst.Is6() && !p.Dst.Is4In6() }

// Family is ip or ip6.
func (p *Packet) Family() string {
	if p.V6() {
		return "ip6"
	}
	return "ip"
}

func (p *Packet) hasPorts() bool {
	return !p.Fragment && (p.Proto == TCP || p.Proto == UDP || p.Proto == SCTP || p.Proto == udplite || p.Proto == dccp)
}

const (
	dccp    = 33
	udplite = 136
)
