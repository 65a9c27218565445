// SPDX-License-Identifier: Apache-2.0

package topology

import "fmt"

// Values of a Peering that are not ids.
const (
	IDNone    = -1 // the namespace has no id there: none of its devices can be a peer
	IDUnknown = -2 // could not be asked for: only indexes can be compared
)

// Peering is how two namespaces call each other in Link.ParentNetnsID.
type Peering struct {
	TargetInHost int // the target's id in the host's namespace
	HostInTarget int // the host's id in the target's namespace
}

// Wiring is how a target's devices are connected to the host.
type Wiring struct {
	// Same is set when the target is in the host's own namespace (host mode):
	// its devices are the host's devices.
	Same bool
	// NetnsID is the host's id for the target's namespace, by which the host's
	// links name their peers in it (Link.ParentNetnsID); set by reading only.
	NetnsID    int
	Interfaces []Interface // in the order of the target's devices, lo included
}

// Interface is one device of the target and what it is connected to.
type Interface struct {
	Dev    Link
	Peer   *Link // the host's end of a veth or netkit pair
	Bridge *Link // the bridge (or other master) that Peer is a port of
	Lower  *Link // the host's device beneath a macvlan, ipvlan or VLAN of the target
	Inner  *Link // the target's own device beneath, as for a VLAN on top of eth0
	Reason string
	// Elsewhere is set where its other end is in a namespace that is neither the
	// target's nor the host's.
	Elsewhere bool
}

// Connected tells whether packets of this device enter or leave the target
// through a device of the host.
func (i Interface) Connected() bool { return i.Peer != nil || i.Lower != nil }

// Connect finds for each device of the target what it is connected to. Where
// that is nothing of the host, Reason says why. The links in the result are
// copies.
//
// Indexes alone do not identify a peer: two containers can both have an eth0 of
// index 2, and a device of a third namespace can have any index. So a peer
// counts only if each end names the other's index and the other's namespace.
func Connect(host, target Namespace, ids Peering) Wiring {
	w := Wiring{Same: host.Inode != 0 && host.Inode == target.Inode}
	for _, dev := range target.Links {
		w.Interfaces = append(w.Interfaces, connect(host, target, ids, dev, w.Same))
	}
	return w
}

func connect(host, target Namespace, ids Peering, dev Link, same bool) Interface {
	i := Interface{Dev: dev}
	switch {
	case dev.Loopback:
		i.Reason = "loopback"
	case same:
		i.Reason = "device of the host itself"
	case paired(dev.Kind):
		i.Peer, i.Reason, i.Elsewhere = peerOf(host, target, ids, dev)
		if i.Peer != nil && i.Peer.Master != 0 {
			i.Bridge = clone(host.ByIndex(i.Peer.Master))
		}
	case dev.Parent == 0:
		i.Reason = fmt.Sprintf("a %s device has no other end in the host's namespace", kindOf(dev))
	case dev.ParentNetnsID == -1:
		i.Inner = clone(target.ByIndex(dev.Parent))
		i.Reason = "on top of another device of the target"
	default:
		i.Lower, i.Reason, i.Elsewhere = lowerOf(host, ids, dev)
	}
	return i
}

func peerOf(host, target Namespace, ids Peering, dev Link) (l *Link, reason string, third bool) {
	if dev.ParentNetnsID == -1 {
		if l := target.ByIndex(dev.Parent); l != nil {
			return nil, fmt.Sprintf("its peer %s is in the target's own namespace", l.Name), false
		}
		return nil, "its peer is gone", false
	}
	if elsewhere(dev.ParentNetnsID, ids.HostInTarget) {
		return nil, fmt.Sprintf("its peer (index %d) is in a third namespace, neither the target's nor the host's", dev.Parent), true
	}
	l = host.ByIndex(dev.Parent)
	switch {
	case l == nil:
		return nil, fmt.Sprintf("its peer (index %d) is not in the host's namespace", dev.Parent), true
	case l.Parent != dev.Index || !paired(l.Kind) || elsewhere(l.ParentNetnsID, ids.TargetInHost):
		return nil, fmt.Sprintf("device %s of the host has the index of its peer (%d) but is connected elsewhere", l.Name, dev.Parent), false
	}
	return clone(l), "", false
}

func lowerOf(host Namespace, ids Peering, dev Link) (l *Link, reason string, third bool) {
	if elsewhere(dev.ParentNetnsID, ids.HostInTarget) {
		return nil, fmt.Sprintf("the device beneath it (index %d) is in a third namespace, neither the target's nor the host's", dev.Parent), true
	}
	l = host.ByIndex(dev.Parent)
	if l == nil {
		return nil, fmt.Sprintf("the device beneath it (index %d) is not in the host's namespace", dev.Parent), true
	}
	return clone(l), "", false
}

// elsewhere tells that a device's netnsid is known to name another namespace
// than the one with the given id.
func elsewhere(netnsID, id int) bool { return id != IDUnknown && netnsID != id }

func paired(kind string) bool { return kind == "veth" || kind == "netkit" }

func kindOf(l Link) string {
	if l.Kind == "" {
		return "physical"
	}
	return l.Kind
}

func clone(l *Link) *Link {
	if l == nil {
		return nil
	}
	c := *l
	return &c
}
