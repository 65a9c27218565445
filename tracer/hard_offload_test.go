package tracer_test

import (
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

const (
	poured      = 4 << 20 // bytes of a TCP stream that the kernel sends in large packets
	nearly64KiB = 60_000  // as many whole segments as there is room for, with headers
)

// exchange pours a stream in from the client by the published port, and one out.
func (s *stage) exchange() {
	s.t.Helper()
	accept := s.listen(s.world.Container("nginx").Node, 9)
	client := s.dial(s.world.Client, s.world.Host.IP4, 9009)
	s.pour(client, accept(), poured)
	client = s.dial(s.world.Client, s.world.Host.IP4, 9009)
	s.pour(accept(), client, poured)
}

// streamed holds that both streams arrived whole on the usual ways, and in how many packets.
func (s *stage) streamed(snapshot tracer.Snapshot, in, out string) (packets, segments [2]uint64) {
	s.t.Helper()
	target := targetOf(s.t, snapshot, "nginx")
	for d, hops := range []string{in, out} {
		direction := tracer.Direction(d)
		var bytes uint64
		packets[d], segments[d], bytes = sum(target, towards(direction, "tcp"))
		if bytes < poured {
			s.t.Errorf("%v: %d bytes, want at least %d", direction, bytes, poured)
		}
		if segments[d] < bytes/1500 || segments[d] > bytes/1400+4000 {
			s.t.Errorf("%v: %d segments of %d bytes", direction, segments[d], bytes)
		}
		for _, p := range target.Paths {
			if p.Direction == direction && p.Protocol == "tcp" && hopNames(p) != hops && p.Packets*100 > packets[d]*s.hidden {
				s.t.Errorf("want %s: %s", hops, describePath(p))
			}
		}
	}
	return packets, segments
}

// gro makes a node's uplink put packets together.
func (s *stage) gro(node *lab.Node) {
	s.t.Helper()
	s.offload(node, "eth0", lab.OffloadGRO, true)
	if s.world.Wire == lab.WireTap {
		s.must(node.SetGROWait(s.ctx, "eth0", 100*time.Microsecond))
	}
}

func waysOf() (in, out string) {
	hops := ways(tracer.DetailHooks)
	in, out = hops["in uplink"], hops["out uplink"]
	return in, out
}

// Packets of up to 64 KiB, which no device of the way cuts.
func TestHardLargePackets(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.hidden = hiddenFew
		seen := s.witness(s.world.Container("nginx").Node, "eth0")
		s.open(tracer.Config{}, "nginx")
		s.exchange()
		snapshot := s.stop()
		happened(t, "a packet of several segments was sent", seen().QueuedLarge, 20)
		happened(t, "bytes of the largest", seen().Longest, nearly64KiB)
		in, out := waysOf()
		packets, segments := largeWays(s, snapshot, in, out, wire)
		if segments[tracer.Egress] < 3*packets[tracer.Egress]/2 {
			t.Errorf("out: %d segments in %d packets", segments[tracer.Egress], packets[tracer.Egress])
		}
	})
}

// largeWays is streamed() where what is cut behind a queue has no hop of it.
func largeWays(s *stage, snapshot tracer.Snapshot, in, out string, wire lab.WireKind) (packets, segments [2]uint64) {
	s.t.Helper()
	if wire == lab.WireTap {
		target := targetOf(s.t, snapshot, "nginx")
		for i, p := range target.Paths {
			if p.Direction == tracer.Egress && len(p.Hops) == 9 && p.Hops[8].Name == "qdisc" {
				target.Paths[i].Hops = p.Hops[:8]
			}
		}
	}
	return s.streamed(snapshot, in, out)
}

// GRO at the receiver's end of the veth, and a sender's end that takes no large
// packets: each is cut into segments, and these become one again.
func TestHardGROOnVeth(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.hidden = hiddenFew
		nginx := s.world.Container("nginx")
		for _, dev := range []struct {
			node *lab.Node
			name string
		}{{nginx.Node, "eth0"}, {s.world.Host, nginx.HostDev}} {
			s.offload(dev.node, dev.name, lab.OffloadTSO, false)
			s.offload(dev.node, dev.name, lab.OffloadGRO, true)
		}
		if wire == lab.WireTap { // else the packets of the wire come one by one
			s.gro(s.world.Host)
		}
		inside, outside := s.witness(nginx.Node, "eth0"), s.witness(s.world.Host, nginx.HostDev)
		s.open(tracer.Config{}, "nginx")
		s.exchange()
		snapshot := s.stop()
		for side, seen := range map[string]lab.Seen{"in": inside(), "out": outside()} {
			happened(t, side+": napi_gro_receive_entry", seen.GRO, poured/1500)
			happened(t, side+": packets became one", seen.Large, 20)
		}
		packets, segments := largeWays(s, snapshot,
			"netfilter/prerouting routing netfilter/forward netfilter/postrouting bridge softirq gro netfilter/input",
			"netfilter/output softirq gro netfilter/prerouting bridge routing netfilter/forward netfilter/postrouting", wire)
		for d, a := range targetOf(t, snapshot, "nginx").Accounting {
			// what is unseen when it is merged is freed with the packet that it has become part of
			unseen := segments[d] - a.Completed - a.Merged
			if a.Merged < 100 || a.Completed != packets[d] || unseen*100 > segments[d]*s.hidden {
				t.Errorf("%v: %d segments in %d packets: %+v", tracer.Direction(d), segments[d], packets[d], a)
			}
		}
		// the stream out leaves the container in large packets, each cut before the veth
		if a := targetOf(t, snapshot, "nginx").Accounting[tracer.Egress]; a.Cloned < 1000 {
			t.Errorf("out: %+v", a)
		}
	})
}

// GRO at the uplink: a journey begins with what it hands over.
func TestHardGROOnUplink(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.hidden = hiddenFew
		s.offload(s.world.Client, "eth0", lab.OffloadTSO, false)
		s.gro(s.world.Host)
		seen := s.witness(s.world.Host, "eth0")
		s.open(tracer.Config{}, "nginx")
		s.exchange()
		snapshot := s.stop()
		happened(t, "napi_gro_receive_entry", seen().GRO, poured/1500)
		happened(t, "packets became one", seen().Large, 20)
		in, out := waysOf()
		packets, segments := largeWays(s, snapshot, in, out, wire)
		if segments[tracer.Ingress] <= packets[tracer.Ingress] {
			t.Errorf("in: %d segments in %d packets", segments[tracer.Ingress], packets[tracer.Ingress])
		}
	})
}
