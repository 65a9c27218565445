// SPDX-License-Identifier: Apache-2.0

package rules

// Stmt is one statement of a rule: a condition, an action or a note.
type Stmt interface{ stmt() }

// Op compares.
type Op uint8

// The comparisons, of bytes in network order.
const (
	EQ Op = iota
	NE
	LT
	LE
	GT
	GE
)

// Conditions.
type (
	// Compare holds where Left stands to Right as Op says.
	Compare struct {
		Left  Value
		Op    Op
		Right []byte
	}
	// Between holds where From <= Left <= To, or, if Not, where it does not.
	Between struct {
		Left     Value
		Not      bool
		From, To []byte
	}
	// InSet holds where Left is an element of a set of nf_tables.
	InSet struct {
		Left Value
		Not  bool
		Set  string
	}
	// Rate holds for packets below a rate, or, if Over, above it: state of the
	// kernel that nobody reads.
	Rate struct {
		Text string
		Over bool
	}
	// Test is a match of xtables.
	Test struct{ Match Match }
)

// Actions.
type (
	// Go ends the rule.
	Go struct {
		Kind  GoKind
		Chain string // of Jump and Goto
	}
	// GoMap ends the rule by what a verdict map holds for Left, if anything.
	GoMap struct {
		Left Value
		Set  string
	}
	// NAT translates a connection's first packet, and with it the connection.
	NAT struct {
		Kind             NATKind
		AddrMin, AddrMax Value // nil: the address stays
		PortMin, PortMax Value // nil: the port stays where it can
		Netmap           bool  // AddrMin/AddrMax are a prefix; host bits stay
		Random           bool  // the port is any
		Fully            bool  // --random-fully
		Persistent       bool
		FromHook         bool // NETMAP of xtables: which side is the hook's choice
		// Shifted: the port keeps its distance to Base within the range, as in
		// --to-destination ADDR:FIRST-LAST/BASE.
		Shifted bool
		Base    uint16
	}
	// RejectWith drops and tells.
	RejectWith struct{ With string }
	// Assign writes a mark or a field of the packet.
	Assign struct {
		To   Value
		From Value
		Text string // of a target of xtables
		XT   bool   // without a connection, it does nothing, and the rule goes on
	}
	// Save copies the packet's mark to its connection's, or back.
	Save struct {
		Restore            bool
		CTMask, PacketMask uint32
	}
	// Track says how the connection tracking treats the packet: not at all, or
	// with a helper.
	Track struct {
		Off  bool
		Text string
	}
	// Touch adds to a set, or takes from it: what was read of it ages here.
	Touch struct {
		Set   string
		IPSet bool
		Text  string
	}
	// ToProgram hands the packet to a program and decides nothing itself.
	ToProgram struct{ Text string }
)

// Notes.
type (
	// Note has no say in what happens to the packet: a counter, a log, a comment.
	Note struct {
		Target string // of xtables, LOG for one
		Text   string
	}
	// Opaque is what this program does not know; whether it holds, and what it
	// does, is unknown.
	Opaque struct {
		Text   string
		Target bool // it may end the packet; a match can't
	}
)

func (Compare) stmt()    {}
func (Between) stmt()    {}
func (InSet) stmt()      {}
func (Rate) stmt()       {}
func (Test) stmt()       {}
func (Go) stmt()         {}
func (GoMap) stmt()      {}
func (NAT) stmt()        {}
func (RejectWith) stmt() {}
func (Assign) stmt()     {}
func (Save) stmt()       {}
func (Track) stmt()      {}
func (Touch) stmt()      {}
func (ToProgram) stmt()  {}
func (Note) stmt()       {}
func (Opaque) stmt()     {}

// GoKind is how a rule ends.
type GoKind uint8

// The ends of a rule.
const (
	GoContinue GoKind = iota // with the next rule
	GoAccept
	GoDrop
	GoReturn // with the chain that jumped here, or the policy
	GoJump
	GoGoto // as GoJump, without a way back
	GoQueue
)

// NATKind is which address is translated, and how it is found.
type NATKind uint8

// The kinds of translation.
const (
	SNAT NATKind = iota
	DNAT
	Masquerade // SNAT to an address of the device that the packet leaves by
	Redirect   // DNAT to an address of the device that the packet came by
)

// String is the kind as iptables writes it.
func (k NATKind) String() string {
	names := [...]string{"SNAT", "DNAT", "MASQUERADE", "REDIRECT"}
	if int(k) < len(names) {
		return names[k]
	}
	return "NAT"
}

// Value is something of a packet or its surroundings, in bytes as nf_tables
// loads it.
type Value interface{ value() }

// PayloadBase is the header that a Payload counts from.
type PayloadBase uint8

// The headers.
const (
	LinkHeader PayloadBase = iota
	NetworkHeader
	TransportHeader
	InnerHeader
)

// The values.
type (
	// Payload is bytes of a header.
	Payload struct {
		Base        PayloadBase
		Offset, Len int
	}
	// Meta is something about the packet that no header holds; Key as nft writes
	// it: mark, iifname, oifname, iif, oif, l4proto, nfproto, protocol, pkttype, ...
	Meta struct{ Key string }
	// CT is something of the packet's connection; Key as nft writes it: state,
	// status, mark, direction, helper, saddr, ...; Dir is original or reply, or "".
	// Len is the length of saddr and daddr.
	CT struct {
		Key, Dir string
		Len      int
	}
	// FIB is a question to the routing table.
	FIB struct {
		Saddr, Daddr   bool   // whose route
		Mark, IIF, OIF bool   // what the question holds
		Result         string // type, oif, oifname
		Check          bool   // only whether there is one: 1 or 0
	}
	// Exthdr is bytes of an IPv6 extension header or a TCP option, or whether it
	// is there.
	Exthdr struct {
		Op, Type    uint8 // Op 0: IPv6, 1: TCP option
		Offset, Len int
		Present     bool
	}
	// Const is bytes.
	Const []byte
	// Bitwise is (Of & Mask) ^ Xor.
	Bitwise struct {
		Of        Value
		Mask, Xor []byte
	}
	// Shift moves bits of a number.
	Shift struct {
		Of   Value
		Left bool
		Bits uint32
	}
	// Swap changes between the host's and the network's byte order, in units of
	// Size bytes.
	Swap struct {
		Of   Value
		Size int
	}
	// Mapped is what a map holds for Of.
	Mapped struct {
		Of  Value
		Set string
		Len int // of what it gives, bytes
	}
	// Concat is several values, each padded to four bytes.
	Concat []Value
	// OpaqueValue is a value that this program has no model of.
	OpaqueValue struct {
		Text string
		Len  int
	}
)

func (Payload) value()     {}
func (Meta) value()        {}
func (CT) value()          {}
func (FIB) value()         {}
func (Exthdr) value()      {}
func (Const) value()       {}
func (Bitwise) value()     {}
func (Shift) value()       {}
func (Swap) value()        {}
func (Mapped) value()      {}
func (Concat) value()      {}
func (OpaqueValue) value() {}
