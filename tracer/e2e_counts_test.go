package tracer_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Each connection is one new flow; requests and answers are counted one by one.
func TestExactCounts(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const connections, datagrams = 200, 500
		s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}, {Host: 7007, Container: 7}}})
		s.open(tracer.Config{}, "nginx")
		s.udp(s.world.Client, s.world.Host.IP4, 7007, datagrams)
		s.exact(s.world.Client.TCPConnects(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, 7007), connections))
		snapshot := s.stop()
		in, out := ways(tracer.DetailHooks)["in uplink"], ways(tracer.DetailHooks)["out uplink"]
		if wire == lab.WireTap {
			out += " qdisc"
		}
		for _, w := range []want{
			{direction: tracer.Ingress, protocol: "udp", packets: datagrams - 1, hops: in},
			{direction: tracer.Ingress, protocol: "udp", packets: 1, flow: "new", hops: in},
			{direction: tracer.Egress, protocol: "udp", packets: datagrams, hops: out},
			{direction: tracer.Ingress, protocol: "tcp", packets: connections, flow: "new", hops: in},
		} {
			w.target, w.peer = "nginx", "uplink"
			p := expect(t, snapshot, w)
			if p.Segments != p.Packets {
				t.Errorf("%d segments of %d small packets", p.Segments, p.Packets)
			}
			if bytes := uint64(20 + 8 + 32); w.protocol == "udp" && p.Bytes != p.Packets*bytes {
				t.Errorf("%v: %d bytes of %d packets of %d", w.direction, p.Bytes, p.Packets, bytes)
			}
		}
	})
}

// What no filter lets through is counted as skipped: the sum is still the device's.
func TestFilters(t *testing.T) {
	client := netip.MustParsePrefix("198.51.100.2/32")
	for name, c := range map[string]struct {
		cfg  tracer.Config
		keep func(tracer.Path) bool
		want map[string]uint64 // datagrams each way, by peer
	}{
		"proto": {tracer.Config{Protocol: "udp"}, func(p tracer.Path) bool { return p.Protocol == "udp" }, map[string]uint64{"uplink": 50, "host": 30}},
		// the published port stands for the container's own too: a packet has one before NAT, the other behind it
		"port": {tracer.Config{Ports: []uint16{7007}}, func(p tracer.Path) bool { return p.Peer == "host" || p.Protocol == "udp" }, map[string]uint64{"uplink": 50, "host": 30}},
		"peer": {tracer.Config{Peer: client}, func(p tracer.Path) bool { return p.Peer == "uplink" }, map[string]uint64{"uplink": 50}},
	} {
		t.Run(name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, wire lab.WireKind) {
				s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}, {Host: 8080, Container: 80}}})
				nginx := s.world.Container("nginx")
				if c.cfg.Peer.IsValid() {
					c.cfg.Peer = netip.PrefixFrom(s.world.Client.IP4, 32)
				}
				s.open(c.cfg, "nginx")
				s.udp(s.world.Client, s.world.Host.IP4, 7007, 50)
				s.udp(s.world.Host, nginx.IP4, lab.PortEcho, 30)
				s.tcp(s.world.Host, nginx.IP4, lab.PortEcho, 10)
				s.exact(s.world.Host.HTTP(s.ctx, "http://"+nginx.IP4.String()+"/", 3, lab.LoadConfig{}))
				target := targetOf(t, s.stop(), "nginx")
				got := map[string]uint64{}
				for _, p := range target.Paths {
					if !c.keep(p) {
						t.Errorf("let through: %s", describePath(p))
					}
					if p.Direction == tracer.Ingress && p.Protocol == "udp" {
						got[p.Peer] += p.Packets
					}
				}
				for peer, n := range c.want {
					if got[peer] != n {
						t.Errorf("%d packets from %s, want %d", got[peer], peer, n)
					}
				}
				for d, skips := range target.Skipped {
					var filtered uint64
					for _, skip := range skips {
						if skip.Reason == "filtered" {
							filtered += skip.Count
						}
					}
					if filtered == 0 {
						t.Errorf("%v: nothing filtered: %v", tracer.Direction(d), skips)
					}
				}
			})
		})
	}
}

// Filters that cannot be understood are refused before anything is loaded.
func TestBadFilter(t *testing.T) {
	s := newStage(t, lab.Config{})
	_, err := tracer.Open(s.ctx, tracer.Config{Host: s.world.Host.NS, Protocol: "carrier pigeon"}, spec(s.world.Container("nginx")))
	if err == nil || !strings.Contains(err.Error(), "carrier pigeon") {
		t.Errorf("error: %v", err)
	}
}
