// SPDX-License-Identifier: Apache-2.0

// Package stats is the arithmetic of measurements that alternate between with
// and without: medians, ratios of neighbours, bootstrap intervals, and the
// signs of a machine that was not quiet. It is pure.
package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is a confidence interval.
type Interval struct {
	Lo float64 `json:"lo"`
	Hi float64 `json:"hi"`
}

// Contains tells whether v lies in the interval, its ends included.
func (i Interval) Contains(v float64) bool { return i.Lo <= v && v <= i.Hi }

// HalfWidth is how far the interval reaches to either side of its middle.
func (i Interval) HalfWidth() float64 { return (i.Hi - i.Lo) / 2 }

// Median returns the 0.5-quantile, NaN of nothing. The values stay in their order.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile returns the q-quantile (0 to 1) with linear interpolation between
// neighbours, NaN of nothing. The values stay in their order.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return quantileSorted(slices.Sorted(slices.Values(values)), q)
}

func quantileSorted(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Span is a number of windows, one after the other.
type Span struct {
	Trips  []uint64 // round trips of each window
	Ns     []uint64 // how long each window really was
	Probes []uint64 // how long the same piece of work took before each window, and behind the last one; none: not known
}

// RTTs returns the mean round trip of each window in nanoseconds; windows without a round trip are left out.
func (s Span) RTTs() []float64 {
	var rtts []float64
	for i, trips := range s.Trips {
		if trips > 0 {
			rtts = append(rtts, float64(s.Ns[i])/float64(trips))
		}
	}
	return rtts
}

// Total returns all round trips of the span.
func (s Span) Total() uint64 {
	var total uint64
	for _, trips := range s.Trips {
		total += trips
	}
	return total
}

// Mean returns the mean round trip of the whole span in nanoseconds, NaN of nothing.
func (s Span) Mean() float64 {
	var ns uint64
	for _, n := range s.Ns {
		ns += n
	}
	if s.Total() == 0 {
		return math.NaN()
	}
	return float64(ns) / float64(s.Total())
}

// Pair is one span with what is measured, between two without.
type Pair struct {
	Before, With, After Span
}

// Without returns the round trips, per window, of both spans without.
func (p Pair) Without() []float64 { return append(p.Before.RTTs(), p.After.RTTs()...) }

// Ratio is the median window with, over the median window without.
func (p Pair) Ratio() float64 { return Median(p.With.RTTs()) / Median(p.Without()) }

// Added is the median window with, less the median window without, in nanoseconds per unit.
func (p Pair) Added() float64 { return Median(p.With.RTTs()) - Median(p.Without()) }

// MeanRatio is the same of all round trips together: what happens in a few
// windows only is in it, and so is every disturbance.
func (p Pair) MeanRatio() float64 {
	without := Span{
		Trips: slices.Concat(p.Before.Trips, p.After.Trips),
		Ns:    slices.Concat(p.Before.Ns, p.After.Ns),
	}
	return p.With.Mean() / without.Mean()
}

// resamples of a bootstrap: the ends of a 95% interval then have 50 of them beyond.
const resamples = 2000

// Bootstrap returns the 95% percentile interval of the median of independent
// values. The same seed gives the same interval.
func Bootstrap(values []float64, seed uint64) Interval {
	if len(values) == 0 {
		return Interval{math.NaN(), math.NaN()}
	}
	random := rand.New(rand.NewPCG(seed, uint64(len(values))))
	medians := make([]float64, resamples)
	for i := range medians {
		medians[i] = redraw(random, values)
	}
	slices.Sort(medians)
	return Interval{quantileSorted(medians, 0.025), quantileSorted(medians, 0.975)}
}

// clip is how many times the median untraced window one window may count. All
// that tracing does to a window stays far below; a machine that stands still
// for a moment does not.
const clip = 1.2

// ClippedRatio is the mean window with, over the mean window without, none of
// which counts more than clip times the median one without: for what is
// attached for a part of the time, of which the median window may tell nothing.
func (p Pair) ClippedRatio() float64 {
	most := clip * Median(p.Without())
	return clippedMean(p.With.RTTs(), most) / clippedMean(p.Without(), most)
}

func clippedMean(values []float64, most float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	var sum float64
	for _, v := range values {
		sum += min(v, most)
	}
	return sum / float64(len(values))
}

// MostTimes is where Times ends: beyond, the smaller of both can't be told from nothing.
const MostTimes = 1000

// Times returns how many times the median of one sample is that of another,
// with the 95% bootstrap interval of that: both are drawn again independently.
func Times(of, over []float64, seed uint64) (float64, Interval) {
	if len(of) == 0 || len(over) == 0 {
		return math.NaN(), Interval{math.NaN(), math.NaN()}
	}
	random := rand.New(rand.NewPCG(seed, uint64(len(of)+len(over))))
	draws := make([]float64, resamples)
	for i := range draws {
		draws[i] = times(redraw(random, of), redraw(random, over))
	}
	slices.Sort(draws)
	return times(Median(of), Median(over)), Interval{quantileSorted(draws, 0.025), quantileSorted(draws, 0.975)}
}

func times(of, over float64) float64 {
	if over <= 0 || of > MostTimes*over {
		return MostTimes
	}
	return of / over
}

// redraw returns the median of as many values, drawn with repetition.
func redraw(random *rand.Rand, values []float64) float64 {
	draw := make([]float64, len(values))
	for i := range draw {
		draw[i] = values[random.IntN(len(values))]
	}
	slices.Sort(draw)
	return quantileSorted(draw, 0.5)
}

// Two groups of windows make a run bimodal when they lie this far apart and
// the smaller one has this share.
const (
	modesApart = 0.12
	modeShare  = 0.15
)

// Modes splits values where two groups differ most (the largest variance
// between them) and returns their means and the share of the smaller group.
func Modes(values []float64) (low, high, share float64) {
	if len(values) < 2 {
		return math.NaN(), math.NaN(), 0
	}
	sorted := slices.Sorted(slices.Values(values))
	var sum, left float64
	for _, v := range sorted {
		sum += v
	}
	best := -1.0
	n := float64(len(sorted))
	for i, v := range sorted[:len(sorted)-1] {
		left += v
		a, b := float64(i+1), n-float64(i+1)
		l, h := left/a, (sum-left)/b
		if between := a * b * (h - l) * (h - l); between > best {
			best, low, high, share = between, l, h, min(a, b)/n
		}
	}
	return low, high, share
}

// Bimodal says, in words, that windows without tracing fall into two
// groups, which happens when something else runs for a part of the time.
// Empty when they do not.
func Bimodal(rtts []float64) string {
	low, high, share := Modes(rtts)
	if share < modeShare || !(high > low*(1+modesApart)) {
		return ""
	}
	return fmt.Sprintf("untraced windows fall into two groups, %.2f and %.2f us (%.0f%% in the smaller)", low/1e3, high/1e3, share*100)
}

// Slope is what one more of something costs, between two sizes.
func Slope(small, large float64, fewer, more int) float64 {
	return (large - small) / float64(more-fewer)
}
