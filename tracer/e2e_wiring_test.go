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
	direction tracer.Direction // of the packets that the target's tracing is to show
	peer      string           // of their path; "" for drops
	drop      string           // hop
	kind4                      // zero: datagrams, and nginx
}

// kind4 is what packets are of, and whose tracing is to show them.
type kind4 struct {
	proto  uint8  // rules.UDP, ...; 0: UDP
	target string // "": nginx
	shown  string // the protocol of the path; "": udp
	send   func(s *stage, from *lab.Node, to netip.AddrPort, n int)
	ports  []tracer.Port // of the target, that an engine tells beside the world's
}

func (k kind4) withDefaults() kind4 {
	if k.proto == 0 {
		k.proto, k.shown = rules.UDP, "udp"
	}
	if k.target == "" {
		k.target = "nginx"
	}
	if k.send == nil {
		k.send = func(s *stage, from *lab.Node, to netip.AddrPort, n int) { s.send(from, to.String(), n, 32) }
	}
	return k
}

func agreements() []agreement {
	client := func(w *lab.World) *lab.Node { return w.Client }
	host := func(w *lab.World) *lab.Node { return w.Host }
	nginx := func(w *lab.World) *lab.Node { return w.Container("nginx").Node }
	other := func(w *lab.World) *lab.Node { return w.Container("c2").Node }
	return []agreement{
		{"published from outside", client, "", "198.51.100.1:7007", wiring.Delivered, tracer.Ingress, "uplink", "", kind4{}},
		{"published from outside, IPv6", client, "2001:db8:51::2", "[2001:db8:51::1]:7007", wiring.Delivered, tracer.Ingress, "uplink", "", kind4{}},
		{"published from the host", host, "198.51.100.1", "198.51.100.1:7007", wiring.Delivered, tracer.Ingress, "host", "", kind4{}},
		{"from 127.0.0.1", host, "127.0.0.1", "127.0.0.1:7007", wiring.Proxied, tracer.Ingress, "proxy", "", kind4{}},
		{"hairpin", nginx, "", "198.51.100.1:7007", wiring.Proxied, tracer.Egress, "proxy", "", kind4{}},
		{"from another container", other, "", "172.17.0.2:7", wiring.Delivered, tracer.Ingress, "container:c2", "", kind4{}},
		{"to outside", nginx, "", "198.51.100.2:99", wiring.Leaves, tracer.Egress, "uplink", "", kind4{}},
		{"DROP in DOCKER-USER", client, "", "198.51.100.1:7008", wiring.Dropped, tracer.Ingress, "", "netfilter/forward", kind4{}},
		{"nobody listens", client, "", "198.51.100.1:7009", wiring.NothingListens, tracer.Ingress, "uplink", "", kind4{}},
	}
}

// TestExplainedWays: the explanation of a way, made before any packet, agrees
// with what tracing sees of the packets that then take it.
func TestExplainedWays(t *testing.T) {
	for _, a := range agreements() {
		t.Run(a.name, func(t *testing.T) {
			s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}, IPv6: true, Ports: []lab.Port{
				{Host: 7007, Container: 7, Proto: "udp"}, {Host: 7008, Container: 8, Proto: "udp"}, {Host: 7009, Container: 9, Proto: "udp"},
			}})
			s.ruled("-I DOCKER-USER -p udp --dport 8 -j DROP")
			_, err := s.world.StartProxy(s.ctx)
			s.must(err)
			s.agree(a)
		})
	}
}

// agree holds an explanation against what is then seen.
func (s *stage) agree(a agreement) {
	s.t.Helper()
	const sent = 20
	a.kind4 = a.withDefaults()
	way := explained(s, a)
	if way.Verdict.Kind != a.kind {
		s.t.Fatalf("explained as %s: %+v", way.Verdict.Kind, way.Verdict)
	}
	proxies, err := container.Proxies(s.world.Host.NS.Inode())
	s.must(err)
	var specs []tracer.TargetSpec
	for _, c := range s.world.Containers {
		target := spec(c)
		for _, p := range proxies {
			if c.Name == "nginx" {
				target.Proxies = append(target.Proxies, p.PID)
			}
		}
		if c.Name == a.target {
			target.Ports = append(target.Ports, a.ports...)
		}
		specs = append(specs, target)
	}
	s.openQuiet(tracer.Config{}, specs...)
	s.opened()
	a.send(s, a.from(s.world), netip.MustParseAddrPort(a.to), sent)
	s.await("packets", func() bool {
		now := targetOf(s.t, s.snapshot(), a.target).Accounting[a.direction]
		return now.Completed+now.Dropped >= sent
	})
	s.must(s.tracer.Stop())
	got := targetOf(s.t, s.snapshot(), a.target)
	s.checkPredicted(got)
	if a.drop != "" {
		if n := dropped(got, a.direction, a.drop, "NETFILTER_DROP"); n != sent {
			s.t.Errorf("%d dropped at %s, want %d: %+v", n, a.drop, sent, got.Drops)
		}
		return
	}
	var n uint64
	for _, p := range got.Paths {
		if p.Direction == a.direction && p.Peer == a.peer && p.Protocol == a.shown {
			n += p.Packets
		}
	}
	if n < sent {
		s.t.Errorf("%d by paths with %s, want %d", n, a.peer, sent)
		for _, p := range got.Paths {
			s.t.Log(describePath(p))
		}
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
	return f.Explain(wiring.Query{From: from, To: netip.MustParseAddrPort(a.to), Proto: a.proto})
}
