// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	tracejson "github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// cell is one way under one load.
type cell struct {
	way              Way
	load             result.Load
	traced, untraced clientRounds
	trace            tracer.Snapshot // of the traced rounds, with one target
	hops             compare.Series  // by round: requests, and what all hops of their packets took
}

func newCell(w Way, load result.Load) *cell { return &cell{way: w, load: load} }

// clientRounds is what the client saw, round by round.
type clientRounds struct {
	all    loadgen.Round
	rounds []tracer.Round
	others []float64   // what other work took of each round, NaN where that is not known
	probes [][2]uint64 // of each round, 0 where there are none
	slowed []float64   // how much longer than on a quiet core a probe beside each round took, as a share; NaN likewise
}

func (c *clientRounds) add(start time.Duration, r loadgen.Round, others float64) {
	c.all.Add(r)
	median, _ := r.Hist.Quantile(0.5) // 0 of nothing
	c.others = append(c.others, others)
	c.probes, c.slowed = append(c.probes, r.Probes), append(c.slowed, unknown())
	c.rounds = append(c.rounds, tracer.Round{Start: start, Count: r.Hist.Count(), SumNs: r.Hist.Sum, P50Ns: median})
}

// series are these rounds.
func (c *clientRounds) series(kept []int) compare.Series {
	s := make(compare.Series, 0, len(kept))
	for _, i := range kept {
		s = append(s, compare.Sample{Count: float64(c.rounds[i].Count), Sum: float64(c.rounds[i].SumNs)})
	}
	return s
}

// hopsOf are what the hops took in these rounds.
func (c *cell) hopsOf(kept []int) compare.Series {
	s := make(compare.Series, 0, len(kept))
	for _, i := range kept {
		if i < len(c.hops) { // as many as rounds, or none
			s = append(s, c.hops[i])
		}
	}
	return s
}

// addTraced adds a round and what was traced in it.
func (c *cell) addTraced(start time.Duration, seen loadgen.Round, others float64, s tracer.Snapshot) {
	c.traced.add(start, seen, others)
	i := slices.IndexFunc(s.Targets, func(t tracer.Target) bool { return t.Name == c.way.Target })
	if i < 0 {
		return // it is there from the beginning to the end
	}
	target := s.Targets[i]
	sum := 0.0
	for _, p := range target.Paths {
		sum += float64(p.Latency.Hist.Sum)
	}
	c.hops = append(c.hops, compare.Sample{Count: float64(seen.Hist.Count()), Sum: sum})
	if len(c.trace.Targets) == 0 {
		c.trace = s
		c.trace.Targets, c.trace.Journeys, c.trace.Duration = []tracer.Target{{}}, nil, 0
	}
	c.trace.Duration += s.Duration
	c.trace.Observer = s.Observer
	merge(&c.trace.Targets[0], target, start)
	for _, j := range s.Journeys {
		if j.Target == target.Name {
			c.trace.Journeys = append(c.trace.Journeys, j)
		}
	}
	c.keepSlowest()
}

// keptJourneys are the slowest of a cell that the document has.
const keptJourneys = 10

func (c *cell) keepSlowest() {
	j := c.trace.Journeys
	slices.SortStableFunc(j, func(a, b tracer.Journey) int { return cmp.Compare(b.Latency(), a.Latency()) })
	c.trace.Journeys = j[:min(len(j), keptJourneys)]
}

// merge adds an interval's figures to a target. Rounds get the bench's start.
func merge(to *tracer.Target, from tracer.Target, start time.Duration) {
	paths, waiting, accounting, skipped, drops := to.Paths, to.Waiting, to.Accounting, to.Skipped, to.Drops
	proxied := to.Proxied
	*to = from
	to.Paths, to.Waiting, to.Skipped, to.Drops = paths, waiting, skipped, drops
	for _, p := range from.Paths {
		if p.Packets == 0 {
			continue
		}
		i := slices.IndexFunc(to.Paths, func(q tracer.Path) bool { return q.ID == p.ID })
		if i < 0 {
			to.Paths = append(to.Paths, emptyPath(p))
			i = len(to.Paths) - 1
		}
		q := &to.Paths[i]
		q.Packets, q.Segments, q.Bytes = q.Packets+p.Packets, q.Segments+p.Segments, q.Bytes+p.Bytes
		mergeLatency(&q.Latency, p.Latency, start)
		for h := range q.Hops {
			mergeLatency(&q.Hops[h].Latency, p.Hops[h].Latency, start)
		}
	}
	mergeLatency(&to.Waiting.Transport, from.Waiting.Transport, start)
	mergeLatency(&to.Waiting.Reader, from.Waiting.Reader, start)
	before, now := float64(accounting[0].Completed), float64(from.Accounting[0].Completed)
	if before+now > 0 {
		to.Waiting.Share = (waiting.Share*before + from.Waiting.Share*now) / (before + now)
	}
	for d := range to.Accounting {
		to.Accounting[d] = addAccounting(accounting[d], from.Accounting[d])
		for _, s := range from.Skipped[d] {
			addSkip(&to.Skipped[d], s)
		}
	}
	for _, drop := range from.Drops {
		addDrop(&to.Drops, drop)
	}
	if from.Proxied != nil {
		to.Proxied = &tracer.Proxied{PID: from.Proxied.PID}
		if proxied != nil {
			to.Proxied.Proxy = proxied.Proxy
		}
		mergeLatency(&to.Proxied.Proxy, from.Proxied.Proxy, start)
	}
}

func emptyPath(p tracer.Path) tracer.Path {
	p.Packets, p.Segments, p.Bytes, p.Latency = 0, 0, 0, tracer.Latency{}
	p.Hops = slices.Clone(p.Hops)
	for i := range p.Hops {
		p.Hops[i].Latency = tracer.Latency{}
	}
	return p
}

func mergeLatency(to *tracer.Latency, from tracer.Latency, start time.Duration) {
	to.Null = from.Null
	n := from.Hist.Count()
	if n == 0 {
		return
	}
	to.Hist.Merge(&from.Hist)
	median, _ := from.Hist.Quantile(0.5)
	to.Rounds = append(to.Rounds, tracer.Round{Start: start, Count: n, SumNs: from.Hist.Sum, P50Ns: median})
}

func addAccounting(a, b tracer.Accounting) tracer.Accounting {
	return tracer.Accounting{
		Started: a.Started + b.Started, Cloned: a.Cloned + b.Cloned, Completed: a.Completed + b.Completed,
		Dropped: a.Dropped + b.Dropped, Merged: a.Merged + b.Merged, Evicted: a.Evicted + b.Evicted,
		Expired: a.Expired + b.Expired, Cut: a.Cut + b.Cut, InFlight: b.InFlight,
	}
}

func addSkip(to *[]tracer.Skip, s tracer.Skip) {
	for i := range *to {
		if (*to)[i].Reason == s.Reason {
			(*to)[i].Count += s.Count
			return
		}
	}
	*to = append(*to, s)
}

func addDrop(to *[]tracer.Drop, d tracer.Drop) {
	for i := range *to {
		if o := &(*to)[i]; o.Direction == d.Direction && o.Hop == d.Hop && o.Reason == d.Reason {
			o.Count += d.Count
			return
		}
	}
	*to = append(*to, d)
}

// encode makes the cell of the document.
func (c *cell) encode() (result.Cell, error) {
	out := result.Cell{
		Way: c.way.Name, Load: c.load.Name, Traced: c.traced.encode(), Untraced: c.untraced.encode(),
	}
	var target tracer.Target
	if len(c.trace.Targets) > 0 {
		target = c.trace.Targets[0]
	}
	var b bytes.Buffer
	if err := tracejson.EncodeLine(&b, c.trace); err != nil {
		return out, fmt.Errorf("way %s: %w", c.way.Name, err)
	}
	out.Trace = json.RawMessage(bytes.TrimSpace(b.Bytes()))
	ids := busiest(target)
	out.Ingress, out.Egress = ids[tracer.Ingress], ids[tracer.Egress]
	out.PerRequest = c.perRequest(target)
	return out, nil
}

// busiest are the ids of the paths that most packets took.
func busiest(t tracer.Target) (ids [2]string) {
	var most [2]uint64
	for _, p := range t.Paths {
		if p.Packets > most[p.Direction] {
			most[p.Direction], ids[p.Direction] = p.Packets, p.ID
		}
	}
	return ids
}

func (c *cell) perRequest(t tracer.Target) result.PerRequest {
	requests := float64(c.traced.all.Hist.Count())
	if requests == 0 {
		return result.PerRequest{}
	}
	var packets [2]float64
	for _, p := range t.Paths {
		packets[p.Direction] += float64(p.Packets)
	}
	var sum float64
	for _, s := range c.hops {
		sum += s.Sum
	}
	per := result.PerRequest{
		PacketsIn: packets[tracer.Ingress] / requests, PacketsOut: packets[tracer.Egress] / requests, HopsNs: sum / requests,
	}
	if t.Proxied != nil && t.Proxied.Proxy.Hist.Count() > 0 {
		mean := t.Proxied.Proxy.Hist.Mean()
		per.ProxyNs = &mean
	}
	if t.Waiting.Reader.Hist.Count() > 0 {
		mean := t.Waiting.Reader.Hist.Mean()
		per.ReaderNs = &mean
	}
	return per
}

func (c *clientRounds) encode() result.Measurement {
	l := tracer.Latency{Hist: c.all.Hist}
	raw := l.Raw()
	m := result.Measurement{
		Requests: raw.Count, Errors: c.all.Errors, LastError: c.all.Last, Bytes: c.all.Bytes, BusyS: c.all.Busy.Seconds(),
		Latency: result.Latency{
			Count: raw.Count, SumNs: c.all.Hist.Sum, MeanNs: raw.MeanNs, P50Ns: raw.P50Ns, P90Ns: raw.P90Ns,
			P99Ns: raw.P99Ns, P999Ns: raw.P999Ns, MaxNs: raw.MaxNs,
		},
	}
	c.all.Hist.Each(func(lower, count uint64) {
		m.Latency.Buckets = append(m.Latency.Buckets, [2]uint64{lower, count})
	})
	for i, r := range c.rounds {
		round := result.Round{StartS: r.Start.Seconds(), Count: r.Count, SumNs: r.SumNs, P50Ns: r.P50Ns}
		if o := c.others[i]; !math.IsNaN(o) {
			round.OthersShare = &o
		}
		if s := c.slowed[i]; !math.IsNaN(s) {
			round.Slowed = &s
		}
		m.Latency.Rounds = append(m.Latency.Rounds, round)
	}
	return m
}
