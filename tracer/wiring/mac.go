// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// differs says where a device's MAC is not the one that ties it to the engine's
// endpoint and to the entry of the bridge's forwarding table: somebody has
// changed it, sends with another one, or another one sends with it.
func (f *Facts) differs(m *Member, in topology.Interface, ask *asker) []string {
	all := []string{}
	if n := m.endpoint(in); n != nil && n.MAC != "" && n.MAC != in.Dev.MAC {
		all = append(all, fmt.Sprintf("%s is what the engine gave it in network %s, %s is what it has", n.MAC, n.Name, in.Dev.MAC))
	}
	if in.Bridge == nil || in.Peer == nil {
		return all
	}
	for _, mac := range ask.macs(in.Peer.Index) {
		if !m.has(mac) {
			all = append(all, fmt.Sprintf("%s sends by %s with %s, which none of its devices has", m.Name, in.Dev.Name, mac))
		}
	}
	for _, port := range ask.ports(in.Dev.MAC) {
		l := f.Host.Namespace.ByIndex(port)
		if port != in.Peer.Index && l != nil && l.Master == in.Bridge.Index {
			all = append(all, fmt.Sprintf("%s has it behind %s%s", in.Bridge.Name, l.Name, f.whose(port)))
		}
	}
	return all
}

// endpoint is the engine's network that a device is the container's end of: the
// one whose address it has or, without any (it may have been taken away), the
// one of its bridge.
func (m *Member) endpoint(in topology.Interface) *container.Network {
	for i := range m.Networks {
		if n := &m.Networks[i]; n.IP4.IsValid() && hasAddr(in.Dev, n.IP4) || n.IP6.IsValid() && hasAddr(in.Dev, n.IP6) {
			return n
		}
	}
	for i := range m.Networks {
		if n := &m.Networks[i]; in.Bridge != nil && n.Bridge == in.Bridge.Name {
			return n
		}
	}
	return nil
}

// has tells whether one of a target's devices has an address: behind its eth0
// there may be a bridge or a macvlan of its own.
func (m *Member) has(mac string) bool {
	return slices.ContainsFunc(m.Wiring.Interfaces, func(in topology.Interface) bool { return in.Dev.MAC == mac })
}

// whose names the target behind a port: ", port of NAME".
func (f *Facts) whose(port int) string {
	for i := range f.Targets {
		for _, in := range f.Targets[i].Wiring.Interfaces {
			if in.Peer != nil && in.Peer.Index == port {
				return ", the port of " + cmp.Or(f.Targets[i].Name, "another one")
			}
		}
	}
	return ""
}

// macs are the addresses that bridges have learned behind a port.
func (a *asker) macs(port int) []string {
	if a.heard == nil {
		a.heard = map[int][]string{}
		for _, l := range a.f.Learned {
			if !l.Permanent && !slices.Contains(a.heard[l.Port], l.MAC) { // one for each VLAN
				a.heard[l.Port] = append(a.heard[l.Port], l.MAC)
			}
		}
	}
	return a.heard[port]
}
