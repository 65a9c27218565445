// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"net/netip"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Facts are what was read at one moment. They are not changed after reading.
type Facts struct {
	Host     Space
	Switches topology.Switches
	Learned  []topology.Learned
	Targets  []Member
	// Whole tells that the targets are all there are, not chosen ones.
	Whole    bool
	Networks []container.NetworkInfo
	Proxies  []container.Proxy // docker-proxy, by command line
	Notes    []string
}

// Space is a network namespace.
type Space struct {
	Namespace topology.Namespace
	Sockets   []container.Socket
	Rules     *rules.Set // nil where they were not read
	Env       rules.Env
}

// Member is a target with the containers that share its namespace.
type Member struct {
	container.Container
	Aliases []string
	Wiring  topology.Wiring
	Space   Space // in host mode only the sockets of its own processes
}

// interfaceAt finds the target's device that has an address.
func (m *Member) interfaceAt(addr netip.Addr) *topology.Interface {
	if m.Wiring.Same {
		return nil
	}
	for i := range m.Wiring.Interfaces {
		in := &m.Wiring.Interfaces[i]
		if !in.Dev.Loopback && hasAddr(in.Dev, addr) {
			return in
		}
	}
	return nil
}

// interfaceNamed finds the target's device of that name.
func (m *Member) interfaceNamed(name string) *topology.Interface {
	for i := range m.Wiring.Interfaces {
		if m.Wiring.Interfaces[i].Dev.Name == name {
			return &m.Wiring.Interfaces[i]
		}
	}
	return nil
}

// owner finds the target that has an address, and its device.
func (f *Facts) owner(addr netip.Addr) (*Member, *topology.Interface) {
	for i := range f.Targets {
		if in := f.Targets[i].interfaceAt(addr); in != nil {
			return &f.Targets[i], in
		}
	}
	return nil, nil
}

// uplinks are the devices by which packets enter and leave the host.
func (f *Facts) uplinks() []topology.Link {
	var traced []int
	for _, b := range f.Host.Namespace.Bridges() {
		if f.containers(b) {
			traced = append(traced, b.Index)
		}
	}
	for i := range f.Targets {
		for _, in := range f.Targets[i].Wiring.Interfaces {
			if in.Peer != nil {
				traced = append(traced, in.Peer.Index)
			}
		}
	}
	return topology.Uplinks(f.Host.Namespace, traced...)
}

// containers tells whether a bridge is one of containers: an engine's, one with
// a target behind it, one of pairs only, or an empty one.
func (f *Facts) containers(bridge topology.Link) bool {
	if f.network(bridge.Name) != nil {
		return true
	}
	return !slices.ContainsFunc(f.Host.Namespace.Ports(bridge.Index), func(l topology.Link) bool {
		return l.Kind != "veth" || l.ParentNetnsID == -1
	})
}

// network finds the engine's network that a bridge is.
func (f *Facts) network(bridge string) *container.NetworkInfo {
	for i := range f.Networks {
		if f.Networks[i].Bridge == bridge && bridge != "" {
			return &f.Networks[i]
		}
	}
	return nil
}

// nfCall is which tables are asked about packets that a bridge carries.
func (f *Facts) nfCall(bridge topology.Link) topology.NFCall {
	if !f.Switches.BridgeNF {
		return topology.NFCall{}
	}
	call := f.Switches.NFCall
	if b := bridge.Bridge; b != nil {
		call.IPTables = call.IPTables || b.NFCall.IPTables
		call.IP6Tables = call.IP6Tables || b.NFCall.IP6Tables
		call.ARPTables = call.ARPTables || b.NFCall.ARPTables
	}
	return call
}

func hasAddr(l topology.Link, addr netip.Addr) bool {
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr })
}
