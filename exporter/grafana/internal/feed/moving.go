// Package feed is a Prometheus with data, for the tests of dashboards and rules
// and for looking at them: a collector over snapshots that move, and a real
// server that scrapes it.
package feed

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// Slower is by how much the times of a hop grow in the second part of the feed.
const Slower = 8

// attachedShare is for how much of the time the feed's hooks are attached, in
// percent: what was traced is as much less than its devices have counted.
const attachedShare = 56

// Moving is a source whose figures grow by about one sample a second, with
// times as in the sample until SlowAfter, and longer ones from then on. Safe
// for concurrent use.
type Moving struct {
	SlowAfter time.Duration

	mu         sync.Mutex
	begin      time.Time
	last       time.Time
	fast, slow tracer.Snapshot // one unit of each
	units      [2]uint64       // how many of them there have been
	carry      float64
}

// NewMoving starts now.
func NewMoving(slowAfter time.Duration) *Moving {
	now := time.Now()
	return &Moving{SlowAfter: slowAfter, begin: now, last: now, fast: unit(), slow: slower(unit())}
}

// unit is the sample with what a degraded tracer adds.
func unit() tracer.Snapshot {
	s := sample.Snapshot()
	nginx := &s.Targets[0]
	nginx.Totals = &[2]tracer.Total{}
	nginx.Accounting[tracer.Ingress].Evicted = 40
	nginx.Accounting[tracer.Ingress].Started += 40
	for direction, a := range nginx.Accounting { // as devices count it, all the time
		total := tracer.Total{Packets: a.Started * 100 / attachedShare}
		for _, p := range nginx.Paths {
			if int(p.Direction) == direction {
				total.Bytes += (p.Bytes + 14*p.Packets) * 100 / attachedShare
			}
		}
		nginx.Totals[direction] = total
	}
	s.Observer.RecursionMisses, s.Observer.RingLost, s.Observer.Unpathed = 400, 3, 2
	s.Observer.Budget = &tracer.Budget{MaxShare: 0.01, State: tracer.BudgetAttached, Windows: 40}
	s.Hooks = []tracer.Attachment{
		{Hook: "port/egress", Provider: tracer.ProviderTCX, Links: 3},
		{Hook: "host/forward/first", Provider: tracer.ProviderNetfilter, Links: 2},
	}
	return s
}

func slower(s tracer.Snapshot) tracer.Snapshot {
	histograms(&s, func(h *histogram.Histogram) {
		var to histogram.Histogram
		h.Each(func(lower, count uint64) { to.AddN(lower*Slower, count) })
		*h = to
	})
	return s
}

// histograms calls f for each one of a snapshot.
func histograms(s *tracer.Snapshot, f func(*histogram.Histogram)) {
	for i := range s.Targets {
		t := &s.Targets[i]
		for j := range t.Paths {
			f(&t.Paths[j].Latency.Hist)
			for k := range t.Paths[j].Hops {
				f(&t.Paths[j].Hops[k].Latency.Hist)
			}
		}
		f(&t.Waiting.Transport.Hist)
		f(&t.Waiting.Reader.Hist)
		if t.Proxied != nil {
			f(&t.Proxied.Proxy.Hist)
		}
	}
}

// Snapshot implements prom.Source.
func (m *Moving) Snapshot() (tracer.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	since := now.Sub(m.begin)
	// traffic comes in waves, so that a line that is flat says that something is wrong
	m.carry += 10 * now.Sub(m.last).Seconds() * (1 + 0.4*math.Sin(since.Seconds()/4))
	m.last = now
	whole := math.Floor(m.carry)
	m.carry -= whole
	part := 0
	if since > m.SlowAfter {
		part = 1
	}
	m.units[part] += uint64(whole)
	return m.total(since), nil
}

// total is what all units come to: a tenth of a sample each.
func (m *Moving) total(since time.Duration) tracer.Snapshot {
	fast, slow := clone(m.fast), m.slow
	var slowHist, fastHist []*histogram.Histogram
	histograms(&m.fast, func(h *histogram.Histogram) { fastHist = append(fastHist, h) })
	histograms(&slow, func(h *histogram.Histogram) { slowHist = append(slowHist, h) })
	at := 0
	histograms(&fast, func(h *histogram.Histogram) {
		var sum histogram.Histogram
		add := func(of *histogram.Histogram, n uint64) {
			of.Each(func(lower, count uint64) { sum.AddN(lower, count*n/10) })
		}
		add(fastHist[at], m.units[0])
		add(slowHist[at], m.units[1])
		*h = sum
		at++
	})
	counts(&fast, func(n *uint64) { *n = *n * (m.units[0] + m.units[1]) / 10 })
	fast.Duration, fast.Observer.Observed = since, since*attachedShare/100
	fast.Start = m.begin
	return fast
}

// clone copies what histograms and counts change.
func clone(s tracer.Snapshot) tracer.Snapshot {
	s.Targets = slices.Clone(s.Targets)
	if s.Observer.Budget != nil {
		budget := *s.Observer.Budget
		s.Observer.Budget = &budget
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		t.Paths, t.Drops = slices.Clone(t.Paths), slices.Clone(t.Drops)
		for j := range t.Paths {
			t.Paths[j].Hops = slices.Clone(t.Paths[j].Hops)
		}
		for d := range t.Skipped {
			t.Skipped[d] = slices.Clone(t.Skipped[d])
		}
		if t.Proxied != nil {
			proxied := *t.Proxied
			t.Proxied = &proxied
		}
		if t.Totals != nil {
			totals := *t.Totals
			t.Totals = &totals
		}
	}
	return s
}

// counts calls f for each counter of a snapshot that is no histogram.
func counts(s *tracer.Snapshot, f func(*uint64)) {
	for i := range s.Targets {
		t := &s.Targets[i]
		for d := range t.Accounting {
			a := &t.Accounting[d]
			for _, n := range []*uint64{&a.Started, &a.Cloned, &a.Completed, &a.Dropped, &a.Merged, &a.Evicted, &a.Expired, &a.Cut} {
				f(n)
			}
			for j := range t.Skipped[d] {
				f(&t.Skipped[d][j].Count)
			}
		}
		for d := range 2 {
			if t.Totals != nil {
				f(&t.Totals[d].Packets)
				f(&t.Totals[d].Bytes)
			}
		}
		for j := range t.Drops {
			f(&t.Drops[j].Count)
		}
		for j := range t.Paths {
			f(&t.Paths[j].Packets)
			f(&t.Paths[j].Bytes)
			f(&t.Paths[j].Segments)
		}
	}
	o := &s.Observer
	if o.Budget != nil {
		f(&o.Budget.Windows)
	}
	for _, n := range []*uint64{&o.Stamps, &o.RecursionMisses, &o.RingLost, &o.Unpathed} {
		f(n)
	}
}
