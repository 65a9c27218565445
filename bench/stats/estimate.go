// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// typical is the quantile of windows that stands for what a unit takes: whatever
// disturbs a window makes it longer, so the quick ones tell most. In the quickest
// twentieth of quiet windows there is a sixth of the noise that there is in their
// median, and what tracing costs is the same (docs/decisions/0013).
const typical = 0.05

// clip is how many times the typical untraced window one window may count in a
// mean. What any detail does to a window stays below (up to 1.4 times, on a machine
// whose own windows reach 1.3); a machine that stands still for a moment does not.
const clip = 2

// Windows are what a unit took in one pair's windows, in nanoseconds.
type Windows struct {
	With, Without []float64
}

// Windows returns the pair's quiet windows, all of them without a limit.
func (p Pair) Windows(limit float64) Windows {
	without := append(p.Before.Quiet(limit).RTTs(), p.After.Quiet(limit).RTTs()...)
	return Windows{With: p.With.Quiet(limit).RTTs(), Without: without}
}

// Settled returns the quiet windows of each pair. Where the machine never was
// quiet, all windows are better than none: then disturbed is true.
func Settled(pairs []Pair, limit float64) (windows []Windows, disturbed bool) {
	if disturbed = Worth(pairs, limit) == 0; disturbed {
		limit = 0
	}
	for _, pair := range pairs {
		windows = append(windows, pair.Windows(limit))
	}
	return windows, disturbed
}

// Estimate is what all pairs of an arm tell together.
type Estimate struct {
	With, Without float64  // ns per unit
	Interval      Interval // of Ratio: 95%, from drawing the pairs again
	added         []float64
}

// Ratio is with over without, NaN of nothing.
func (e Estimate) Ratio() float64 { return e.With / e.Without }

// Added is what a unit takes more, in nanoseconds.
func (e Estimate) Added() float64 { return e.With - e.Without }

// Typical compares the quick windows with those without: the 0.05-quantile of the
// windows of all pairs together. Windows of one pair are alike, so pairs are drawn
// again, not windows. The same seed gives the same interval.
func Typical(pairs []Windows, seed uint64) Estimate {
	return estimate(pairs, seed, func(with, without pool, times []int) (float64, float64) {
		return with.quantile(times, typical), without.quantile(times, typical)
	})
}

// Mean compares the means of all windows, none of which counts more than clip
// times the typical one without: for what is attached for a part of the time, of
// which a quick window may tell nothing.
func Mean(pairs []Windows, seed uint64) Estimate {
	return estimate(pairs, seed, func(with, without pool, times []int) (float64, float64) {
		most := clip * without.quantile(times, typical)
		return with.mean(times, most), without.mean(times, most)
	})
}

func estimate(pairs []Windows, seed uint64, of func(with, without pool, times []int) (float64, float64)) Estimate {
	with := poolOf(pairs, func(w Windows) []float64 { return w.With })
	without := poolOf(pairs, func(w Windows) []float64 { return w.Without })
	times := make([]int, len(pairs))
	for i := range times {
		times[i] = 1
	}
	var e Estimate
	e.With, e.Without = of(with, without, times)
	random := rand.New(rand.NewPCG(seed, uint64(len(pairs))))
	var ratios []float64
	for range resamples {
		clear(times)
		for range pairs {
			times[random.IntN(len(pairs))]++
		}
		// a draw of pairs that have windows on one side only tells nothing
		if w, o := of(with, without, times); !math.IsNaN(w / o) {
			ratios, e.added = append(ratios, w/o), append(e.added, w-o)
		}
	}
	e.Interval = middle(ratios)
	return e
}

// middle is where the middle 95% of draws lie, NaN of nothing.
func middle(draws []float64) Interval {
	if len(draws) == 0 {
		return Interval{math.NaN(), math.NaN()}
	}
	slices.Sort(draws)
	return Interval{quantileSorted(draws, 0.025), quantileSorted(draws, 0.975)}
}

// pool is the windows of all pairs in order of their time.
type pool []pooled

type pooled struct {
	ns   float64
	pair int
}

func poolOf(pairs []Windows, side func(Windows) []float64) pool {
	var p pool
	for i, w := range pairs {
		for _, ns := range side(w) {
			p = append(p, pooled{ns, i})
		}
	}
	slices.SortFunc(p, func(a, b pooled) int { return cmp.Compare(a.ns, b.ns) })
	return p
}

// quantile is that of the windows when each pair is there so many times, NaN of none.
func (p pool) quantile(times []int, q float64) float64 {
	total := 0
	for _, window := range p {
		total += times[window.pair]
	}
	rank := int(q * float64(total-1))
	for _, window := range p {
		if rank -= times[window.pair]; rank < 0 {
			return window.ns
		}
	}
	return math.NaN()
}

// mean is that of the windows, none of which counts more than most.
func (p pool) mean(times []int, most float64) float64 {
	var sum, count float64
	for _, window := range p {
		n := float64(times[window.pair])
		sum += n * min(window.ns, most)
		count += n
	}
	return sum / count
}

// MostTimes is where Times ends: beyond, the smaller of both can't be told from nothing.
const MostTimes = 1000

// Times returns how many times what one arm adds is what another one does, the
// first one's share of it taken, with the 95% interval of that: both were drawn
// again independently.
func Times(of Estimate, share float64, over Estimate) (float64, Interval) {
	var draws []float64
	for i := range min(len(of.added), len(over.added)) {
		draws = append(draws, times(share*of.added[i], over.added[i]))
	}
	if len(draws) == 0 {
		return math.NaN(), middle(nil)
	}
	return times(share*of.Added(), over.Added()), middle(draws)
}

func times(of, over float64) float64 {
	if over <= 0 || of > MostTimes*over {
		return MostTimes
	}
	return of / over
}
