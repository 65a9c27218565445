// SPDX-License-Identifier: Apache-2.0

// Package lab makes worlds out of throw-away network namespaces: a client, a host with a Docker
// bridge and exactly Docker's rules, and containers with servers in them.
//
//	Client eth0 ──wire── eth0 Host docker0 ── vethXXXXXXX ── eth0 Container (HTTP :80, echo :7)
//
// The namespaces are anonymous: they are held by descriptors of this process and by child
// processes that die with it, so that nothing stays behind a kill -9. The children are this
// executable run again: main, or TestMain, must call MaybeChild before anything else.
//
// World and load are bounded: every load ends after a number of exchanges, each exchange after a time.
package lab

import (
	"fmt"
	"log/slog"
	"net/netip"
)

// WireKind is how client and host are connected.
type WireKind int

// The wires. Only on those of plain veths does a packet of the client reach the host with the time
// of its sending on it (skb->tstamp), which no packet has that comes from another machine.
const (
	WireVeth        WireKind = iota // a veth pair
	WireTap                         // two taps and a pump between them: packets come in through NAPI, without birth stamp
	WireVethCleared                 // a veth pair whose client end clears the birth stamp of what it sends
	WireNIC                         // a veth pair whose ends receive by NAPI, as a network card does, and cut segments before they send
)

// String returns the wire's name: veth, tap, veth-cleared, or nic.
func (k WireKind) String() string {
	switch k {
	case WireVeth:
		return "veth"
	case WireTap:
		return "tap"
	case WireVethCleared:
		return "veth-cleared"
	case WireNIC:
		return "nic"
	}
	return fmt.Sprintf("wire(%d)", int(k))
}

// RuleSet is what is loaded into the host's netfilter.
type RuleSet int

// The rule sets.
const (
	RulesDocker RuleSet = iota // what Docker 20.10 writes, FORWARD policy DROP
	RulesNone                  // no table at all
	RulesLegacy                // those of Docker, by iptables-legacy instead of iptables-nft
)

// ContainerKind is how a container is connected.
type ContainerKind int

// The kinds of containers.
const (
	KindVeth      ContainerKind = iota // a veth into each of its bridges
	KindMacvlan                        // a macvlan of the host's uplink, on the wire's subnet
	KindIPvlanL2                       // an ipvlan of it: not every kernel has them
	KindIPvlanL3                       // the same, routed by the host: the client needs a route
	KindIPvlanL3S                      // the same, with the host's netfilter
)

// Port is one published port.
type Port struct {
	Host      uint16 // on the host's addresses
	Container uint16 // on the container's
	Proto     string // "tcp" (also if empty) or "udp"
}

// Config says what world to make. Its zero value is a world with one container "nginx" on docker0
// whose port 80 is published as 8080, on a veth wire, IPv4 only.
type Config struct {
	Wire       WireKind
	IPv6       bool     // also give IPv6 addresses to everything, and IPv6 rules to the host
	Containers int      // how many; 0 means len(Names), or 1; negative means none
	Names      []string // of the containers; missing ones are nginx, c2, c3, ...
	Bridge     string   // the default bridge's name; empty means docker0
	Ports      []Port   // of the first container; nil means 8080->80/tcp, an empty slice means none
	Rules      RuleSet
	Bare       bool // only client, wire and host: no bridge, rules, containers or forwarding

	// BridgeNFCallIptables sets bridge-nf-call-iptables, -ip6tables and -arptables of the host; nil
	// means the kernel's default: on, if the kernel has the module br_netfilter loaded.
	BridgeNFCallIptables *bool

	Log *slog.Logger // nil means silence
}

// ContainerConfig says what container to add to a world.
type ContainerConfig struct {
	Name        string
	Bridge      string   // empty means the world's default bridge; unused for what is on the uplink
	MoreBridges []string // eth1, eth2, ... go there
	Kind        ContainerKind
	Ports       []Port // published on the host
}

// withDefaults returns the configuration with every default spelled out.
func (c Config) withDefaults() Config {
	if c.Bridge == "" {
		c.Bridge = "docker0"
	}
	if c.Containers == 0 {
		c.Containers = max(1, len(c.Names))
	}
	c.Containers = max(0, c.Containers)
	names := make([]string, 0, c.Containers)
	for i := range c.Containers {
		switch {
		case i < len(c.Names):
			names = append(names, c.Names[i])
		case i == 0:
			names = append(names, "nginx")
		default:
			names = append(names, fmt.Sprintf("c%d", i+1))
		}
	}
	c.Names = names
	if c.Ports == nil {
		c.Ports = []Port{{Host: 8080, Container: 80}}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// check returns the first thing wrong with a published port.
func (p *Port) check() error {
	if p.Proto == "" {
		p.Proto = "tcp"
	}
	if p.Proto != "tcp" && p.Proto != "udp" {
		return fmt.Errorf("publish port: protocol %q is neither tcp nor udp", p.Proto)
	}
	if p.Host == 0 || p.Container == 0 {
		return fmt.Errorf("publish port: %d->%d/%s has no number", p.Host, p.Container, p.Proto)
	}
	return nil
}

// plan holds the addresses of a world's wire. Documentation prefixes (RFC 5737, RFC 3849).
type plan struct{ client4, host4, client6, host6 netip.Prefix }

func wirePlan() plan {
	return plan{
		client4: netip.MustParsePrefix("198.51.100.2/24"), host4: netip.MustParsePrefix("198.51.100.1/24"),
		client6: netip.MustParsePrefix("2001:db8:51::2/64"), host6: netip.MustParsePrefix("2001:db8:51::1/64"),
	}
}
