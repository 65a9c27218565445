// SPDX-License-Identifier: Apache-2.0

// Package stats is the arithmetic of measurements that alternate between with
// and without: medians, what quiet windows tell, and bootstrap intervals. It is pure.
package stats

import (
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
	Trips  []uint64 `json:"trips"`  // round trips of each window
	Ns     []uint64 `json:"ns"`     // how long each window really was
	Probes []uint64 `json:"probes"` // ns; how long the same piece of work took before each window, and behind the last one; none: not known
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
	Before Span `json:"before"`
	With   Span `json:"with"`
	After  Span `json:"after"`
}

// MeanRatio is with over without of all round trips together: what happens in a
// few windows only is in it, and so is every disturbance.
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
	return middle(medians)
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

// Slope is what one more of something costs, between two sizes.
func Slope(small, large float64, fewer, more int) float64 {
	return (large - small) / float64(more-fewer)
}
