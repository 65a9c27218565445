// SPDX-License-Identifier: Apache-2.0

package change

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

func (d *differ) host(old, now wiring.Host) {
	for _, f := range []struct {
		name          string
		before, after bool
	}{
		{"ip_forward", old.Forward4, now.Forward4},
		{"ipv6 forwarding", old.Forward6, now.Forward6},
		{"route_localnet", old.RouteLocalnet, now.RouteLocalnet},
		{"br_netfilter", old.BridgeNF, now.BridgeNF},
		{"bridge-nf-call-iptables", old.NFCall.IPTables, now.NFCall.IPTables},
		{"bridge-nf-call-ip6tables", old.NFCall.IP6Tables, now.NFCall.IP6Tables},
		{"bridge-nf-call-arptables", old.NFCall.ARPTables, now.NFCall.ARPTables},
	} {
		d.flag("host", host, host, f.name, f.before, f.after)
	}
}

// placed is a device of the host with what it is there for.
type placed struct {
	kind   string // uplink, bridge, port, device
	dev    wiring.Device
	bridge *wiring.Bridge // of kind bridge
	port   *wiring.Port   // of kind port
	of     string         // of kind port: the bridge; of kind device: the target
}

// hosted lists the host's devices that the document shows, each once.
func hosted(doc wiring.Document) []placed {
	var list []placed
	seen := map[int]bool{}
	add := func(p placed) {
		if !seen[p.dev.Index] {
			seen[p.dev.Index] = true
			list = append(list, p)
		}
	}
	for i := range doc.Bridges {
		b := &doc.Bridges[i]
		add(placed{kind: "bridge", dev: b.Device, bridge: b})
		for j := range b.Ports {
			add(placed{kind: "port", dev: b.Ports[j].Device, port: &b.Ports[j], of: b.Device.Name})
		}
	}
	for _, u := range doc.Uplinks {
		add(placed{kind: "uplink", dev: u})
	}
	for _, t := range doc.Targets {
		for _, in := range t.Interfaces {
			if in.Peer != nil {
				add(placed{kind: "device", dev: *in.Peer, of: t.Name})
			}
			if in.Lower != nil {
				add(placed{kind: "device", dev: *in.Lower, of: t.Name})
			}
		}
	}
	return list
}

func (d *differ) devices(old, now wiring.Document) {
	key := func(p placed) string { return fmt.Sprintf("%d %s %s", p.dev.Index, p.kind, p.of) }
	tell := func(does string) func(placed) {
		return func(p placed) { d.add(does, p.kind, host, end(p.dev), placedText(p)) }
	}
	pair(hosted(old), hosted(now), key, tell(Removed), tell(Added), func(a, b placed) {
		d.device(b.kind, host, a.dev, b.dev)
		switch {
		case b.bridge != nil:
			d.bridge(*a.bridge, *b.bridge)
		case b.port != nil:
			name := end(b.dev)
			d.field("port", host, name, "port state", a.port.State, b.port.State)
			d.flag("port", host, name, "hairpin", a.port.Hairpin, b.port.Hairpin)
			d.flag("port", host, name, "isolated", a.port.Isolated, b.port.Isolated)
		}
	})
}

func placedText(p placed) string {
	text := deviceText(p.dev)
	switch {
	case p.port != nil:
		text = "of bridge " + p.of + "  " + text + "  " + p.port.State
	case p.bridge != nil && p.bridge.Network != nil:
		text += "  network " + p.bridge.Network.Name
	case p.of != "":
		text = "of " + p.of + "  " + text
	}
	return strings.TrimRight(text, " ")
}

func (d *differ) bridge(old, now wiring.Bridge) {
	name := end(now.Device)
	d.flag("bridge", host, name, "STP", old.STP, now.STP)
	d.flag("bridge", host, name, "VLAN filtering", old.VLANFiltering, now.VLANFiltering)
	d.flag("bridge", host, name, "bridge-nf-call-iptables of it", old.NFCall.IPTables, now.NFCall.IPTables)
	d.flag("bridge", host, name, "bridge-nf-call-ip6tables of it", old.NFCall.IP6Tables, now.NFCall.IP6Tables)
	switch {
	case old.Network == nil && now.Network != nil:
		d.add(Added, "network", host, now.Network.Name, "on bridge "+name)
	case old.Network != nil && now.Network == nil:
		d.add(Removed, "network", host, old.Network.Name, "on bridge "+name)
	case old.Network != nil && old.Network.Name != now.Network.Name:
		d.field("bridge", host, name, "network", old.Network.Name, now.Network.Name)
	}
}

// device compares a device's own state.
func (d *differ) device(kind, place string, old, now wiring.Device) {
	name := end(now)
	d.field(kind, place, name, "name", old.Name, now.Name)
	d.field(kind, place, name, "other end", strconv.Itoa(old.Other), strconv.Itoa(now.Other))
	d.field(kind, place, name, "mac", old.MAC, now.MAC)
	d.field(kind, place, name, "mtu", strconv.Itoa(old.MTU), strconv.Itoa(now.MTU))
	d.field(kind, place, name, "switched", upDown(old.Up), upDown(now.Up))
	d.field(kind, place, name, "state", old.State, now.State)
	d.field(kind, place, name, "qdisc", old.Qdisc, now.Qdisc)
	d.flag(kind, place, name, "XDP", old.XDP, now.XDP)
	d.flag(kind, place, name, "GRO", old.GRO, now.GRO)
	d.flag(kind, place, name, "TSO off", old.NoTSO, now.NoTSO)
	d.values("address", place, "of "+name, old.Addrs, now.Addrs)
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// end names a device as ip(8) does: vethef1372a@if26.
func end(d wiring.Device) string {
	if d.Other != 0 {
		return fmt.Sprintf("%s@if%d", d.Name, d.Other)
	}
	return d.Name
}

func deviceText(d wiring.Device) string {
	parts := []string{fmt.Sprintf("index %d", d.Index)}
	if d.MAC != "" {
		parts = append(parts, d.MAC)
	}
	parts = append(parts, d.Addrs...)
	return strings.Join(append(parts, fmt.Sprintf("mtu %d", d.MTU), upDown(d.Up)), "  ")
}
