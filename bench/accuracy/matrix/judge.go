// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"math"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// What a figure may be off by: a hop that packets are made to wait in, and any
// other. To both comes the half-width of what the hop does by itself.
const (
	toleranceShare = 0.03
	toleranceNs    = 60.0
	// noisyNs is how far a hop may seem to move, or how badly that may be known, while nothing changes.
	noisyNs = 60.0
)

// A long delay lets the caches cool: what the processor then does anew takes
// longer, in the hops behind it and, in the next packet, before it, as it does
// after a pause before the host (place Outside). Other hops may then move by a
// share of the delay; that no share of it is taken for another hop's, the
// shorter delays show.
const (
	cooling   = 100 * time.Microsecond
	coolShare = 0.001
	cold      = time.Millisecond
	coldShare = 0.003
)

// cooled is by how much, in ns, a delay may move other hops in earnest.
func cooled(delay time.Duration) float64 {
	switch {
	case delay >= cold:
		return coldShare * float64(delay)
	case delay >= cooling:
		return coolShare * float64(delay)
	}
	return 0
}

// Median is the median of a histogram, taken as spread evenly over its bucket:
// the difference of two medians is then not rounded to buckets twice. NaN of nothing.
func Median(h *histogram.Histogram) float64 {
	half := float64(h.Count()) / 2
	seen := 0.0
	for i, count := range h.Counts {
		if n := float64(count); n > 0 {
			if seen+n >= half {
				lower, upper := float64(histogram.Lower(i)), float64(histogram.Upper(i))
				return lower + (half-seen)/n*(upper-lower)
			}
			seen += n
		}
	}
	return math.NaN()
}

// Hop is how one hop moved.
type Hop struct {
	Name  string
	Want  float64        // ns
	Moved float64        // ns: median over the rounds of with the delay less without
	Same  float64        // the same of without less without: the A/A arm
	Range stats.Interval // its 95% interval
	Known stats.Interval // that of Moved
	Delay time.Duration  // that packets waited, here or elsewhere
	Value float64        // ns: the hop's median with the delay
}

// Rounds are the medians of one hop, in ns, in windows that took turns.
type Rounds struct {
	Off, Same, On []float64
}

// differences are, by round, with less without, and without less without.
func (r Rounds) differences() (moved, same []float64) {
	for i, on := range r.On {
		moved = append(moved, on-(r.Off[i]+r.Same[i])/2)
		same = append(same, r.Same[i]-r.Off[i])
	}
	return moved, same
}

// Settled tells whether more rounds would tell no more: both how the hop moved
// and what it does by itself are known to a quarter of what they may be off by.
// It asks how far rounds are apart, and not where they are: to end there makes
// nothing right that is not.
func Settled(delay time.Duration, want float64, r Rounds) bool {
	const part = 4
	moved, same := r.differences()
	apart := func(values []float64) float64 { return (slices.Max(values) - slices.Min(values)) / 2 }
	return apart(moved) <= tolerance(want, 0, delay)/part && apart(same) <= toleranceNs/part
}

// Judge compares a hop's windows with a delay and without; want is by how much,
// in ns, it must have moved.
func Judge(name string, delay time.Duration, want float64, r Rounds) Hop {
	moved, same := r.differences()
	return Hop{
		Name: name, Delay: delay, Want: want, Moved: stats.Median(moved),
		Same: stats.Median(same), Range: stats.Bootstrap(same, 1), Known: stats.Bootstrap(moved, 1), Value: stats.Median(r.On),
	}
}

// Tolerance is how far from Want the hop may have moved.
// A histogram tells no value better than to 3.2%: where the hop is longer than
// the delay, that share is of the hop.
func (h Hop) Tolerance() float64 {
	if h.Want > 0 {
		return tolerance(max(h.Want, h.Value), h.Range.HalfWidth(), h.Delay)
	}
	return tolerance(0, h.Range.HalfWidth(), h.Delay)
}

func tolerance(want, half float64, delay time.Duration) float64 {
	return max(toleranceNs, toleranceShare*want, cooled(delay)) + half
}

// Right tells whether it moved as it had to.
func (h Hop) Right() bool {
	return math.Abs(h.Moved-h.Want) <= h.Tolerance()
}

// Refuted tells whether it did not move as it had to, however badly that is
// known: its whole 95% interval lies where it may not.
func (h Hop) Refuted() bool {
	return h.Known.Hi < h.Want-h.Tolerance() || h.Known.Lo > h.Want+h.Tolerance()
}

// Right tells whether a hop may be off by so many ns, that had to move by want
// and whose A/A arm has this half-width.
func Right(off, want, half float64, delay time.Duration) bool {
	return math.Abs(off) <= tolerance(want, half, delay)
}

// Noisy tells whether the A/A arm does not hold: then the hop says nothing.
func (h Hop) Noisy() bool {
	most := max(noisyNs, cooled(h.Delay))
	return !(math.Abs(h.Same) <= most && h.Range.HalfWidth() <= most)
}
