// SPDX-License-Identifier: Apache-2.0

// Package predict says which ways packets can take through what is known of a
// host, and where a way that one took is another one. All of it is pure.
//
//	topology (devices, bridges, switches), wiring of two targets -> Model
//	Model, stamps of a path -> nil, or Deviation: where it left what was predicted
//
// The model is a graph: behind each place where packets are stamped, the places
// that come next. What the wiring leaves open, which port of a bridge or which
// uplink, is open here too; what it does not (a packet of the uplink passes
// PRE_ROUTING, FORWARD and the bridge before it comes to the bridge's port) is
// what a path is held against.
package predict

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Stamp is a place that packets of a path were stamped at.
type Stamp struct {
	Hook   journey.Hook
	Device int // index; 0 for netfilter hooks
}

// Host is the host's part of a model: built once for all paths.
type Host struct {
	// LateStacked is set where devices that are stacked on another one (macvlan)
	// may have no border of their own on the way in.
	LateStacked bool

	uplinks map[int][]int   // by index: the bridges that it, or what is stacked on it, is a port of
	bridges map[int]bool    // by index: whether it is traced
	calls   map[int][2]bool // bridges that call netfilter for IPv4 and IPv6
	tagged  map[int]bool    // bridges in which packets can have VLAN tags
	below   map[int][]int   // devices of the host: those that carry what they send
	master  map[int]int     // devices of the host: the bridge that they are ports of
	odd     map[int]bool    // devices of the host whose master (a VRF, Open vSwitch) does what is not known here
	names   map[int]string  // devices of the host
}

// NewHost makes it of what was read: the uplinks and the bridges that are traced, by index.
func NewHost(view topology.Namespace, switches topology.Switches, uplinks, bridges []int) *Host {
	h := &Host{
		uplinks: map[int][]int{}, bridges: map[int]bool{}, calls: map[int][2]bool{}, tagged: map[int]bool{}, below: map[int][]int{},
		master: map[int]int{}, odd: map[int]bool{}, names: map[int]string{},
	}
	for _, link := range view.Links {
		h.add(link, switches)
	}
	for _, link := range view.Links {
		h.enslave(link, view.ByIndex(link.Master))
	}
	for _, index := range bridges {
		h.bridges[index] = true
	}
	for _, index := range uplinks {
		h.uplinks[index] = nil
	}
	for _, link := range view.Links {
		for _, lowest := range h.lowest(link.Index, 0) {
			if bridge := h.master[link.Index]; bridge != 0 && h.isUplink(lowest) {
				h.uplinks[lowest] = append(h.uplinks[lowest], bridge)
			}
		}
	}
	return h
}

func (h *Host) add(link topology.Link, switches topology.Switches) {
	h.names[link.Index] = link.Name
	if link.Kind == "vlan" {
		h.tagged[link.Parent] = true
	}
	if link.Kind == "bridge" {
		h.bridges[link.Index] = false
		calls := switches.NFCall
		if link.Bridge != nil {
			calls.IPTables = calls.IPTables || link.Bridge.NFCall.IPTables
			calls.IP6Tables = calls.IP6Tables || link.Bridge.NFCall.IP6Tables
			h.tagged[link.Index] = h.tagged[link.Index] || link.Bridge.VLANFiltering
		}
		h.calls[link.Index] = [2]bool{switches.BridgeNF && calls.IPTables, switches.BridgeNF && calls.IP6Tables}
		return
	}
	if link.Parent != 0 && link.ParentNetnsID == -1 && link.Kind != "veth" && link.Kind != "netkit" {
		h.below[link.Index] = append(h.below[link.Index], link.Parent)
	}
}

// enslave notes what a device's master does with its packets.
func (h *Host) enslave(link topology.Link, master *topology.Link) {
	switch {
	case link.Master == 0:
	case master != nil && master.Kind == "bridge":
		h.master[link.Index] = link.Master
	case master != nil && (master.Kind == "bond" || master.Kind == "team"):
		h.below[link.Master] = append(h.below[link.Master], link.Index)
	default:
		h.odd[link.Index] = true
	}
}

func (h *Host) isBridge(index int) bool { _, ok := h.bridges[index]; return ok }
func (h *Host) isUplink(index int) bool { _, ok := h.uplinks[index]; return ok }

// stacked bounds how many devices can lie on each other: a ring would be the kernel's mistake, not ours.
const stacked = 8

// lowest are the devices that carry in the end what a device sends: itself, where there is none beneath it.
func (h *Host) lowest(index, depth int) []int {
	beneath := h.below[index]
	if len(beneath) == 0 || depth == stacked || h.isUplink(index) {
		return []int{index}
	}
	var all []int
	for _, below := range beneath {
		all = append(all, h.lowest(below, depth+1)...)
	}
	return all
}

// Model is what is known of the way between a target and its peer.
type Model struct {
	Host *Host
	// Own and Other are how the target, and the one at the other end, are
	// connected; nil for none, as in host mode.
	Own, Other *topology.Wiring
	IPv6       bool
	// HostBorders, OwnBorders and OtherBorders are the netfilter hooks that have a
	// stamp in these namespaces: a path is held to pass no other ones.
	HostBorders, OwnBorders, OtherBorders Borders
}

// Borders are netfilter hooks.
type Borders map[journey.Point]bool

// Same tells whether two wirings lead the same ways, whatever their counters and addresses.
func Same(a, b topology.Wiring) bool {
	index := func(l *topology.Link) [2]int {
		if l == nil {
			return [2]int{}
		}
		return [2]int{l.Index, l.Master}
	}
	return a.Same == b.Same && slices.EqualFunc(a.Interfaces, b.Interfaces, func(a, b topology.Interface) bool {
		return a.Dev.Index == b.Dev.Index && index(a.Peer) == index(b.Peer) && index(a.Lower) == index(b.Lower)
	})
}

// Deviation is where a path left the ways that were predicted.
type Deviation struct {
	After     string   // the place that it left from; "" where its beginning is none
	Seen      string   // the place that it came to
	Predicted []string // where it should have come to; none where the way should have ended
}

// Check holds a path against the model. A path may begin wherever packets can
// first be seen: that it began late is no deviation.
func (m Model) Check(stamps []Stamp) *Deviation {
	stamps = visits(stamps)
	if len(stamps) == 0 {
		return nil
	}
	at := m.matching(m.all(), stamps[0])
	if len(at) == 0 {
		return &Deviation{Seen: m.name(stamps[0], at)}
	}
	for i, stamp := range stamps[1:] {
		reached := m.ahead(at)
		next := m.matching(reached, stamp)
		if len(next) == 0 {
			return &Deviation{After: m.name(stamps[i], at), Seen: m.name(stamp, nil), Predicted: m.describe(reached)}
		}
		at = next
	}
	return nil
}

// visits makes one stamp of those between the chains of one netfilter hook, and
// leaves out what is no place of the way.
func visits(stamps []Stamp) []Stamp {
	var all []Stamp
	last := -1
	for _, s := range stamps {
		if s.Hook == journey.KfreeSkb || s.Hook == 0 {
			continue
		}
		target, point, border, ok := s.Hook.AsNetfilter()
		if !ok {
			all, last = append(all, s), -1
			continue
		}
		visit := Stamp{Hook: journey.Netfilter(target, point, 0)}
		if last >= 0 && border > last && all[len(all)-1] == visit {
			last = border
			continue
		}
		all, last = append(all, visit), border
	}
	return all
}

func (m Model) matching(places []place, s Stamp) []place {
	var found []place
	for _, p := range places {
		if p.wild || p.hook == s.Hook && (p.device == 0 || p.device == s.Device) {
			found = append(found, p)
		}
	}
	return found
}

// ahead are the places at which packets that were at one of these are stamped
// next: those that may have no stamp are looked behind too.
func (m Model) ahead(at []place) []place {
	seen := map[place]bool{}
	var reached []place
	for todo := slices.Clone(at); len(todo) > 0; {
		from := todo[0]
		todo = todo[1:]
		for _, p := range m.next(from) {
			if seen[p] {
				continue
			}
			seen[p] = true
			if !m.never(p) {
				reached = append(reached, p)
			}
			if m.never(p) || m.maybe(p) {
				todo = append(todo, p)
			}
		}
	}
	return reached
}

// never tells that packets are not stamped there.
func (m Model) never(p place) bool {
	switch p.hook {
	case journey.BridgeIngress, journey.BridgeEgress:
		return !p.wild && !m.Host.bridges[p.device]
	}
	return false
}

// maybe tells that packets may pass there without a stamp.
func (m Model) maybe(p place) bool {
	if target, point, _, ok := p.hook.AsNetfilter(); ok {
		borders := m.HostBorders
		switch {
		case target && p.other:
			borders = m.OtherBorders
		case target:
			borders = m.OwnBorders
		}
		return p.sabotaged || !borders[point]
	}
	switch p.hook {
	case journey.BridgeEgress:
		return p.bridged // only what is translated
	case journey.NetifRx, journey.GROReceive, journey.StartXmit, journey.LoopbackEgress, journey.LoopbackIngress:
		return true
	case journey.DeviceIngress:
		return p.onTop && m.Host.LateStacked
	}
	return false
}

// describe names places that packets would have come to, those that all do before others.
func (m Model) describe(places []place) []string {
	var sure, all []string
	for _, p := range places {
		name := m.name(Stamp{Hook: p.hook, Device: p.device}, []place{p})
		if p.hook == 0 {
			continue
		}
		all = append(all, name)
		if !m.maybe(p) {
			sure = append(sure, name)
		}
	}
	if len(sure) == 0 {
		sure = all
	}
	slices.Sort(sure)
	return slices.Compact(sure)
}

// name is a place in words: host/prerouting, bridge/egress docker0.
func (m Model) name(s Stamp, at []place) string {
	if target, point, _, ok := s.Hook.AsNetfilter(); ok {
		side := "host"
		if target {
			side = "target"
		}
		return side + "/" + point.String()
	}
	if s.Device == 0 {
		return s.Hook.String()
	}
	name := m.Host.names[s.Device]
	if s.Hook.OfTarget() {
		name = m.nameInside(s.Device, len(at) > 0 && at[0].other)
	}
	return s.Hook.String() + " " + cmp.Or(name, fmt.Sprintf("if%d", s.Device))
}

func (m Model) nameInside(device int, other bool) string {
	of := m.end(other)
	if of == nil {
		return ""
	}
	for _, i := range of.Interfaces {
		if i.Dev.Index == device {
			return i.Dev.Name
		}
	}
	return ""
}
