package tracer_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Without bridge netfilter the host's hooks run behind the bridge, once.
func TestWithoutBridgeNetfilter(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		off := false
		s := newStage(t, lab.Config{Wire: wire, Names: []string{"nginx", "c2"}, BridgeNFCallIptables: &off})
		s.open(tracer.Config{}, "nginx", "c2")
		s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{KeepAlive: true}))
		s.udp(s.world.Container("nginx").Node, s.world.Container("c2").IP4, lab.PortEcho, 20)
		snapshot := s.stop()
		out := "netfilter/output veth softirq bridge netfilter/prerouting routing netfilter/forward netfilter/postrouting"
		if wire == lab.WireTap {
			out += " qdisc"
		}
		expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, protocol: "tcp", peer: "uplink", hops: ways(tracer.DetailHooks)["in uplink"]})
		expect(t, snapshot, want{target: "nginx", direction: tracer.Egress, protocol: "tcp", peer: "uplink", hops: out})
		expect(t, snapshot, want{
			target: "nginx", direction: tracer.Egress, protocol: "udp", peer: "container:c2", packets: 20,
			hops: "netfilter/output veth softirq bridge veth softirq netfilter/input",
		})
		sameBetween(t, snapshot)
	})
}

// A container that is no target is named by its veth, or as the caller names it.
func TestForeignPeer(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, detail := range []tracer.Detail{tracer.DetailDevices, tracer.DetailHooks} {
			for _, named := range []bool{false, true} {
				if named && detail == tracer.DetailDevices {
					continue
				}
				name := string(detail)
				if named {
					name += "/named"
				}
				t.Run(name, func(t *testing.T) { foreignPeer(t, wire, detail, named) })
			}
		}
	})
}

func foreignPeer(t *testing.T, wire lab.WireKind, detail tracer.Detail, named bool) {
	s := newStage(t, lab.Config{Wire: wire, Names: []string{"nginx", "c2"}})
	nginx, c2 := s.world.Container("nginx"), s.world.Container("c2")
	peer, cfg := "container:"+c2.HostDev, tracer.Config{Detail: detail}
	if named {
		peer = "container:other"
		cfg.PeerName = func(port topology.Link) string {
			if port.Name == c2.HostDev {
				return "other"
			}
			return ""
		}
	}
	s.open(cfg, "nginx")
	s.udp(nginx.Node, c2.IP4, lab.PortEcho, 20)
	s.udp(c2.Node, nginx.IP4, lab.PortEcho, 20)
	for _, p := range targetOf(t, s.stop(), "nginx").Paths {
		if p.Peer != peer || p.Protocol != "udp" {
			t.Errorf("want peer %s: %s", peer, describePath(p))
		}
	}
}

// A container that asks for its own published port meets itself.
func TestHairpin(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, bridged := range []bool{true, false} {
			s := newStage(t, lab.Config{Wire: wire, BridgeNFCallIptables: &bridged})
			nginx := s.world.Container("nginx")
			// as Docker without its userland proxy
			for _, command := range []string{
				"iptables -t nat -I PREROUTING -i docker0 -d 198.51.100.1 -p udp --dport 7007 -j DNAT --to-destination " + nginx.IP4.String() + ":7",
				"iptables -t nat -I POSTROUTING -s " + nginx.IP4.String() + " -d " + nginx.IP4.String() + " -p udp --dport 7 -j MASQUERADE",
				"ip link set " + nginx.HostDev + " type bridge_slave hairpin on",
			} {
				words := strings.Fields(command)
				_, err := s.world.Host.Output(s.ctx, words[0], words[1:]...)
				s.must(err)
			}
			s.open(tracer.Config{}, "nginx")
			s.udp(nginx.Node, netip.MustParseAddr("198.51.100.1"), 7007, 20)
			snapshot := s.stop()
			hops := hairpinWay(bridged)
			for _, direction := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
				s.mostly(snapshot, want{target: "nginx", direction: direction, protocol: "udp", peer: "self", packets: 40, hops: hops})
			}
			target := targetOf(t, snapshot, "nginx")
			var in, out uint64
			for _, p := range target.Paths {
				if p.Peer != "self" {
					t.Errorf("want self: %s", describePath(p))
				}
				if p.Direction == tracer.Ingress {
					in += p.Packets
				} else {
					out += p.Packets
				}
			}
			if in != 40 || out != 40 {
				t.Errorf("bridge netfilter %v: %d in, %d out, want 40 each", bridged, in, out)
			}
		}
	})
}

// hairpinWay are the hops of a container's packets to itself. With bridge
// netfilter DNAT happens inside the bridge, which then routes the frame, gives it
// to its own device for the neighbour's address, and forwards it from there;
// without it the frame is for the bridge's own address, and is routed back.
func hairpinWay(bridged bool) string {
	if bridged {
		return "netfilter/output veth softirq netfilter/prerouting routing bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input"
	}
	return "netfilter/output veth softirq bridge netfilter/prerouting routing netfilter/forward netfilter/postrouting bridge veth softirq netfilter/input"
}

// IPv6 has the same hops, and its own paths.
func TestIPv6(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, IPv6: true, Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
		nginx := s.world.Container("nginx")
		s.open(tracer.Config{}, "nginx")
		s.udp(s.world.Host, nginx.IP6, lab.PortEcho, 20)
		s.exact(s.world.Host.Ping(s.ctx, nginx.IP6, 20))
		snapshot := s.stop()
		hops := ways(tracer.DetailHooks)
		expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, family: "ipv6", protocol: "udp", peer: "host", hops: hops["in host"], packets: 19})
		expect(t, snapshot, want{target: "nginx", direction: tracer.Egress, family: "ipv6", protocol: "udp", peer: "host", hops: hops["out host"], packets: 20})
		expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, family: "ipv6", protocol: "udp", peer: "host", flow: "new", packets: 1})
		expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, family: "ipv6", protocol: "icmpv6", peer: "host", hops: hops["in host"], packets: 19})
	})
}

// A user's own bridge, a container in two networks, and one without a bridge.
func TestOtherNetworks(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire})
		w := s.world
		s.must(w.AddBridge(s.ctx, "br-user", netip.MustParsePrefix("172.18.0.1/16")))
		for _, c := range []lab.ContainerConfig{
			{Name: "user", Bridge: "br-user", Ports: []lab.Port{{Host: 9090, Container: 7}}},
			{Name: "two", MoreBridges: []string{"br-user"}},
			{Name: "mac", Kind: lab.KindMacvlan},
		} {
			added, err := w.AddContainer(s.ctx, c)
			s.must(err)
			s.calm(added.Node)
		}
		s.calm(w.Host)
		s.open(tracer.Config{}, "nginx", "user", "two", "mac")
		nginx, user, two, mac := w.Container("nginx"), w.Container("user"), w.Container("two"), w.Container("mac")
		s.tcp(w.Client, w.Host.IP4, 9090, 20)
		s.udp(two.Node, nginx.IP4, lab.PortEcho, 20)
		s.udp(two.Node, user.IP4, lab.PortEcho, 30)
		s.udp(w.Client, mac.IP4, lab.PortEcho, 40)
		snapshot := s.stop()
		hops := ways(tracer.DetailHooks)
		in := expect(t, snapshot, want{target: "user", direction: tracer.Ingress, protocol: "tcp", peer: "uplink", hops: hops["in uplink"]})
		if len(in.Hops) > 0 && in.Hops[3].Device != "br-user" {
			t.Errorf("the packets of user pass %s", in.Hops[3].Device)
		}
		expect(t, snapshot, want{target: "two", direction: tracer.Egress, protocol: "udp", peer: "container:nginx", hops: hops["container"], packets: 19})
		expect(t, snapshot, want{target: "two", direction: tracer.Egress, protocol: "udp", peer: "container:user", hops: hops["container"], packets: 29})
		if n := len(targetOf(t, snapshot, "two").Interfaces); n != 2 {
			t.Errorf("two has %d interfaces", n)
		}
		in = expect(t, snapshot, want{target: "mac", direction: tracer.Ingress, protocol: "udp", peer: "uplink", hops: "device netfilter/input", packets: 40})
		if name := targetOf(t, snapshot, "mac").Interfaces[0].Name; len(in.Hops) > 0 && in.Hops[0].Device != name {
			t.Errorf("the packets of mac arrive at device %q, want its own, %q", in.Hops[0].Device, name)
		}
	})
}
