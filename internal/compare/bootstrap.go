// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/vethtrace/vethtrace/internal/result"
)

// resamples of a bootstrap: 50 of them lie beyond each end of a 95% interval.
const resamples = 2000

// MinRounds are needed for an interval: with fewer ones their spread is a guess.
const MinRounds = 5

// Sample is one round of a series: how many values, and their sum.
type Sample struct {
	Count float64
	Sum   float64
}

// Series is a series of rounds. Values of one round are correlated, so that
// rounds, not values, are what is drawn.
type Series []Sample

// Mean is the mean of all values, or of those of the rounds drawn; 0 of none.
func (s Series) mean(drawn []int) float64 {
	var count, sum float64
	if drawn == nil {
		for _, r := range s {
			count, sum = count+r.Count, sum+r.Sum
		}
	} else {
		for _, i := range drawn {
			count, sum = count+s[i].Count, sum+s[i].Sum
		}
	}
	if count > 0 {
		return sum / count
	}
	if drawn != nil {
		return s.mean(nil) // what is measured in windows is not in every round, nor in every draw
	}
	return 0
}

// filled is how many rounds have a value.
func (s Series) filled() int {
	n := 0
	for _, r := range s {
		if r.Count > 0 {
			n++
		}
	}
	return n
}

// Draws are the rounds that each resample takes of either side. All figures of a
// comparison use the same ones, so that their shares add up in each.
type Draws struct {
	of, against [][]int
	rounds      int // of the side with fewer
}

// NewDraws draws rounds with replacement; paired ones together, as round i of
// both sides was measured at the same time. The same seed draws the same.
func NewDraws(seed uint64, of, against int, paired bool) Draws {
	random := rand.New(rand.NewPCG(seed, 0x7665746874726163))
	d := Draws{rounds: min(of, against)}
	if d.rounds < 1 {
		return d
	}
	paired = paired && of == against
	for range resamples {
		a := draw(random, of)
		b := a
		if !paired {
			b = draw(random, against)
		}
		d.of, d.against = append(d.of, a), append(d.against, b)
	}
	return d
}

func draw(random *rand.Rand, n int) []int {
	drawn := make([]int, n)
	for i := range drawn {
		drawn[i] = random.IntN(n)
	}
	return drawn
}

// Statistic computes a figure of the rounds drawn of either side; nil is all.
type Statistic func(of, against []int) float64

// Difference is that of two means, each minus what it costs to measure it.
func Difference(of, against Series, ofNull, againstNull float64) Statistic {
	return func(a, b []int) float64 { return side(of, a, ofNull) - side(against, b, againstNull) }
}

func side(s Series, drawn []int, null float64) float64 {
	if len(s) == 0 {
		return 0
	}
	return s.mean(drawn) - null
}

// estimate is a figure with what the resamples made of it.
type estimate struct {
	point  float64
	drawn  []float64 // sorted
	rounds int
}

func (d Draws) estimate(f Statistic) estimate {
	e := estimate{point: f(nil, nil), rounds: d.rounds, drawn: make([]float64, len(d.of))}
	for i := range d.of {
		e.drawn[i] = f(d.of[i], d.against[i])
	}
	slices.Sort(e.drawn)
	return e
}

// Estimate is a figure and its 95% interval; nil where there are too few rounds.
func (d Draws) Estimate(f Statistic) *result.Estimate {
	if d.rounds < MinRounds {
		return nil
	}
	e := d.estimate(f)
	lo, hi := e.interval(1)
	return &result.Estimate{Ns: e.point, Lo: lo, Hi: hi}
}

// Joint is a figure of two measurements that were made apart, each with rounds
// of its own: its arguments are those drawn of the one, then of the other.
type Joint func(of, against, ofOther, againstOther []int) float64

// Joint estimates a figure of two measurements.
func (d Draws) Joint(other Draws, f Joint) *result.Estimate {
	if d.rounds < MinRounds || other.rounds < MinRounds {
		return nil
	}
	e := estimate{point: f(nil, nil, nil, nil), rounds: min(d.rounds, other.rounds), drawn: make([]float64, len(d.of))}
	for i := range d.of {
		e.drawn[i] = f(d.of[i], d.against[i], other.of[i], other.against[i])
	}
	slices.Sort(e.drawn)
	lo, hi := e.interval(1)
	return &result.Estimate{Ns: e.point, Lo: lo, Hi: hi}
}

// Share is that of a ratio.
func (d Draws) Share(part, whole Statistic) *result.Share {
	if d.rounds < MinRounds {
		return nil
	}
	e := d.estimate(func(a, b []int) float64 { return part(a, b) / whole(a, b) })
	lo, hi := e.interval(1)
	return &result.Share{Share: e.point, Lo: lo, Hi: hi}
}

// interval is the 95% interval, at which all of so many figures hold together
// (Bonferroni). A percentile interval of few rounds is too narrow: it takes the
// spread of n values for that of n-1 degrees of freedom, and quantiles of the
// normal for those of Student's t. Both are made good by widening it.
func (e estimate) interval(figures int) (lo, hi float64) {
	if len(e.drawn) == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	n := float64(e.rounds)
	tail := 0.025 / float64(max(figures, 1))
	widen := studentT(1-tail, e.rounds-1) * math.Sqrt(n/(n-1)) / normal(0.975)
	lo = e.point - widen*(e.point-at(e.drawn, 0.025))
	hi = e.point + widen*(at(e.drawn, 0.975)-e.point)
	return min(lo, e.point), max(hi, e.point)
}

// distinct tells whether 0 lies outside of the interval.
func (e estimate) distinct(figures int) bool {
	lo, hi := e.interval(figures)
	return e.rounds >= MinRounds && (lo > 0 || hi < 0)
}

// at is a quantile of sorted values, with linear interpolation.
func at(sorted []float64, q float64) float64 {
	x := q * float64(len(sorted)-1)
	low := int(x)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (x-float64(low))*(sorted[high]-sorted[low])
}

// normal is the p-quantile of the normal distribution.
func normal(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// studentT is the p-quantile (p > 0.5) of Student's t: its distribution function
// is integrated, and inverted by bisection.
func studentT(p float64, freedom int) float64 {
	nu := float64(max(freedom, 1))
	gammaTop, _ := math.Lgamma((nu + 1) / 2)
	gammaLow, _ := math.Lgamma(nu / 2)
	scale := math.Exp(gammaTop-gammaLow) / math.Sqrt(nu*math.Pi)
	// above is the mass between 0 and t, by Simpson's rule.
	above := func(t float64) float64 {
		const steps = 400
		h := t / steps
		density := func(x float64) float64 { return scale * math.Pow(1+x*x/nu, -(nu+1)/2) }
		sum := density(0) + density(t)
		for i := 1; i < steps; i++ {
			sum += density(float64(i)*h) * float64(2+2*(i%2))
		}
		return sum * h / 3
	}
	low, high := 0.0, 1.0
	for above(high) < p-0.5 && high < 1e6 {
		high *= 2
	}
	for range 60 {
		middle := (low + high) / 2
		if above(middle) < p-0.5 {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}
