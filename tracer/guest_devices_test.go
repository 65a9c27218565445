//go:build guest

package tracer_test

import (
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Containers on an ipvlan of the uplink, in each mode: who takes part in the
// way of their packets differs, and that is what hops tell.
func TestIPvlan(t *testing.T) {
	for name, c := range map[string]struct {
		kind    lab.ContainerKind
		in, out string
	}{
		"l2": {lab.KindIPvlanL2, "device netfilter/input", "netfilter/output device"},
		// the host routes what it sends: by netfilter's hooks of LOCAL_OUT, behind which there is a border
		"l3": {lab.KindIPvlanL3, "device netfilter/input", "netfilter/output netfilter/output netfilter/postrouting"},
		// and what it gets: the host's LOCAL_IN is the last hook on the way
		"l3s": {lab.KindIPvlanL3S, "netfilter/prerouting netfilter/input", "netfilter/output netfilter/output netfilter/postrouting"},
	} {
		t.Run(name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, wire lab.WireKind) { ipvlan(t, wire, c.kind, c.in, c.out) })
		})
	}
}

func ipvlan(t *testing.T, wire lab.WireKind, kind lab.ContainerKind, in, out string) {
	const exchanges = 40
	s := newStage(t, lab.Config{Wire: wire})
	at, err := s.world.AddContainer(s.ctx, lab.ContainerConfig{Name: "ipvlan", Kind: kind})
	s.must(err)
	s.calm(at.Node)
	if kind != lab.KindIPvlanL2 { // nobody answers for its address
		s.command(s.world.Client, "ip route add "+at.IP4.String()+"/32 via "+s.world.Host.IP4.String())
	}
	s.echoServer(s.world.Client, 9)
	s.beside = kind == lab.KindIPvlanL3S
	s.open(tracer.Config{}, "ipvlan")
	s.udp(s.world.Client, at.IP4, lab.PortEcho, exchanges)
	s.udp(at.Node, s.world.Client.IP4, 9, exchanges)
	target := targetOf(t, s.stop(), "ipvlan")
	if wire == lab.WireTap {
		out += " qdisc"
	}
	everyPacket(t, target, "uplink", 2*exchanges, in, out)
}

// A dummy device of a container: packets to its address come by eth0, as all
// others do; what is sent to it is swallowed, which is said.
func TestDummy(t *testing.T) {
	const exchanges, swallowed = 40, 30
	s := newStage(t, lab.Config{})
	host, nginx := s.world.Host, s.world.Container("nginx")
	inside := netip.MustParseAddr("192.0.2.1")
	for _, line := range []string{
		"ip link add dummy0 type dummy", "ip address add 192.0.2.1/24 dev dummy0", "ip link set dummy0 up",
	} {
		s.command(nginx.Node, line)
	}
	s.command(host, "ip route add 192.0.2.0/24 via "+nginx.IP4.String())
	s.calm(nginx.Node)
	s.open(tracer.Config{}, "nginx")
	s.udp(host, inside, lab.PortEcho, exchanges)
	s.send(nginx.Node, "192.0.2.9:9", swallowed, 32)
	s.held = [2]uint64{0, swallowed}
	snapshot := s.stop()
	target := targetOf(t, snapshot, "nginx")
	for _, w := range []want{
		{direction: tracer.Ingress, peer: "host", hops: ways(tracer.DetailHooks)["in host"], packets: exchanges - 1},
		{direction: tracer.Egress, peer: "host", hops: ways(tracer.DetailHooks)["out host"], packets: exchanges},
	} {
		w.target, w.protocol = "nginx", "udp"
		expect(t, snapshot, w)
	}
	if a := target.Accounting[tracer.Egress]; a.Expired+a.InFlight != swallowed {
		t.Errorf("%d were swallowed: %+v", swallowed, a)
	}
}

// everyPacket holds that so many datagrams went each way, with this peer and by these hops, and no other.
func everyPacket(t *testing.T, target tracer.Target, peer string, packets uint64, in, out string) {
	t.Helper()
	for direction, hops := range []string{in, out} {
		var seen uint64
		for _, p := range target.Paths {
			if p.Protocol != "udp" || p.Direction != tracer.Direction(direction) {
				continue
			}
			seen += p.Packets
			if p.Peer != peer || hopNames(p) != hops {
				t.Errorf("%s\nwant %s: %s", describePath(p), peer, hops)
			}
		}
		if seen != packets {
			t.Errorf("%v: %d packets, want %d", tracer.Direction(direction), seen, packets)
		}
	}
}
