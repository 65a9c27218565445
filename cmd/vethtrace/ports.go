// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// ports are a target's published ports: those that its engine tells, else those
// that the host's rules send to it, as CNI's plugins have them do.
func (m mapper) ports(c container.Container, ns *netns.NS) ([]container.Port, error) {
	if len(c.Ports) > 0 || c.Runtime.TellsPorts() || ns.Inode() == m.host {
		return c.Ports, nil
	}
	inside, err := topology.ReadBrief(ns)
	if err != nil {
		return nil, fmt.Errorf("read its addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, link := range inside.Links {
		for _, p := range link.Addrs {
			if !link.Loopback {
				addrs = append(addrs, p.Addr())
			}
		}
	}
	if len(addrs) == 0 {
		return nil, nil
	}
	read := m.rules
	if read == nil {
		read = hostRules
	}
	set, err := read()
	if err != nil { // its packets are traced all the same, from where their address is the target's own
		m.log.Warn("published ports are not looked for", "target", c.Name, "error", err)
		return nil, nil
	}
	return wiring.PortsByRules(set, addrs), nil
}

// hostRules reads the rules of our own network namespace.
func hostRules() (*rules.Set, error) {
	host, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("open our own network namespace: %w", err)
	}
	defer host.Close()
	return netfilter.ReadRules(host)
}
