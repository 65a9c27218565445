package tracer_test

import (
	"math"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// ages are programs of the lab on both sides of a path's first and last stamp.
type ages struct {
	firstBefore, firstBehind, lastBefore, lastBehind *lab.Injector
}

// firstPriority is the tracer's own first one, and the lowest that a link may
// have: whoever holds it before the tracer makes that step behind it.
const firstPriority = math.MinInt32 + 1

// What a path takes is what its packets age between its first and its last
// stamp, by the kernel's own time of their sending and programs that have
// nothing to do with the tracer. These lie right before and right behind both
// stamps, so the truth is between two sums.
func TestConservation(t *testing.T) {
	const trips = 2000
	s := newStage(t, lab.Config{Ports: []lab.Port{{Host: 7007, Container: 7}}})
	c := s.world.Container("nginx")
	var all ages
	look := func(to **lab.Injector, from *lab.Injector, err error) {
		t.Helper()
		s.must(err)
		s.must(from.Only(unix.IPPROTO_TCP))
		*to = from
		t.Cleanup(func() { s.must(from.Close()) })
	}
	nf := func(priority int32) (*lab.Injector, error) {
		return s.world.LookNetfilter(c.NS, link.NetfilterProtoIPv4, link.NetfilterInetLocalOut, priority)
	}
	before, err := nf(firstPriority)
	look(&all.firstBefore, before, err)
	s.open(tracer.Config{}, "nginx")
	behind, err := nf(firstPriority + 8)
	look(&all.firstBehind, behind, err)
	before, err = s.world.LookTCX(s.world.Host, s.world.Host.Dev, lab.Egress, true)
	look(&all.lastBefore, before, err)
	behind, err = s.world.LookTCX(s.world.Host, s.world.Host.Dev, lab.Egress, false)
	look(&all.lastBehind, behind, err)
	s.await("null hops of each type", func() bool { // those of tcx are there in a pause and a second of load behind it
		time.Sleep(300 * time.Millisecond)
		s.tcp(s.world.Client, s.world.Host.IP4, 7007, trips)
		return len(s.snapshot().Observer.StampNs) >= 3
	})
	snapshot := s.stop() // holds the counts against the devices' own
	var packets, sum uint64
	var null float64
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		if p.Direction != tracer.Egress {
			continue
		}
		first, last := p.Hops[0], p.Hops[len(p.Hops)-1]
		if first.From != "target/output/first" || last.To != "uplink/egress" {
			t.Fatalf("the programs do not lie around this path: %s", describePath(p))
		}
		packets += p.Latency.Hist.Count()
		sum += p.Latency.Hist.Sum
		null = p.Latency.Null.MeanNs
		checkCorrected(t, p)
	}
	all.check(t, packets, float64(sum), null)
}

// checkCorrected holds that corrected means add up to the whole's, and that
// what is taken out of it is the cost of its stamps.
func checkCorrected(t *testing.T, p tracer.Path) {
	t.Helper()
	var hops, nulls float64
	for _, hop := range p.Hops {
		hops += hop.Latency.Corrected().MeanNs
		nulls += hop.Latency.Null.MeanNs
	}
	whole := p.Latency.Corrected().MeanNs
	if math.Abs(hops-whole) > 1e-6*whole {
		t.Errorf("corrected hops add up to %f, the whole is %f: %s", hops, whole, describePath(p))
	}
	if raw := p.Latency.Hist.Mean(); nulls <= 0 || math.Abs(raw-nulls-whole) > 1e-6*whole {
		t.Errorf("corrected %f, raw %f less the stamps' %f: %s", whole, raw, nulls, describePath(p))
	}
}

func (a ages) check(t *testing.T, packets uint64, sum, null float64) {
	t.Helper()
	age := func(at *lab.Injector) float64 {
		stats, err := at.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Seen != packets || stats.Stamped != packets {
			t.Errorf("a program saw %d packets, %d of them with a birth; the paths have %d", stats.Seen, stats.Stamped, packets)
		}
		return float64(stats.Aged)
	}
	outer := (age(a.lastBehind) - age(a.firstBefore)) / float64(packets)
	inner := (age(a.lastBefore) - age(a.firstBehind)) / float64(packets)
	mean := sum / float64(packets)
	t.Logf("the path's mean is %.0f ns, by ages it is between %.0f and %.0f", mean, inner, outer)
	if packets == 0 || mean < inner || mean > outer {
		t.Errorf("the path's mean is %f ns, by ages between %f and %f", mean, inner, outer)
	}
	// two stamps, a null hop, and what an end does behind its own
	if most := 12 * null / 8; outer-inner > most+1000 {
		t.Errorf("the bounds are %f ns apart: they say little", outer-inner)
	}
}
