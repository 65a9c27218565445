// Package histogram is the log-linear histogram that the kernel programs and
// the Go side share: 16 sub-buckets per power of two, from 1 ns to 2^31 ns.
//
// The rule of the buckets is stated here once and followed by bpf/ as well:
//
//	v <  32:        bucket v, one nanosecond wide
//	32 <= v < 2^31: k = floor(log2 v); bucket 32 + (k-5)*16 + ((v >> (k-4)) & 15)
//	v >= 2^31:      overflow
//
// A bucket is at most a sixteenth as wide as its lower bound, so its midpoint
// is within 3.2% of everything in it.
package histogram

import (
	"math"
	"math/bits"
)

// Buckets is how many buckets a histogram has, overflow not among them.
const Buckets = 448

const (
	linear   = 32      // values below have a bucket each
	limit    = 1 << 31 // values from here on overflow
	minAbove = 10      // samples that must lie above a quantile for it to be told
)

// Index returns the bucket that ns falls into, Buckets when it overflows.
func Index(ns uint64) int {
	if ns < linear {
		return int(ns)
	}
	if ns >= limit {
		return Buckets
	}
	k := bits.Len64(ns) - 1
	return linear + (k-5)*16 + int(ns>>(k-4)&15)
}

// Lower returns the smallest value, in nanoseconds, of bucket i. The overflow
// bucket, i = Buckets, starts at 2^31.
func Lower(i int) uint64 {
	switch {
	case i < linear:
		return uint64(max(i, 0))
	case i >= Buckets:
		return limit
	}
	k := (i-linear)/16 + 5
	return uint64(16+(i-linear)%16) << (k - 4)
}

// Upper returns the smallest value, in nanoseconds, that lies above bucket i.
// The overflow bucket, i = Buckets, has none: math.MaxUint64.
func Upper(i int) uint64 {
	if i >= Buckets {
		return math.MaxUint64
	}
	return Lower(i + 1)
}

// Histogram counts values in nanoseconds. The zero value is empty and ready.
// It is not safe for concurrent use.
type Histogram struct {
	Counts   [Buckets]uint64
	Overflow uint64 // values of 2^31 ns and more
	Sum      uint64 // exact, overflowed values included
	Max      uint64 // exact, unless Sub had to estimate it
}

// Add counts one value of ns nanoseconds.
func (h *Histogram) Add(ns uint64) { h.AddN(ns, 1) }

// AddN counts n values of ns nanoseconds each.
func (h *Histogram) AddN(ns, n uint64) {
	if n == 0 {
		return
	}
	if i := Index(ns); i < Buckets {
		h.Counts[i] += n
	} else {
		h.Overflow += n
	}
	h.Sum += ns * n
	h.Max = max(h.Max, ns)
}

// Count returns how many values were counted, overflowed ones included.
func (h *Histogram) Count() uint64 {
	n := h.Overflow
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Merge adds everything that o counted. A nil o is empty.
func (h *Histogram) Merge(o *Histogram) {
	if o == nil {
		return
	}
	for i, c := range o.Counts {
		h.Counts[i] += c
	}
	h.Overflow += o.Overflow
	h.Sum += o.Sum
	h.Max = max(h.Max, o.Max)
}

// Sub returns what was counted since earlier, an older state of the same
// histogram. Max is exact where the largest value ever lies in a bucket that
// grew; otherwise it is the largest value of the highest bucket that did. What
// shrank, which only a histogram that started anew does, counts as nothing.
func (h *Histogram) Sub(earlier *Histogram) Histogram {
	if earlier == nil {
		return *h
	}
	var d Histogram
	highest := -1
	for i, c := range h.Counts {
		if d.Counts[i] = less(c, earlier.Counts[i]); d.Counts[i] > 0 {
			highest = i
		}
	}
	if d.Overflow = less(h.Overflow, earlier.Overflow); d.Overflow > 0 {
		highest = Buckets
	}
	d.Sum = less(h.Sum, earlier.Sum)
	switch {
	case highest < 0:
	case highest >= Index(h.Max):
		d.Max = h.Max
	default:
		d.Max = Upper(highest) - 1
	}
	return d
}

// less is a-b, and 0 where that is negative.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// Mean returns the exact mean in nanoseconds, 0 when nothing was counted.
func (h *Histogram) Mean() float64 {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return float64(h.Sum) / float64(n)
}

// Quantile estimates the value, in nanoseconds, that a share q of all values
// does not exceed: the middle of the bucket that the ceil(q*count)-th smallest
// value lies in, at most 3.2% off and never above Max. It does not fall when q
// rises. In the overflow bucket only its order is right, not the 3.2%.
//
// ok tells whether it may be told: at least 10 values must lie above, that is
// (1-q)*count >= 10. The estimate is returned either way; it is 0 when nothing
// was counted or q is not a number. q is taken as 0 below 0 and 1 above 1.
func (h *Histogram) Quantile(q float64) (ns float64, ok bool) {
	n := h.Count()
	if n == 0 || math.IsNaN(q) {
		return 0, false
	}
	q = min(max(q, 0), 1)
	// The tolerance is for q like 0.9, of which 1-q is a little below 0.1.
	ok = (1-q)*float64(n) >= minAbove-1e-9
	rank := max(uint64(math.Ceil(q*float64(n))), 1)
	var seen uint64
	for i, c := range h.Counts {
		if seen += c; seen >= rank {
			return min(middle(i), float64(h.Max)), ok
		}
	}
	return (limit + float64(max(h.Max, limit))) / 2, ok
}

// middle is the middle of the whole nanoseconds that bucket i holds.
func middle(i int) float64 {
	return (float64(Lower(i)) + float64(Upper(i)-1)) / 2
}

// Each calls f for every bucket that is not empty, in rising order, with its
// lower bound in nanoseconds. The overflow bucket comes last, at 2^31.
func (h *Histogram) Each(f func(lower, count uint64)) {
	for i, c := range h.Counts {
		if c > 0 {
			f(Lower(i), c)
		}
	}
	if h.Overflow > 0 {
		f(limit, h.Overflow)
	}
}
