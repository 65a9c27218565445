// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
)

// Env is what rules ask beside the packet, and what a packet's way depends on.
type Env struct {
	Devices map[string]Device // by name
	Routes  Routes

	Forward4, Forward6 bool // ip_forward and its IPv6 fellow: off, nothing is forwarded
	RouteLocalnet      bool // 127.0.0.0/8 may come from and go to other devices

	// Rates is what to assume about limits, which nobody can read from the kernel.
	Rates Assumption
	// Recent is what to assume about lists of xt_recent.
	Recent Assumption
}

// Assumption is an answer to what can't be known.
type Assumption uint8

// The assumptions.
const (
	AssumeNothing Assumption = iota // both answers are followed
	AssumeQuiet                     // no limit is reached, no address was seen before
)

// Device is a network device.
type Device struct {
	Index                      int
	Group                      uint32
	Loopback                   bool
	Type                       uint16 // ARPHRD_*; 0: Ethernet, or lo
	RPFilter                   int    // rp_filter that holds for it: 0 off, 1 strict, 2 loose
	RouteLocalnet, AcceptLocal bool
	Addrs                      []netip.Prefix // in the kernel's order; primary ones first
}

// RouteType is what a route does; the kernel's numbers.
type RouteType uint8

// The types of routes.
const (
	RouteUnspec      RouteType = 0
	RouteUnicast     RouteType = 1
	RouteLocal       RouteType = 2
	RouteBroadcast   RouteType = 3
	RouteAnycast     RouteType = 4
	RouteMulticast   RouteType = 5
	RouteBlackhole   RouteType = 6
	RouteUnreachable RouteType = 7
	RouteProhibit    RouteType = 8
	RouteThrow       RouteType = 9
)

// Route is an entry of a routing table.
type Route struct {
	Table  int // 254 main, 255 local
	Dst    netip.Prefix
	Type   RouteType
	Dev    string // "" for types that lead nowhere
	Via    netip.Addr
	Src    netip.Addr // preferred source
	Metric int
}

// PolicyRule chooses a routing table.
type PolicyRule struct {
	Priority   int
	Not        bool
	From, To   netip.Prefix // zero: any
	In, Out    string       // devices; "": any
	Mark, Mask uint32       // Mask 0: any
	Table      int
	Action     RouteType // RouteUnspec: look into Table
	// SuppressPrefix: routes with a prefix of this length or shorter do not count;
	// -1: all count.
	SuppressPrefix int
	V4Only, V6Only bool // of one family's rules
	Opaque         bool // asks for something that this program has no model of
}

// Routes is the routing of a namespace, IPv4 and IPv6.
type Routes struct {
	Routes []Route
	Rules  []PolicyRule // none: the kernel's own (local, main, default)
}

// Query is a question to the routing.
type Query struct {
	Dst, Src netip.Addr // Src may be zero
	In       string     // "" for packets that are made here
	Out      string     // "" for any
	Mark     uint32
}
