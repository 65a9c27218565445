// SPDX-License-Identifier: Apache-2.0

// Package compare says how two targets differ, hop by hop, and how sure that is.
// It is pure.
//
//	two tracer.Targets ─pick─> paths ─align─> rows ─Draws─> differences, intervals, shares
//
// Packets of one round are correlated, so that rounds are the samples: means are
// resampled by rounds (with the same rounds for all rows, so that they add up in
// each resample), quantiles from the recorded histograms, as many values deep as
// the rounds' spread says that independent ones are in them. No interval assumes
// a bell curve of the latencies.
package compare

import (
	"slices"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// MinPackets are needed on each side for a difference of means.
const MinPackets = 100

// Options say how to compare.
type Options struct {
	Of, Against string // names of the two sides
	Raw         bool   // as measured; else without what measuring costs
	Paired      bool   // both were measured at the same time, round by round
	Seed        uint64 // of the bootstrap
}

// NothingError is returned when two targets have no packets in common.
type NothingError struct {
	Of, Against string
	Idle        []string // those of both that had none at all
}

// Error says what is missing.
func (e *NothingError) Error() string {
	if len(e.Idle) > 0 {
		return strings.Join(e.Idle, " and ") + " had no packets: send the same load to both"
	}
	return e.Of + " and " + e.Against + " had no packets of the same kind in the same direction: send the same load to both"
}

// Targets compares the paths that two targets have in common. The ids of these
// paths come first for of, then for against, by direction.
func Targets(of, against tracer.Target, o Options) (result.Comparison, [2][2]string, error) {
	kind, a, b := pick(of, against)
	var ids [2][2]string
	c := comparer{Options: o, ofHost: hostMode(of), againstHost: hostMode(against)}
	for d := range a {
		if a[d] == nil || b[d] == nil {
			continue
		}
		ids[0][d], ids[1][d] = a[d].ID, b[d].ID
		c.direction(tracer.Direction(d), a[d], b[d])
		if tracer.Direction(d) == tracer.Ingress {
			c.socket(&of.Waiting.Transport, &against.Waiting.Transport)
		}
	}
	if len(c.rows) == 0 {
		return result.Comparison{}, ids, &NothingError{o.Of, o.Against, idle(of, against, o)}
	}
	r := c.finish()
	r.Class = kind.String()
	return r, ids, nil
}

// idle are the names of those that no packet of was followed to its end.
func idle(of, against tracer.Target, o Options) (names []string) {
	for _, side := range []struct {
		name   string
		target tracer.Target
	}{{o.Of, of}, {o.Against, against}} {
		if side.target.Accounting[tracer.Ingress].Completed+side.target.Accounting[tracer.Egress].Completed == 0 {
			names = append(names, side.name)
		}
	}
	return slices.Compact(names) // a document may be compared with itself
}

// hostMode tells whether a target has no namespace of its own: no hop is in it.
func hostMode(t tracer.Target) bool {
	for _, p := range t.Paths {
		if slices.ContainsFunc(p.Hops, func(h tracer.Hop) bool { return h.Side == tracer.SideTarget }) {
			return false
		}
	}
	return true
}

// line is a row with the latencies behind it; nil is an empty cell.
type line struct {
	result.Row
	of, against *tracer.Latency
	mean        Drawn // of the difference
}

// comparer collects lines.
type comparer struct {
	Options
	ofHost, againstHost bool
	rows, paths         []line
}

func (c *comparer) direction(d tracer.Direction, of, against *tracer.Path) {
	for _, p := range align(of.Hops, against.Hops) {
		l := line{Row: result.Row{Direction: d.String(), Layer: layer(p, c.ofHost, c.againstHost)}}
		var ofDevice, againstDevice string
		for _, cell := range []struct {
			hop     *tracer.Hop
			latency **tracer.Latency
			device  *string
		}{{p.against, &l.against, &againstDevice}, {p.of, &l.of, &ofDevice}} {
			if cell.hop == nil {
				continue
			}
			l.Hop, l.Side = cell.hop.Name, cell.hop.Side.String()
			*cell.latency, *cell.device = &cell.hop.Latency, cell.hop.Device
		}
		c.fill(&l, ofDevice, againstDevice)
		c.rows = append(c.rows, l)
	}
	whole := line{Row: result.Row{Direction: d.String(), Hop: "path", Layer: "path"}, of: &of.Latency, against: &against.Latency}
	c.fill(&whole, "", "")
	c.paths = append(c.paths, whole)
}

// socket adds what follows the journey's end, where both sides have it: it is
// measured in windows, of a part of the packets.
func (c *comparer) socket(of, against *tracer.Latency) {
	for _, l := range []*tracer.Latency{of, against} {
		if l.Hist.Count() < MinPackets || seriesOf(l.Rounds).filled() < MinRounds {
			return
		}
	}
	l := line{Row: result.Row{Hop: "socket", Layer: LayerSocket}, of: of, against: against}
	c.fill(&l, "", "")
	c.rows = append(c.rows, l)
}

// fill sets the figures of a line's cells.
func (c *comparer) fill(l *line, ofDevice, againstDevice string) {
	l.Of, l.Against = c.figures(l.of, ofDevice), c.figures(l.against, againstDevice)
}

func (c *comparer) figures(l *tracer.Latency, device string) *result.Figures {
	if l == nil {
		return nil
	}
	s := newQuantileSide(l, c.Raw)
	f := &result.Figures{Count: l.Hist.Count(), MeanNs: l.Hist.Mean() - c.null(l), Device: device}
	for _, q := range []struct {
		at float64
		to **float64
	}{{0.5, &f.P50Ns}, {0.99, &f.P99Ns}} {
		if (1-q.at)*s.count >= 10-1e-9 {
			v := s.value(q.at)
			*q.to = &v
		}
	}
	return f
}

func (c *comparer) null(l *tracer.Latency) float64 {
	if l == nil || c.Raw || l.Hist.Count() == 0 {
		return 0
	}
	return l.Null.MeanNs
}

// finish draws the rounds and computes what differs.
func (c *comparer) finish() result.Comparison {
	of, against := c.starts(true), c.starts(false)
	if c.Paired { // rounds of one tracer
		of = merge(of, against)
		against = of
	}
	draws := NewDraws(c.Seed, len(of), len(against), c.Paired)
	if !c.Paired {
		draws = draws.drifted(c.Seed, c.wholeOf(of, true), c.wholeOf(against, false))
	}
	for _, lines := range [][]line{c.rows, c.paths} {
		for i := range lines {
			l := &lines[i]
			l.mean = draws.Of(Difference(aligned(l.of, of), aligned(l.against, against), c.null(l.of), c.null(l.against)))
		}
	}
	whole := sum(draws, c.rows)
	r := result.Comparison{
		Of: c.Of, Against: c.Against, Raw: c.Raw, Paired: c.Paired, Rounds: [2]int{len(of), len(against)},
		Whole: result.Row{Hop: "whole", Layer: "whole", Of: c.whole(true), Against: c.whole(false)},
	}
	if draws.drift != nil {
		r.DriftNs = [2]float64{draws.drift.of.ns, draws.drift.against.ns}
	}
	scarce := c.scarce(draws.rounds)
	if scarce == "" {
		r.Whole.Mean = whole.Estimate()
		r.Distinct = whole.distinct(1)
		r.Whole.Distinct = r.Distinct
	}
	for i := range c.rows {
		c.differ(&c.rows[i], whole, r.Distinct, scarce, len(c.rows))
		r.Rows = append(r.Rows, c.rows[i].Row)
	}
	for i := range c.paths {
		c.differ(&c.paths[i], whole, r.Distinct, scarce, len(c.paths))
		r.Paths = append(r.Paths, c.paths[i].Row)
	}
	r.Layers = c.layers(draws, whole, r.Distinct, scarce)
	r.Verdict = verdict(r, scarce)
	r.Whole.Words = wordsOf(r.Whole, scarce)
	return r
}

// differ sets what differs in a line.
func (c *comparer) differ(l *line, whole Drawn, shares bool, scarce string, figures int) {
	seed := c.Seed + uint64(figures)
	ofSide, againstSide := newQuantileSide(l.of, c.Raw), newQuantileSide(l.against, c.Raw)
	l.P50 = quantileDifference(ofSide, againstSide, 0.5, seed)
	l.P99 = quantileDifference(ofSide, againstSide, 0.99, seed)
	if scarce == "" {
		l.Mean = l.mean.Estimate()
		l.Distinct = l.mean.distinct(figures) && !c.withinNull(l)
		if shares {
			l.Share = l.mean.Share(whole)
		}
	}
	l.Words = wordsOf(l.Row, scarce)
}

// withinNull tells whether a hop that one side alone has takes no longer than
// the stamps around it, as far as null hops can tell.
func (c *comparer) withinNull(l *line) bool {
	if c.Raw || l.of != nil && l.against != nil {
		return false
	}
	one := l.of
	if one == nil {
		one = l.against
	}
	return one.WithinNull()
}

// whole sums the mean of either side's cells.
func (c *comparer) whole(of bool) *result.Figures {
	f := &result.Figures{}
	for _, l := range c.rows {
		cell := l.Against
		if of {
			cell = l.Of
		}
		if cell != nil {
			f.MeanNs += cell.MeanNs
			f.Count = max(f.Count, cell.Count)
		}
	}
	return f
}

func sum(draws Draws, lines []line) Drawn {
	total := draws.none()
	for _, l := range lines {
		total = total.Plus(l.mean)
	}
	return total
}

// layers sums rows by layer, in order of their first rows.
func (c *comparer) layers(draws Draws, whole Drawn, shares bool, scarce string) []result.Layer {
	var names []string
	members := map[string][]line{}
	for _, l := range c.rows {
		if members[l.Layer] == nil {
			names = append(names, l.Layer)
		}
		members[l.Layer] = append(members[l.Layer], l)
	}
	layers := make([]result.Layer, 0, len(names))
	for _, name := range names {
		layer := result.Layer{Layer: name}
		for _, l := range members[name] {
			if l.Of != nil {
				layer.Of += l.Of.MeanNs
			}
			if l.Against != nil {
				layer.Against += l.Against.MeanNs
			}
		}
		if scarce == "" {
			part := sum(draws, members[name])
			layer.Mean = part.Estimate()
			if shares {
				layer.Share = part.Share(whole)
			}
		}
		layers = append(layers, layer)
	}
	return layers
}

// wholeOf is what all paths of one side take together, round by round.
func (c *comparer) wholeOf(starts []time.Duration, of bool) Series {
	all := make(Series, len(starts))
	for i, l := range c.paths {
		latency := l.against
		if of {
			latency = l.of
		}
		for r, s := range aligned(latency, starts) {
			if i == 0 {
				all[r] = s
			} else if s.Count > 0 {
				all[r].Sum += s.Sum / s.Count * all[r].Count
			}
		}
	}
	return all
}

// starts are the rounds of one side that any of its latencies has.
func (c *comparer) starts(of bool) []time.Duration {
	var all []time.Duration
	for _, lines := range [][]line{c.rows, c.paths} {
		for _, l := range lines {
			latency := l.against
			if of {
				latency = l.of
			}
			if latency == nil {
				continue
			}
			for _, r := range latency.Rounds {
				if r.Count > 0 {
					all = append(all, r.Start)
				}
			}
		}
	}
	return merge(all, nil)
}

func merge(a, b []time.Duration) []time.Duration {
	all := slices.Sorted(slices.Values(append(slices.Clone(a), b...)))
	return slices.Compact(all)
}

// aligned is a latency's rounds, in the places of those starts. A latency that
// was recorded without rounds is none.
func aligned(l *tracer.Latency, starts []time.Duration) Series {
	if l == nil {
		return nil
	}
	s := make(Series, len(starts))
	for _, r := range l.Rounds {
		if i, ok := slices.BinarySearch(starts, r.Start); ok {
			s[i] = Sample{Count: s[i].Count + float64(r.Count), Sum: s[i].Sum + float64(r.SumNs)}
		}
	}
	return s
}

func seriesOf(rounds []tracer.Round) Series {
	s := make(Series, 0, len(rounds))
	for _, r := range rounds {
		s = append(s, Sample{Count: float64(r.Count), Sum: float64(r.SumNs)})
	}
	return s
}
