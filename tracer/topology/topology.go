// SPDX-License-Identifier: Apache-2.0

// Package topology tells how a target is connected: which device of the host is
// the other end of its eth0, which bridge that one is a port of, and by which
// devices packets enter and leave the host.
//
// Data goes one way:
//
//	Read (netlink, one namespace) ─┐
//	Read (netlink, the other one) ─┼─> Connect, Uplinks (pure) ─> Wiring, []Link
//	ReadPeering (how they call each other) ─┘
//
// Only Read, ReadPeering and Watch touch the kernel. All else works on values.
package topology

import (
	"net/netip"
	"slices"
)

// Entry runs a function inside one network namespace, on a thread that is in
// it. netns.NS is one.
type Entry interface {
	Do(func() error) error
}

// Namespace is what one network namespace held at one moment.
type Namespace struct {
	Inode  uint64 // of the namespace's file; may come back for another one after its end
	Links  []Link // by index
	Routes []Route
}

// Link is a network device.
type Link struct {
	Index int
	Name  string
	// Kind as the kernel names it: veth, bridge, macvlan, ipvlan, vlan, bond,
	// tun (also for tap), wireguard, ...; "" for physical devices and lo.
	Kind   string
	Master int // index of the bridge or bond that this is a port of; 0 for none
	// Parent is IFLA_LINK: the index of the veth peer, or of the device beneath
	// a macvlan or VLAN. It is an index of the namespace that ParentNetnsID
	// names; 0 for none.
	Parent int
	// ParentNetnsID is this namespace's id for the one Parent is in; -1 for this
	// namespace itself.
	ParentNetnsID int
	MAC           string // 02:42:ac:11:00:02; "" for devices without
	MTU           int
	Up            bool    // administratively
	Oper          string  // operational state, as ip(8) names it in lower case: up, down, lowerlayerdown, unknown, ...
	Mode          string  // of a macvlan or ipvlan: bridge, private, vepa, passthru, source, l2, l3, l3s; "" otherwise
	Bridge        *Bridge // of kind bridge
	Port          *Port   // of a bridge's port
	Loopback      bool
	Ethernet      bool   // packets have an Ethernet header (ARPHRD_ETHER)
	Qdisc         string // kind of the root qdisc: noqueue, pfifo_fast, fq_codel, ...
	XDP           bool   // a program is attached, in any mode
	// GRO is the device's generic receive offload, read for veth only: with it
	// (or with XDP) packets cross the pair through NAPI.
	GRO bool
	// Small tells that a veth does not take large TCP packets (tso off), read for
	// veth only: the kernel then cuts them into segments before it.
	Small    bool
	Addrs    []netip.Prefix // with the host part: 172.17.0.2/16
	Counters Counters
}

// Counters is a device's own count of its packets.
type Counters struct {
	RxPackets, TxPackets uint64
	RxBytes, TxBytes     uint64
	RxDropped, TxDropped uint64
}

// NAPI tells whether packets that a veth receives go through NAPI
// (napi_gro_receive_entry) rather than through netif_rx.
func (l Link) NAPI() bool { return l.XDP || l.GRO }

// Route is an entry of any routing table.
type Route struct {
	Dst   netip.Prefix // 0.0.0.0/0 or ::/0 for a default route
	Links []int        // indexes of the devices it uses; several for multipath, none for blackholes
	Table int
	Type  RouteType
}

// RouteType is the kernel's RTN_* of a route.
type RouteType uint8

// The types that this package tells apart.
const (
	RouteUnicast   RouteType = 1
	RouteLocal     RouteType = 2
	RouteBroadcast RouteType = 3
	RouteAnycast   RouteType = 4
	RouteMulticast RouteType = 5
)

// ByIndex returns the device with that index, nil where there is none. The
// result points into n.Links.
func (n Namespace) ByIndex(index int) *Link {
	for i := range n.Links {
		if n.Links[i].Index == index {
			return &n.Links[i]
		}
	}
	return nil
}

// ByName returns the device with that name, nil where there is none. The result
// points into n.Links.
func (n Namespace) ByName(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	return nil
}

// Bridges returns the bridges, by index.
func (n Namespace) Bridges() []Link {
	return n.where(func(l Link) bool { return l.Kind == "bridge" })
}

// Ports returns the devices whose master (a bridge, a bond) has that index.
func (n Namespace) Ports(master int) []Link {
	if master == 0 {
		return nil
	}
	return n.where(func(l Link) bool { return l.Master == master })
}

// HasAddr tells whether one of the devices has that address.
func (n Namespace) HasAddr(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(n.Links, func(l Link) bool {
		return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr })
	})
}

func (n Namespace) where(keep func(Link) bool) []Link {
	var out []Link
	for _, l := range n.Links {
		if keep(l) {
			out = append(out, l)
		}
	}
	return out
}
