package tracer_test

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// An skb that is freed is handed out again at once, for the next packet: no
// packet takes another one's stamps.
func TestHardPointerReuse(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const datagrams = 1000
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.ruled("-I FORWARD -p udp --dport 99 -j DROP") // what ends by a drop is handed out again as well
		seen := s.witness(s.world.Host, "eth0")
		s.open(tracer.Config{}, "nginx")
		s.udp(s.world.Client, s.world.Host.IP4, 7007, datagrams)
		s.exact(s.world.Client.TCPConnects(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, 7007), 100))
		for range 50 {
			s.send(s.world.Container("nginx").Node, "198.51.100.2:99", 1, 32)
			s.udp(s.world.Client, s.world.Host.IP4, 7007, 2)
		}
		snapshot := s.stop()
		happened(t, "an skb at an address that another one had", seen().Reused, datagrams/2)
		target := targetOf(t, snapshot, "nginx")
		for d := range target.Accounting {
			if n, _, _ := sum(target, towards(tracer.Direction(d), "udp")); n != datagrams+100 {
				t.Errorf("%v: %d datagrams, want %d", tracer.Direction(d), n, datagrams+100)
			}
		}
		s.published(snapshot, "udp", datagrams+100)
		s.published(snapshot, "tcp", 0)
		if n := dropped(target, tracer.Egress, "netfilter/forward", "NETFILTER_DROP"); n != 50 {
			t.Errorf("%d dropped, want 50: %+v", n, target.Drops)
		}
	})
}

// Senders of several flows share their CPU with the softirqs of the others
// (mask 1), or have them spread over all CPUs (mask 3).
func TestHardRPS(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, mask := range []string{"1", "3"} {
			t.Run("mask "+mask, func(t *testing.T) { spread(t, wire, mask) })
		}
	})
}

func spread(t *testing.T, wire lab.WireKind, mask string) {
	const datagrams, flows = 400, 4
	const all = flows * datagrams
	s := newStage(t, lab.Config{Wire: wire, Names: []string{"nginx", "c2"}, Ports: hardPorts()})
	s.hidden = hiddenShare
	nginx, c2 := s.world.Container("nginx"), s.world.Container("c2")
	for _, at := range []struct {
		node *lab.Node
		dev  string
	}{{s.world.Host, "eth0"}, {s.world.Host, nginx.HostDev}, {s.world.Host, c2.HostDev}, {nginx.Node, "eth0"}, {c2.Node, "eth0"}} {
		s.must(at.node.SetRPS(s.ctx, at.dev, mask))
	}
	seen := s.witness(nginx.Node, "eth0")
	s.open(tracer.Config{}, "nginx", "c2")
	var load sync.WaitGroup
	for range flows {
		for _, way := range []struct {
			from *lab.Node
			to   netip.AddrPort
		}{
			{s.world.Client, netip.AddrPortFrom(s.world.Host.IP4, 7007)},
			{s.world.Host, netip.AddrPortFrom(nginx.IP4, lab.PortEcho)},
			{nginx.Node, netip.AddrPortFrom(c2.IP4, lab.PortEcho)},
		} {
			load.Go(func() {
				if result, err := way.from.UDPEcho(s.ctx, way.to, datagrams, 32); err != nil || result.Errors > 0 {
					t.Errorf("to %v: %d errors: %v %v", way.to, result.Errors, result.Last, err)
				}
			})
		}
	}
	load.Wait()
	snapshot := s.stop()
	byCPU := seen().ByCPU
	if mask == "1" {
		happened(t, "a packet on CPU 0, where senders run too", byCPU[0], 3*all*95/100)
	} else {
		happened(t, "a packet on CPU 0", byCPU[0], datagrams)
		happened(t, "a packet on CPU 1", byCPU[1], datagrams)
	}
	for d := range 2 {
		for peer, want := range map[string]uint64{"uplink": all, "host": all, "container:c2": all} {
			n, _, _ := sum(targetOf(t, snapshot, "nginx"), func(p tracer.Path) bool {
				return p.Direction == tracer.Direction(d) && p.Peer == peer
			})
			if n > want || n < want*(100-hiddenShare)/100 {
				t.Errorf("%v %s: %d packets, want %d", tracer.Direction(d), peer, n, want)
			}
		}
	}
	sameBetween(t, snapshot)
	in, out := waysOf()
	if wire == lab.WireTap {
		out += " qdisc"
	}
	hops := ways(tracer.DetailHooks)
	for _, w := range []want{
		{direction: tracer.Ingress, peer: "uplink", hops: in},
		{direction: tracer.Egress, peer: "uplink", hops: out},
		{direction: tracer.Ingress, peer: "host", hops: hops["in host"]},
		{direction: tracer.Egress, peer: "host", hops: hops["out host"]},
		{direction: tracer.Ingress, peer: "container:c2", hops: hops["container"]},
		{direction: tracer.Egress, peer: "container:c2", hops: hops["container"]},
	} {
		w.target, w.protocol, w.crossings = "nginx", "udp", true
		s.mostly(snapshot, w)
	}
	crossed(t, snapshot, seen().Crossed)
}

// crossed holds that each packet that came out of nginx's veth, as the kernel
// told somebody else too, has that as a border of its own.
func crossed(t *testing.T, snapshot tracer.Snapshot, told uint64) {
	t.Helper()
	const notIP = 10 // neighbours ask for each other
	var n uint64
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		if p.Direction == tracer.Ingress && strings.HasSuffix(hopNames(p), " softirq netfilter/input") {
			n += p.Packets
		}
	}
	if n > told || n+notIP < told {
		t.Errorf("%d packets have a crossing, the kernel told of %d", n, told)
	}
}
