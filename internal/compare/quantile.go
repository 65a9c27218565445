// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// curve is the cumulative distribution of a histogram.
type curve struct {
	lower, upper []float64
	below        []float64 // share of values below the upper bound
	count        float64
	mean, spread float64 // of the values, from the buckets
}

func curveOf(h *histogram.Histogram) curve {
	c := curve{count: float64(h.Count())}
	if c.count == 0 {
		return c
	}
	var seen, sum, squares float64
	h.Each(func(lower, count uint64) {
		low := float64(lower)
		high := float64(histogram.Upper(histogram.Index(lower)))
		high = max(min(high, float64(h.Max)+1), low)
		n, middle := float64(count), (low+high)/2
		seen += n
		sum += n * middle
		squares += n * middle * middle
		c.lower, c.upper, c.below = append(c.lower, low), append(c.upper, high), append(c.below, seen/c.count)
	})
	c.mean = sum / c.count
	c.spread = math.Sqrt(max(squares/c.count-c.mean*c.mean, 0))
	return c
}

// quantile interpolates within the bucket: a difference of two medians is often
// less than a bucket is wide.
func (c curve) quantile(q float64) float64 {
	if len(c.below) == 0 {
		return 0
	}
	i, _ := slices.BinarySearch(c.below, q)
	i = min(i, len(c.below)-1)
	before := 0.0
	if i > 0 {
		before = c.below[i-1]
	}
	share := (q - before) / (c.below[i] - before)
	return c.lower[i] + min(max(share, 0), 1)*(c.upper[i]-c.lower[i])
}

// independent is how many independent values a histogram is worth: its values
// come in rounds, and those of a round resemble each other. It is their number,
// divided by how much more the rounds' means vary than such values would.
func (c curve) independent(rounds Series) float64 {
	n := float64(rounds.filled())
	if c.count == 0 || c.spread == 0 || n < 2 {
		return c.count
	}
	mean := rounds.mean(nil)
	var between float64
	for _, r := range rounds {
		if r.Count > 0 {
			d := r.Sum - mean*r.Count
			between += d * d
		}
	}
	variance := between / (c.count * c.count) * n / (n - 1)
	effect := variance / (c.spread * c.spread / c.count)
	return max(c.count/max(effect, 1), min(n, c.count))
}

// quantileSide is one side of a difference of quantiles.
type quantileSide struct {
	curve
	null  float64
	worth float64
}

func newQuantileSide(l *tracer.Latency, raw bool) quantileSide {
	if l == nil {
		return quantileSide{}
	}
	s := quantileSide{curve: curveOf(&l.Hist), null: l.Null.MedianNs}
	if raw {
		s.null = 0
	}
	s.worth = s.independent(seriesOf(l.Rounds))
	return s
}

// value is floored at 0, as in every other place.
func (s quantileSide) value(q float64) float64 {
	if s.count == 0 {
		return 0
	}
	return max(s.quantile(q)-s.null, 0)
}

// told tells whether a quantile may be told: 10 independent values above it. A
// side that has no such hop is 0, exactly.
func (s quantileSide) told(q float64) bool {
	return s.count == 0 || (1-q)*min(s.count, max(s.worth, 0)) >= 10-1e-9
}

// quantileDifference is the difference of two quantiles with the interval of a
// bootstrap over the histograms: of a multinomial sample of n values the q
// quantile has the rank that n*Beta(nq, n(1-q)) has, so that one number drawn
// stands for a whole resample.
func quantileDifference(of, against quantileSide, q float64, seed uint64) *result.Estimate {
	if !of.told(q) || !against.told(q) || of.count+against.count == 0 {
		return nil
	}
	random := rand.New(rand.NewPCG(seed, uint64(q*1e6)))
	drawn := make([]float64, resamples)
	for i := range drawn {
		drawn[i] = of.resample(random, q) - against.resample(random, q)
	}
	slices.Sort(drawn)
	point := of.value(q) - against.value(q)
	return &result.Estimate{Ns: point, Lo: min(at(drawn, 0.025), point), Hi: max(at(drawn, 0.975), point)}
}

func (s quantileSide) resample(random *rand.Rand, q float64) float64 {
	if s.count == 0 {
		return 0
	}
	return s.value(beta(random, s.worth*q, s.worth*(1-q)))
}

func beta(random *rand.Rand, a, b float64) float64 {
	x := gamma(random, a)
	return x / (x + gamma(random, b))
}

// gamma draws from the gamma distribution (Marsaglia and Tsang 2000, shape at
// least 1; smaller ones do not occur where a quantile may be told).
func gamma(random *rand.Rand, shape float64) float64 {
	d := max(shape, 1) - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := random.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		u := 1 - random.Float64()
		if math.Log(u) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
