// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"errors"
	"fmt"
	"time"

	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// finish computes what one load's rounds say.
func (r *runner) finish(b *running) error {
	for _, w := range r.ways {
		b.cells[w.Name].judgePace()
	}
	if r.apart {
		for _, w := range r.ways {
			b.cells[w.Name].untraced.withoutInterrupts()
			b.cells[w.Name].traced.withoutInterrupts()
		}
	}
	for _, w := range r.ways {
		c := b.cells[w.Name]
		out, err := c.encode()
		if err != nil {
			return err
		}
		// Rounds with tracing lie between rounds without: two independent samples.
		traced, untraced := pick(&c.traced), pick(&c.untraced)
		draws := compare.NewDraws(r.Seed, len(traced), len(untraced), false)
		out.TracingAdded = draws.Of(compare.Difference(c.traced.series(traced), c.untraced.series(untraced), 0, 0)).Estimate()
		r.bench.Cells = append(r.bench.Cells, out)
		if out.Traced.Errors+out.Untraced.Errors > 0 {
			r.notes = append(r.notes, fmt.Sprintf("%s by way %s: %d requests failed, the last one by: %s",
				b.load.Name, w.Name, out.Traced.Errors+out.Untraced.Errors, out.Traced.LastError+out.Untraced.LastError))
		}
	}
	for _, w := range r.ways {
		if w.Against == "" {
			continue
		}
		comparison, err := r.compare(b.load, b.cells[w.Name], b.cells[w.Against])
		if err != nil {
			return err
		}
		r.all = append(r.all, comparison)
	}
	return nil
}

// compare compares two ways of one load.
func (r *runner) compare(load result.Load, of, against *cell) (result.Comparison, error) {
	o := compare.Options{Of: of.way.Name, Against: against.way.Name, Paired: true, Seed: r.Seed}
	c, _, err := compare.Targets(of.target(), against.target(), o)
	var nothing *compare.NothingError
	if errors.As(err, &nothing) {
		c = result.Comparison{Of: o.Of, Against: o.Against, Paired: true, Verdict: err.Error(), Whole: result.Row{Hop: "whole", Layer: "whole"}}
	} else if err != nil {
		return c, err
	}
	c.Load = load.Name
	r.explain(&c, load, of, against)
	return c, nil
}

func (c *cell) target() tracer.Target {
	if len(c.trace.Targets) == 0 {
		return tracer.Target{Name: c.way.Target}
	}
	return c.trace.Targets[0]
}

// explain sets what the client saw against what the hops say. What the client
// waits with nothing attached is what a user has: it stands against hops without
// what measuring costs. Both as measured are told beside it.
func (r *runner) explain(c *result.Comparison, load result.Load, of, against *cell) {
	without, with := pick(&of.untraced, &against.untraced), pick(&of.traced, &against.traced)
	traced := compare.NewDraws(r.Seed, len(with), len(with), true)
	quiet := compare.NewDraws(r.Seed+1, len(without), len(without), true)
	base := against.untraced.series(without)
	client := quiet.Of(compare.Difference(of.untraced.series(without), base, 0, 0))
	clientTraced := traced.Of(compare.Difference(of.traced.series(with), against.traced.series(with), 0, 0))
	ofHops, againstHops := of.hopsOf(with), against.hopsOf(with)
	hopsRaw := traced.Of(compare.Difference(ofHops, againstHops, 0, 0))
	hops := traced.Of(compare.Difference(ofHops, againstHops, of.nullPerRequest(), against.nullPerRequest()))
	e := &result.Explained{
		Client: client.Estimate(), Hops: hops.Estimate(), ClientTraced: clientTraced.Estimate(), HopsRaw: hopsRaw.Estimate(),
		Base: quiet.Of(compare.Difference(base, nil, 0, 0)).Estimate(),
	}
	count(&r.bench.Others, e, [2][]int{without, with}, of, against)
	left := client.Minus(hops)
	for _, p := range r.parts(of, against, with) {
		if estimate := p.mean.Estimate(); estimate != nil {
			e.Parts = append(e.Parts, result.Part{Name: p.name, Mean: *estimate})
			left = left.Minus(p.mean)
		}
	}
	e.NotSeen = named(result.NotSeen, left.Estimate())
	e.Tracing = named(result.Tracing, clientTraced.Minus(client).Minus(hopsRaw.Minus(hops)).Estimate())
	c.Explained = e
	if c.ExplainedReason = overlapping(load, of, against); c.ExplainedReason != "" {
		e.NotSeen, e.Tracing = nil, nil // more than the client waits cannot be taken from what it waits
		return
	}
	if c.ExplainedReason = uncertain(e); c.ExplainedReason != "" {
		return
	}
	c.ExplainedTraced = hopsRaw.Share(clientTraced)
	c.ExplainedShare = hops.Share(client)
}

func named(name string, e *result.Estimate) *result.Part {
	if e == nil {
		return nil
	}
	return &result.Part{Name: name, Mean: *e}
}

// nullPerRequest is what the stamps cost that lie in the hops of a request.
func (c *cell) nullPerRequest() float64 {
	requests := float64(c.traced.all.Hist.Count())
	if requests == 0 {
		return 0
	}
	var ns float64
	for _, p := range c.target().Paths {
		ns += float64(p.Packets) * p.Latency.Null.MeanNs
	}
	return ns / requests
}

// overlapping says why the hops of a request do not add up to what its client
// waits; "" where they do.
func overlapping(load result.Load, of, against *cell) string {
	if !load.OnePacket {
		return "requests of this load have several packets, or several are under way at a time: their hops overlap in time, and do not add up to what the client waits; per_request has their sum"
	}
	const most = 1.02
	for _, c := range []*cell{of, against} {
		legs := 1.0
		if c.way.Name == WayProxy {
			legs = 2
		}
		if p := c.perRequest(c.target()); p.PacketsIn > most*legs || p.PacketsOut > most*legs {
			return fmt.Sprintf("way %s has %.2f packets in and %.2f out for a request: their hops overlap in time", c.way.Name, p.PacketsIn, p.PacketsOut)
		}
	}
	return ""
}

// uncertain says why there is nothing to explain; "" where there is.
func uncertain(e *result.Explained) string {
	client := e.Client
	if client == nil || e.NotSeen == nil {
		return "too few rounds"
	}
	if client.Lo <= 0 && client.Hi >= 0 {
		return "the difference that the client measured is not distinguishable from zero"
	}
	return ""
}

// part is time that no hop is.
type part struct {
	name string
	mean compare.Drawn
}

// parts are those that were measured on either side in enough of these rounds, or
// of all where too many of them are left out.
func (r *runner) parts(of, against *cell, kept []int) []part {
	var all []part
	every := make([]int, min(len(of.traced.rounds), len(against.traced.rounds)))
	for i := range every {
		every[i] = i
	}
	for _, p := range []struct {
		name string
		of   func(tracer.Target) *tracer.Latency
	}{
		{"docker-proxy", proxyOf},
		{"socket (end of LOCAL_IN to data ready)", func(t tracer.Target) *tracer.Latency { return &t.Waiting.Transport }},
		{"application (data ready to the first byte read)", func(t tracer.Target) *tracer.Latency { return &t.Waiting.Reader }},
	} {
		one, other := p.of(of.target()), p.of(against.target())
		for _, rounds := range [][]int{kept, every} {
			a, inA := sparse(of, one, rounds)
			b, inB := sparse(against, other, rounds)
			if inA < enoughFilled && one != nil || inB < enoughFilled && other != nil || one == nil && other == nil {
				continue
			}
			rests := min(inA, inB)
			if one == nil || other == nil { // docker-proxy is on one side alone
				rests = max(inA, inB)
			}
			draws := compare.NewDraws(r.Seed, len(rounds), len(rounds), true)
			mean := draws.Of(compare.Difference(a, b, nullOf(one), nullOf(other)))
			all = append(all, part{p.name, mean.On(rests)})
			break
		}
	}
	return all
}

func nullOf(l *tracer.Latency) float64 {
	if l == nil {
		return 0
	}
	return l.Null.MeanNs
}

func proxyOf(t tracer.Target) *tracer.Latency {
	if t.Proxied == nil || t.Proxied.Proxy.Hist.Count() == 0 {
		return nil
	}
	return &t.Proxied.Proxy
}

// enoughFilled rounds are needed, as of any series. A resample that has none of
// them takes the mean of all.
const enoughFilled = compare.MinRounds

// sparse is a latency's rounds in the places of these of the cell's, and how many
// have any: it is measured in a part of the rounds.
func sparse(c *cell, l *tracer.Latency, kept []int) (s compare.Series, filled int) {
	if l == nil {
		return nil, 0
	}
	at := map[time.Duration]int{}
	for i, round := range kept {
		at[c.traced.rounds[round].Start] = i
	}
	s = make(compare.Series, len(kept))
	for _, r := range l.Rounds {
		if i, ok := at[r.Start]; ok && r.Count > 0 {
			s[i] = compare.Sample{Count: float64(r.Count), Sum: float64(r.SumNs)}
			filled++
		}
	}
	return s, filled
}
