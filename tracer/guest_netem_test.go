//go:build guest

package tracer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// command runs a command line in a node.
func (s *stage) command(node *lab.Node, line string) string {
	s.t.Helper()
	words := strings.Fields(line)
	out, err := node.Output(s.ctx, words[0], words[1:]...)
	s.must(err)
	return out
}

// What netem holds back at a device waits in the hop that crosses it, each
// packet at least as long as it was told to, and in no other hop.
func TestNetemDelay(t *testing.T) {
	for _, c := range []struct {
		name      string
		wire      lab.WireKind
		direction tracer.Direction
		hop       string
		at        func(w *lab.World) (*lab.Node, string)
	}{
		{"host's end of the veth", lab.WireTap, tracer.Ingress, "veth", func(w *lab.World) (*lab.Node, string) { return w.Host, w.Container("nginx").HostDev }},
		{"container's end of the veth", lab.WireVeth, tracer.Egress, "veth", func(w *lab.World) (*lab.Node, string) { return w.Container("nginx").Node, "eth0" }},
		{"uplink", lab.WireTap, tracer.Egress, "qdisc", func(w *lab.World) (*lab.Node, string) { return w.Host, "eth0" }},
		{"docker0", lab.WireVeth, tracer.Ingress, "bridge", func(w *lab.World) (*lab.Node, string) { return w.Host, "docker0" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			delay := func(s *stage) {
				node, dev := c.at(s.world)
				s.command(node, "tc qdisc add dev "+dev+" root netem delay 20ms limit 1000")
			}
			netemDelay(t, c.wire, delay, c.direction, c.hop)
		})
	}
}

func netemDelay(t *testing.T, wire lab.WireKind, delay func(*stage), direction tracer.Direction, hop string) {
	const exchanges, held = 25, 20 * time.Millisecond
	s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
	s.absurd = 10 * time.Second
	delay(s)
	s.open(tracer.Config{}, "nginx")
	s.udp(s.world.Client, s.world.Host.IP4, 7007, exchanges)
	target := targetOf(t, s.stop(), "nginx")
	var queue, others histogram.Histogram
	for _, p := range target.Paths {
		for _, h := range p.Hops {
			if p.Direction == direction && h.Name == hop {
				queue.Merge(&h.Latency.Hist)
			} else {
				others.Merge(&h.Latency.Hist)
			}
		}
	}
	least, _ := queue.Quantile(0.01)
	other, _ := others.Quantile(0.75)
	t.Logf("%d packets in the queue, %.0f ns at p01; %.0f ns at p75 of all other hops", queue.Count(), least, other)
	if queue.Count() != exchanges || least < 0.96*float64(held) || other > float64(held)/4 {
		t.Errorf("want %d packets, each %v or longer, and a quarter of it at most in other hops", exchanges, held)
	}
	for _, d := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
		if packets, _, _ := sum(target, towards(d, "udp")); packets != exchanges {
			t.Errorf("%v: %d packets, want %d", d, packets, exchanges)
		}
	}
}

// What netem loses is dropped at that hop, each packet.
func TestNetemLoss(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 40
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		s.udp(s.world.Client, s.world.Host.IP4, 7007, 1) // neighbours are known from here on
		s.command(s.world.Host, "tc qdisc add dev "+nginx.HostDev+" root netem loss 100%")
		s.open(tracer.Config{}, "nginx")
		s.send(s.world.Client, "198.51.100.1:7007", sent, 100)
		s.await("drops", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Dropped >= sent
		})
		s.merged = [2]uint64{sent, 0} // which the device does not count
		target := targetOf(t, s.stop(), "nginx")
		if n := dropped(target, tracer.Ingress, "veth", "QDISC_DROP"); n != sent || len(target.Drops) != 1 {
			t.Errorf("%d dropped, want %d: %+v", n, sent, target.Drops)
		}
	})
}

// What netem doubles is there twice: the copy is a journey of its own, from
// where it is first seen on.
func TestNetemDuplicate(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 30
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		s.command(s.world.Host, "tc qdisc add dev "+nginx.HostDev+" root netem duplicate 100% limit 1000")
		s.open(tracer.Config{}, "nginx")
		s.opened()
		s.copied = true
		s.burst(s.world.Client, "198.51.100.1:7007", sent, 100)
		s.await("answers to all", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Egress].Completed >= 2*sent
		})
		target := targetOf(t, s.stop(), "nginx")
		in := target.Accounting[tracer.Ingress]
		if in.Completed != 2*sent || in.Started+in.Cloned != 2*sent || in.Dropped != 0 {
			t.Errorf("%d sent, each twice: %+v", sent, in)
		}
		if packets, _, _ := sum(target, towards(tracer.Egress, "udp")); packets != 2*sent {
			t.Errorf("%d answers, want %d", packets, 2*sent)
		}
	})
}
