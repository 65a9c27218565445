//go:build guest

package tracer_test

import (
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// A bridge that filters VLANs, one port of which leads out of the host with tags
// (a trunk), the container's without: the client is a neighbour in the VLAN. By
// itself netfilter does not look into what has a tag.
func TestTaggedPort(t *testing.T) {
	const exchanges = 50
	for name, c := range map[string]struct{ filter, in, out string }{
		"tags hide packets from netfilter": {
			"0", "bridge veth softirq netfilter/input",
			"netfilter/output veth softirq netfilter/prerouting bridge qdisc",
		},
		"netfilter looks behind tags": {
			"1", "netfilter/prerouting bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input",
			"netfilter/output veth softirq netfilter/prerouting bridge netfilter/forward netfilter/postrouting qdisc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := trunk(t, c.filter)
			peer := netip.MustParseAddr("172.17.0.200")
			nginx := s.world.Container("nginx")
			s.echoServer(s.world.Client, 9)
			s.udp(s.world.Client, nginx.IP4, lab.PortEcho, 3) // neighbours are known from here on
			s.open(tracer.Config{}, "nginx")
			s.udp(s.world.Client, nginx.IP4, lab.PortEcho, exchanges)
			s.udp(nginx.Node, peer, 9, exchanges)
			target := targetOf(t, s.stop(), "nginx")
			everyPacket(t, target, "uplink", 2*exchanges, c.in, c.out)

			for d, a := range target.Accounting {
				if a.Dropped != 0 || a.Expired != 0 {
					t.Errorf("%v: %+v", tracer.Direction(d), a)
				}
			}
		})
	}
}

// trunk is a world whose uplink is a port of the bridge: tagged with VLAN 10,
// of which nginx is without a tag. filter is bridge-nf-filter-vlan-tagged.
func trunk(t *testing.T, filter string) *stage {
	t.Helper()
	s := newStage(t, lab.Config{Wire: lab.WireTap})
	host, nginx := s.world.Host, s.world.Container("nginx")
	s.must(host.Sysctl("net/bridge/bridge-nf-filter-vlan-tagged", filter))
	for _, line := range []string{
		"ip link set docker0 type bridge vlan_filtering 1",
		"ip link set eth0 master docker0",
		"bridge vlan del dev eth0 vid 1",
		"bridge vlan add dev eth0 vid 10",
		"bridge vlan del dev " + nginx.HostDev + " vid 1",
		"bridge vlan add dev " + nginx.HostDev + " vid 10 pvid untagged",
	} {
		s.command(host, line)
	}
	for _, line := range []string{
		"ip link add link eth0 name eth0.10 type vlan id 10",
		"ip address add 172.17.0.200/16 dev eth0.10",
		"ip link set eth0.10 up",
	} {
		s.command(s.world.Client, line)
	}
	s.calm(s.world.Client)
	return s
}

// The host's own part in a VLAN of the bridge: a device upon docker0. Packets
// of a published port are routed to it, get its tag, and lose it at the port.
func TestTaggedBridgeDevice(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const exchanges = 50
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		host, nginx := s.world.Host, s.world.Container("nginx")
		for _, line := range []string{
			"ip link set docker0 type bridge vlan_filtering 1",
			"bridge vlan add dev docker0 vid 10 self",
			"bridge vlan del dev " + nginx.HostDev + " vid 1",
			"bridge vlan add dev " + nginx.HostDev + " vid 10 pvid untagged",
			"ip link add link docker0 name docker0.10 type vlan id 10",
			"ip address del 172.17.0.1/16 dev docker0",
			"ip address add 172.17.0.1/16 dev docker0.10",
			"ip link set docker0.10 up",
			"iptables -P FORWARD ACCEPT", // Docker's rules are of docker0
			"iptables -t nat -I PREROUTING -p udp --dport 7007 -j DNAT --to-destination 172.17.0.2:7",
		} {
			s.command(host, line)
		}
		s.calm(host)
		s.open(tracer.Config{}, "nginx")
		s.udp(s.world.Client, host.IP4, 7007, exchanges)
		s.udp(host, nginx.IP4, lab.PortEcho, exchanges)
		snapshot := s.stop()
		hops := ways(tracer.DetailHooks)
		if wire == lab.WireTap {
			hops["out uplink"] += " qdisc"
		}
		for _, w := range []want{
			{direction: tracer.Ingress, peer: "uplink", hops: hops["in uplink"], packets: exchanges - 1},
			{direction: tracer.Egress, peer: "uplink", hops: hops["out uplink"], packets: exchanges},
			{direction: tracer.Ingress, peer: "host", hops: hops["in host"], packets: exchanges - 1},
			{direction: tracer.Egress, peer: "host", hops: hops["out host"], packets: exchanges},
		} {
			w.target, w.protocol = "nginx", "udp"
			expect(t, snapshot, w)
		}
	})
}

// A container whose port of the bridge has tags, and a VLAN device of its own
// upon eth0, which is part of its netfilter/output and netfilter/input; its peer's port has none.
func TestTaggedContainer(t *testing.T) {
	const exchanges = 50
	s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}})
	host, nginx, c2 := s.world.Host, s.world.Container("nginx"), s.world.Container("c2")
	for _, line := range []string{
		"ip link set docker0 type bridge vlan_filtering 1",
		"bridge vlan del dev " + nginx.HostDev + " vid 1",
		"bridge vlan add dev " + nginx.HostDev + " vid 10 pvid untagged",
		"bridge vlan del dev " + c2.HostDev + " vid 1",
		"bridge vlan add dev " + c2.HostDev + " vid 10",
	} {
		s.command(host, line)
	}
	for _, line := range []string{
		"ip link add link eth0 name eth0.10 type vlan id 10",
		"ip address flush dev eth0",
		"ip address add " + c2.IP4.String() + "/16 dev eth0.10",
		"ip link set eth0.10 up",
	} {
		s.command(c2.Node, line)
	}
	s.calm(c2.Node)
	s.udp(nginx.Node, c2.IP4, lab.PortEcho, 3)
	s.open(tracer.Config{}, "nginx", "c2")
	s.udp(nginx.Node, c2.IP4, lab.PortEcho, exchanges)
	snapshot := s.stop()
	// the tag hides what comes from c2 from PRE_ROUTING, and what goes there from FORWARD: conntrack never confirms the flow
	const to = "netfilter/output veth softirq netfilter/prerouting bridge veth softirq netfilter/input"
	const from = "netfilter/output veth softirq bridge veth softirq netfilter/input"
	for _, w := range []want{
		{target: "nginx", direction: tracer.Egress, peer: "container:c2", flow: "new", hops: to},
		{target: "c2", direction: tracer.Ingress, peer: "container:nginx", flow: "new", hops: to},
		{target: "c2", direction: tracer.Egress, peer: "container:nginx", hops: from},
		{target: "nginx", direction: tracer.Ingress, peer: "container:c2", hops: from},
	} {
		w.protocol, w.packets = "udp", exchanges
		expect(t, snapshot, w)
	}
	sameBetween(t, snapshot)
}
