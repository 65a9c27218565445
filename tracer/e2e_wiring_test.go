package tracer_test

import (
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/wiring"
	"github.com/vethtrace/vethtrace/tracer/wiring/probe"
)

// agreement is a way, what the explanation says of it, and what is seen then.
type agreement struct {
	name      string
	from      func(w *lab.World) *lab.Node
	src       string // "" for the node's own address
	to        string
	kind      string
	direction tracer.Direction // of the packets that nginx's tracing is to show
	peer      string           // of their path; "" for drops
	drop      string           // hop
}

func agreements() []agreement {
	client := func(w *lab.World) *lab.Node { return w.Client }
	host := func(w *lab.World) *lab.Node { return w.Host }
	nginx := func(w *lab.World) *lab.Node { return w.Container("nginx").Node }
	other := func(w *lab.World) *lab.Node { return w.Container("c2").Node }
	return []agreement{
		{"published from outside", client, "", "198.51.100.1:7007", wiring.Delivered, tracer.Ingress, "uplink", ""},
		{"published from outside, IPv6", client, "2001:db8:51::2", "[2001:db8:51::1]:7007", wiring.Delivered, tracer.Ingress, "uplink", ""},
		{"published from the host", host, "198.51.100.1", "198.51.100.1:7007", wiring.Delivered, tracer.Ingress, "host", ""},
		{"from 127.0.0.1", host, "127.0.0.1", "127.0.0.1:7007", wiring.Proxied, tracer.Ingress, "proxy", ""},
		{"hairpin", nginx, "", "198.51.100.1:7007", wiring.Proxied, tracer.Egress, "proxy", ""},
		{"from another container", other, "", "172.17.0.2:7", wiring.Delivered, tracer.Ingress, "container:c2", ""},
		{"to outside", nginx, "", "198.51.100.2:99", wiring.Leaves, tracer.Egress, "uplink", ""},
		{"DROP in DOCKER-USER", client, "", "198.51.100.1:7008", wiring.Dropped, tracer.Ingress, "", "netfilter/forward"},
		{"nobody listens", client, "", "198.51.100.1:7009", wiring.NothingListens, tracer.Ingress, "uplink", ""},
	}
}

// TestExplainedWays: the explanation of a way, made before any packet, agrees
// with what tracing sees of the packets that then take it.
func TestExplainedWays(t *testing.T) {
	const sent = 20
	for _, a := range agreements() {
		t.Run(a.name, func(t *testing.T) {
			s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}, IPv6: true, Ports: []lab.Port{
				{Host: 7007, Container: 7, Proto: "udp"}, {Host: 7008, Container: 8, Proto: "udp"}, {Host: 7009, Container: 9, Proto: "udp"},
			}})
			s.ruled("-I DOCKER-USER -p udp --dport 8 -j DROP")
			_, err := s.world.StartProxy(s.ctx)
			s.must(err)
			way := explained(s, a)
			if way.Verdict.Kind != a.kind {
				t.Fatalf("explained as %s: %+v", way.Verdict.Kind, way.Verdict)
			}
			nginx := s.world.Container("nginx")
			target := spec(nginx)
			proxies, err := container.Proxies(s.world.Host.NS.Inode())
			s.must(err)
			for _, p := range proxies {
				target.Proxies = append(target.Proxies, p.PID)
			}
			s.openQuiet(tracer.Config{}, target, spec(s.world.Container("c2")))
			s.send(a.from(s.world), a.to, sent, 32)
			s.await("packets", func() bool {
				now := targetOf(t, s.snapshot(), "nginx").Accounting[a.direction]
				return now.Completed+now.Dropped >= sent
			})
			s.must(s.tracer.Stop())
			got := targetOf(t, s.snapshot(), "nginx")
			if a.drop != "" {
				if n := dropped(got, a.direction, a.drop, "NETFILTER_DROP"); n != sent {
					t.Errorf("%d dropped at %s, want %d: %+v", n, a.drop, sent, got.Drops)
				}
				return
			}
			var n uint64
			for _, p := range got.Paths {
				if p.Direction == a.direction && p.Peer == a.peer && p.Protocol == "udp" {
					n += p.Packets
				}
			}
			if n < sent {
				t.Errorf("%d by paths with %s, want %d", n, a.peer, sent)
				for _, p := range got.Paths {
					t.Log(describePath(p))
				}
			}
		})
	}
}

func explained(s *stage, a agreement) wiring.Way {
	s.t.Helper()
	cfg := probe.Config{Host: s.world.Host.NS, Rules: true}
	for _, c := range s.world.Containers {
		found, err := container.FromPID(c.PID)
		s.must(err)
		found.Name = c.Name
		cfg.Targets = append(cfg.Targets, probe.Target{Container: found})
	}
	f, err := probe.Read(cfg)
	s.must(err)
	from := a.from(s.world).IP4
	if a.src != "" {
		from = netip.MustParseAddr(a.src)
	}
	return f.Explain(wiring.Query{From: from, To: netip.MustParseAddrPort(a.to), Proto: rules.UDP})
}
