// SPDX-License-Identifier: Apache-2.0

package rules

import "net/netip"

// Match is a match of xtables, of iptables-legacy or of a rule that iptables-nft
// made.
type Match interface{ match() }

// PortRange is first to last, both inclusive.
type PortRange struct{ First, Last uint16 }

func (p PortRange) any() bool { return p.First == 0 && p.Last == 0xffff }

func (p PortRange) holds(port uint16) bool { return p.First <= port && port <= p.Last }

// AddrRange is first to last, both inclusive.
type AddrRange struct{ First, Last netip.Addr }

func (a AddrRange) holds(addr netip.Addr) bool {
	return a.First.Compare(addr) <= 0 && addr.Compare(a.Last) <= 0
}

// AnyPort is all ports.
func AnyPort() PortRange { return PortRange{0, 0xffff} }

// Matches of the packet's own headers.
type (
	// Ports is -m tcp, udp, udplite, sctp or dccp.
	Ports struct {
		Proto              uint8
		Src, Dst           PortRange
		NotSrc, NotDst     bool
		FlagMask, FlagComp uint8 // of TCP; mask 0: not asked for
		NotFlags           bool
		Option             uint8 // of TCP; 0: not asked for
		NotOption          bool
		More               string // what this program has no model of (SCTP chunks, DCCP types)
	}
	// Multiport is -m multiport.
	Multiport struct {
		Src, Dst bool // both: either of them
		Ports    []PortRange
		Not      bool
	}
	// ICMPType is -m icmp and -m icmp6.
	ICMPType struct {
		V6               bool
		Type             uint8 // 255 with IPv4: any
		CodeMin, CodeMax uint8
		Not              bool
	}
	// HopLimit is -m ttl and -m hl; Op is eq, ne, lt or gt.
	HopLimit struct {
		V6    bool
		Op    string
		Value uint8
	}
	// DSCP is -m dscp.
	DSCP struct {
		Value uint8
		Not   bool
	}
	// TOS is -m tos.
	TOS struct {
		Value, Mask uint8
		Not         bool
	}
	// Length is -m length, of the packet from its IP header on.
	Length struct {
		Min, Max uint16
		Not      bool
	}
	// RoutingHeader is -m rt of IPv6. Packet has none, so it never holds.
	RoutingHeader struct{ Text string }
	// U32 is -m u32.
	U32 struct {
		Text  string
		Tests []U32Test
		Not   bool
	}
)

// Matches of its addresses, and of where a route for them leads.
type (
	// AddrType is -m addrtype; Src and Dst are sets of bits by RouteType, 0: any.
	AddrType struct {
		Src, Dst       uint16
		NotSrc, NotDst bool
		LimitIn        bool // --limit-iface-in
		LimitOut       bool
	}
	// IPRange is -m iprange.
	IPRange struct {
		Src, Dst       AddrRange
		AskSrc, AskDst bool
		NotSrc, NotDst bool
	}
	// RPFilter is -m rpfilter: is there a way back.
	RPFilter struct {
		Loose, ValidMark, AcceptLocal, Invert bool
	}
)

// Matches of its connection, and of the marks on either.
type (
	// Conntrack is -m conntrack and -m state.
	Conntrack struct {
		StateMatch               bool   // -m state, as it is written
		Asked, Inverted          uint16 // bits CTXxx
		State                    uint16 // bits CTState...
		Status                   uint16
		Proto                    uint16
		OrigSrc, OrigDst         netip.Prefix
		ReplSrc, ReplDst         netip.Prefix
		OrigSrcPort, OrigDstPort PortRange
		ReplSrcPort, ReplDstPort PortRange
		ExpiresMin, ExpiresMax   uint32
	}
	// MarkMatch is -m mark and -m connmark.
	MarkMatch struct {
		Conn       bool
		Mark, Mask uint32
		Not        bool
	}
)

// Matches of the frame, the device and the process that it came by.
type (
	// Physdev is -m physdev.
	Physdev struct {
		In, Out            Iface
		AskIn, AskOut      bool // --physdev-in, --physdev-out
		IsIn, IsOut, IsBri Flag // --physdev-is-in, -is-out, -is-bridged
	}
	// PktType is -m pkttype.
	PktType struct {
		Type uint8
		Not  bool
	}
	// MAC is -m mac.
	MAC struct {
		Addr [6]byte
		Not  bool
	}
	// Policy is -m policy: whether IPsec has a part in it.
	Policy struct {
		Out, None, Strict bool
		Text              string
	}
	// Owner is -m owner.
	Owner struct {
		UIDMin, UIDMax, GIDMin, GIDMax uint32
		AskUID, AskGID                 bool
		NotUID, NotGID                 bool
		AskSocket, NotSocket           bool
	}
)

// Matches of what earlier packets, or somebody else, have left behind.
type (
	// IPSetMatch is -m set --match-set.
	IPSetMatch struct {
		Set  string
		Src  []bool // a direction for each part of the set's key: source or not
		Not  bool
		More string // conditions on counters and the like
	}
	// Recent is -m recent.
	Recent struct {
		List            string
		Op              string // set, rcheck, update, remove
		Not             bool
		Seconds, Hits   uint32
		Reap, TTL, Dest bool
		Mask            netip.Addr
	}
	// XTRate is -m limit, hashlimit and the like.
	XTRate struct {
		Text string
		Over bool
	}
)

// Matches that say nothing of the packet, and those that nothing is known of.
type (
	// Comment is -m comment.
	Comment struct{ Text string }
	// XTOpaque is a match that this program has no model of.
	XTOpaque struct{ Text string }
)

// U32Test is one location of U32 and the values that it may have.
type U32Test struct {
	Start  uint32
	Steps  []U32Step
	Values [][2]uint32
}

// U32Step is one operation of a location: & << >> @.
type U32Step struct {
	Op     byte // '&', '<', '>', '@'
	Number uint32
}

// Iface is a device's name as xtables compares it: where Prefix is set, names
// that begin with Name.
type Iface struct {
	Name   string
	Prefix bool
	Not    bool
}

// Flag is a condition that may be asked for, and inverted.
type Flag struct{ Ask, Not bool }

// What a Conntrack asks for; the kernel's bits (XT_CONNTRACK_*).
const (
	CTState       = 1 << 0
	CTProto       = 1 << 1
	CTOrigSrc     = 1 << 2
	CTOrigDst     = 1 << 3
	CTReplSrc     = 1 << 4
	CTReplDst     = 1 << 5
	CTStatus      = 1 << 6
	CTExpires     = 1 << 7
	CTOrigSrcPort = 1 << 8
	CTOrigDstPort = 1 << 9
	CTReplSrcPort = 1 << 10
	CTReplDstPort = 1 << 11
	CTDirection   = 1 << 12
)

// States of a Conntrack; the kernel's bits.
const (
	CTStateInvalid     = 1 << 0
	CTStateEstablished = 1 << 1
	CTStateRelated     = 1 << 2
	CTStateNew         = 1 << 3
	CTStateSNAT        = 1 << 6
	CTStateDNAT        = 1 << 7
	CTStateUntracked   = 1 << 8
)

func (Ports) match()         {}
func (Multiport) match()     {}
func (ICMPType) match()      {}
func (AddrType) match()      {}
func (Conntrack) match()     {}
func (MarkMatch) match()     {}
func (Physdev) match()       {}
func (IPSetMatch) match()    {}
func (Recent) match()        {}
func (PktType) match()       {}
func (MAC) match()           {}
func (IPRange) match()       {}
func (HopLimit) match()      {}
func (DSCP) match()          {}
func (TOS) match()           {}
func (Length) match()        {}
func (RPFilter) match()      {}
func (RoutingHeader) match() {}
func (Policy) match()        {}
func (Owner) match()         {}
func (U32) match()           {}
func (XTRate) match()        {}
func (Comment) match()       {}
func (XTOpaque) match()      {}

// changes tells whether a match leaves something behind for later ones.
func changes(m Match) bool {
	r, ok := m.(Recent)
	return ok && r.Op != "rcheck"
}
