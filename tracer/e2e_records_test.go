package tracer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

func recordsStage(t *testing.T, wire lab.WireKind, cfg tracer.Config) *stage {
	t.Helper()
	s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
	s.open(cfg, "nginx")
	return s
}

// checkJourneys holds that each record is one journey of a path that is in the snapshot.
func checkJourneys(t *testing.T, snapshot tracer.Snapshot) {
	t.Helper()
	paths := map[string]tracer.Path{}
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		paths[p.ID] = p
	}
	for _, j := range snapshot.Journeys {
		p, ok := paths[j.Path]
		if !ok || j.Target != "nginx" || j.Peer != p.Peer || j.Direction != p.Direction || j.Outcome != "completed" {
			t.Fatalf("no path of this journey: %+v", j)
		}
		var names []string
		for i, stamp := range j.Stamps {
			if i > 0 {
				names = append(names, stamp.Hop)
				if stamp.T < j.Stamps[i-1].T {
					t.Errorf("stamp %d is before the one before: %+v", i, j.Stamps)
				}
				if p.Hops[i-1].To != stamp.Hook || p.Hops[i-1].Device != stamp.Device {
					t.Errorf("stamp %d: %+v, hop %+v", i, stamp, p.Hops[i-1])
				}
			}
		}
		if got := strings.Join(names, " "); got != hopNames(p) {
			t.Errorf("journey: %s\npath: %s", got, hopNames(p))
		}
	}
}

// Packets that took long are recorded whole, and only those.
func TestSlowJourneys(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const quick, slow = 100, 10
		const delay, limit = 6 * time.Millisecond, 4 * time.Millisecond
		s := recordsStage(t, wire, tracer.Config{Slow: limit})
		s.absurd = 100 * time.Millisecond
		injector, err := s.world.InjectNetfilter(s.world.Host.NS, link.NetfilterProtoIPv4, link.NetfilterInetForward, -50)
		s.must(err)
		defer func() { s.must(injector.Close()) }()
		s.must(injector.Only(unix.IPPROTO_UDP))
		s.udp(s.world.Client, s.world.Host.IP4, 7007, quick)
		s.must(injector.Set(delay))
		s.udp(s.world.Client, s.world.Host.IP4, 7007, slow)
		s.must(injector.Set(0))
		snapshot := s.stop()
		checkJourneys(t, snapshot)
		if n := len(snapshot.Journeys); n < 2*slow || n > 2*slow+2 { // each way; the machine may be slow by itself
			t.Errorf("%d journeys recorded, want %d", n, 2*slow)
		}
		var delayed int
		for _, j := range snapshot.Journeys {
			if !j.Slow || j.Latency() < limit {
				t.Errorf("not slow: %v %v", j.Slow, j.Latency())
			}
			for i, stamp := range j.Stamps {
				if stamp.Hop == "netfilter/forward" && stamp.T-j.Stamps[i-1].T >= delay {
					delayed++
				}
			}
		}
		if delayed != 2*slow {
			t.Errorf("%d journeys were delayed in forward, want %d", delayed, 2*slow)
		}
		if snapshot.Observer.RingLost != 0 {
			t.Errorf("%d records lost", snapshot.Observer.RingLost)
		}
	})
}

// One in ten journeys is recorded.
func TestSampledJourneys(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const packets, every = 1000, 10
		s := recordsStage(t, wire, tracer.Config{Sample: every})
		s.udp(s.world.Client, s.world.Host.IP4, 7007, packets)
		snapshot := s.stop()
		checkJourneys(t, snapshot)
		// each CPU counts for itself, and may be short of one
		if n := len(snapshot.Journeys); n > 2*packets/every || n < 2*packets/every-64 {
			t.Errorf("%d of %d journeys recorded, want a tenth", n, 2*packets)
		}
		for _, j := range snapshot.Journeys {
			if j.Slow {
				t.Errorf("recorded for its latency: %+v", j)
			}
		}
	})
}

// The last records are kept; how many there were is counted, also of an interval.
func TestMoreJourneysThanAreKept(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const first, second, kept = 700, 100, 1024
		s := recordsStage(t, wire, tracer.Config{Sample: 1})
		s.udp(s.world.Client, s.world.Host.IP4, 7007, first)
		s.await("journeys", func() bool { return s.snapshot().Observer.Recorded >= 2*first })
		before := s.snapshot()
		s.udp(s.world.Client, s.world.Host.IP4, 7007, second)
		snapshot := s.stop()
		checkJourneys(t, snapshot)
		var ended uint64
		for _, a := range targetOf(t, snapshot, "nginx").Accounting {
			ended += a.Completed + a.Dropped
		}
		o := snapshot.Observer
		if len(snapshot.Journeys) != kept || o.Recorded+o.RingLost != ended {
			t.Errorf("%d journeys of %d kept and %d lost, %d ended", len(snapshot.Journeys), o.Recorded, o.RingLost, ended)
		}
		rest := snapshot.Since(before)
		if n := uint64(len(rest.Journeys)); n != rest.Observer.Recorded || n != o.Recorded-before.Observer.Recorded {
			t.Errorf("%d journeys of %d since then", n, rest.Observer.Recorded)
		}
	})
}

// A packet that was dropped is recorded with its reason and where it was.
func TestDroppedJourneys(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 10
		s := recordsStage(t, wire, tracer.Config{Sample: 1})
		s.ruled("-I FORWARD -p udp --dport 99 -j DROP")
		s.send(s.world.Container("nginx").Node, s.world.Client.IP4.String()+":99", sent, 32)
		s.await("drops", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Egress].Dropped >= sent
		})
		var found int
		for _, j := range s.stop().Journeys {
			if j.Outcome != "dropped" || j.Reason != "NETFILTER_DROP" {
				continue
			}
			found++
			last := j.Stamps[len(j.Stamps)-1]
			if j.Direction != tracer.Egress || last.Hook != "kfree_skb" || last.Hop != "netfilter/forward" {
				t.Errorf("dropped: %+v", j)
			}
		}
		if found != sent {
			t.Errorf("%d dropped journeys recorded, want %d", found, sent)
		}
	})
}
