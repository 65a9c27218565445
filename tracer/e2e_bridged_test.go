package tracer_test

import (
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// A bridge with a port that leads out of the host (a network card of LXC's
// layout, a virtual machine's tap): the client is a neighbour of the container's.
// Journeys begin and end at that port, and none is taken for a drop.
func TestBridgeWithAWire(t *testing.T) {
	s := newStage(t, lab.Config{Wire: lab.WireTap})
	s.must(s.world.Host.NS.Do(func() error {
		wire, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		bridge, err := netlink.LinkByName("docker0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(wire, bridge)
	}))
	s.must(s.world.Client.NS.Do(func() error {
		wire, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("172.17.0.200/16")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(wire, addr)
	}))
	nginx := s.world.Container("nginx")
	s.udp(s.world.Client, nginx.IP4, lab.PortEcho, 3) // neighbours are known from here on
	s.open(tracer.Config{}, "nginx")
	s.udp(s.world.Client, nginx.IP4, lab.PortEcho, 50)
	s.settle()
	snapshot := s.stop()
	target := targetOf(t, snapshot, "nginx")
	for direction, a := range target.Accounting {
		if a.Dropped != 0 || a.Expired != 0 || a.InFlight != 0 || a.Completed < 50 {
			t.Errorf("%v: %+v", tracer.Direction(direction), a)
		}
	}
	if len(target.Drops) != 0 {
		t.Errorf("drops that were none: %+v", target.Drops)
	}
	seen := map[tracer.Direction]uint64{}
	for _, p := range target.Paths {
		if p.Protocol != "udp" {
			continue
		}
		if p.Peer != "uplink" {
			t.Errorf("%v: peer %s", p.Direction, p.Peer)
		}
		seen[p.Direction] += p.Packets
		// nothing is routed
		want := "netfilter/prerouting bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input"
		if p.Direction == tracer.Egress {
			want = "netfilter/output veth softirq netfilter/prerouting bridge netfilter/forward netfilter/postrouting qdisc"
		}
		if got := hopNames(p); got != want {
			t.Errorf("%v:\n got %s\nwant %s", p.Direction, got, want)
		}
	}
	if seen[tracer.Ingress] != 50 || seen[tracer.Egress] != 50 {
		t.Errorf("packets %v, want 50 each way", seen)
	}
}
