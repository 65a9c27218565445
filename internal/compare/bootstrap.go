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
	drift       *drifting
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

// drifted are draws of two runs of which either has drifted: each resample lies in
// one era of each, the same one for all figures. whole are the rounds of all that
// is compared.
func (d Draws) drifted(seed uint64, of, against Series) Draws {
	m := &drifting{of: driftOf(of), against: driftOf(against), ofRounds: len(of), agsRounds: len(against)}
	if m.of.part == 0 && m.against.part == 0 {
		return d
	}
	random := rand.New(rand.NewPCG(seed, 0x6472696674))
	for range d.of {
		m.ofEra, m.againstEra = append(m.ofEra, random.IntN(eras)), append(m.againstEra, random.IntN(eras))
	}
	d.drift = m
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

// Drawn is a figure with what each resample makes of it. Figures of the same
// draws, and of others, are added and divided resample by resample.
type Drawn struct {
	point  float64
	each   []float64
	rounds int // of the side with fewer
}

// Of computes a figure in every resample.
func (d Draws) Of(f Statistic) Drawn {
	v := Drawn{point: f(nil, nil), rounds: d.rounds, each: make([]float64, len(d.of))}
	moved := func(int) float64 { return 0 }
	if d.drift != nil {
		moved = d.drift.moved(f)
	}
	for i := range d.of {
		v.each[i] = f(d.of[i], d.against[i]) + moved(i)
	}
	return v
}

// none is 0 in every resample.
func (d Draws) none() Drawn { return Drawn{rounds: d.rounds, each: make([]float64, len(d.of))} }

func (v Drawn) with(o Drawn, f func(a, b float64) float64) Drawn {
	r := Drawn{point: f(v.point, o.point), rounds: min(v.rounds, o.rounds), each: make([]float64, min(len(v.each), len(o.each)))}
	for i := range r.each {
		r.each[i] = f(v.each[i], o.each[i])
	}
	return r
}

// Plus is the sum of two figures.
func (v Drawn) Plus(o Drawn) Drawn { return v.with(o, func(a, b float64) float64 { return a + b }) }

// Minus is the difference of two figures.
func (v Drawn) Minus(o Drawn) Drawn { return v.with(o, func(a, b float64) float64 { return a - b }) }

// On says that the figure rests on so few rounds: others have nothing of it.
func (v Drawn) On(rounds int) Drawn {
	v.rounds = min(v.rounds, rounds)
	return v
}

// Estimate is the figure and its 95% interval; nil where there are too few rounds.
func (v Drawn) Estimate() *result.Estimate {
	if v.rounds < MinRounds {
		return nil
	}
	lo, hi := v.interval(1)
	return &result.Estimate{Ns: v.point, Lo: lo, Hi: hi}
}

// Share is the figure as a part of another one; nil where there are too few rounds.
func (v Drawn) Share(whole Drawn) *result.Share {
	e := v.with(whole, func(a, b float64) float64 { return a / b }).Estimate()
	if e == nil {
		return nil
	}
	return &result.Share{Share: e.Ns, Lo: e.Lo, Hi: e.Hi}
}

// interval is the 95% interval, at which all of so many figures hold together
// (Bonferroni). A percentile interval of few rounds is too narrow: it takes the
// spread of n values for that of n-1 degrees of freedom, and quantiles of the
// normal for those of Student's t. Both are made good by widening it.
func (v Drawn) interval(figures int) (lo, hi float64) {
	if len(v.each) == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	sorted := slices.Sorted(slices.Values(v.each))
	n := float64(v.rounds)
	tail := 0.025 / float64(max(figures, 1))
	widen := studentT(1-tail, v.rounds-1) * math.Sqrt(n/(n-1)) / normal(0.975)
	lo = v.point - widen*(v.point-at(sorted, 0.025))
	hi = v.point + widen*(at(sorted, 0.975)-v.point)
	return min(lo, v.point), max(hi, v.point)
}

// distinct tells whether 0 lies outside of the interval.
func (v Drawn) distinct(figures int) bool {
	lo, hi := v.interval(figures)
	return v.rounds >= MinRounds && (lo > 0 || hi < 0)
}

func at(sorted []float64, q float64) float64 {
	x := q * float64(len(sorted)-1)
	low := int(x)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (x-float64(low))*(sorted[high]-sorted[low])
}

// normal is the p-quantile of the normal distribution.
func normal(p float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*p) }

// studentT is the p-quantile (p > 0.5) of Student's t: its distribution function
// is inverted by bisection.
func studentT(p float64, freedom int) float64 {
	const normalEnough = 10_000 // from here on the two agree to four digits
	if freedom > normalEnough {
		return normal(p)
	}
	low, high := 0.0, 1.0
	for within(high, freedom) < 2*p-1 && high < 1e6 {
		high *= 2
	}
	for range 60 {
		middle := (low + high) / 2
		if within(middle, freedom) < 2*p-1 {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// within is the share of Student's t between -t and t: a finite sum of powers of
// a cosine, as freedom is a whole number (Abramowitz and Stegun, 26.7.3 and 26.7.4).
func within(t float64, freedom int) float64 {
	nu := max(freedom, 1)
	angle := math.Atan(t / math.Sqrt(float64(nu)))
	sin, cos := math.Sincos(angle)
	odd := nu % 2
	term, sum := 1.0, 0.0
	if odd == 1 {
		term = cos
	}
	for i := odd; i <= nu-2; i += 2 {
		sum += term
		term *= cos * cos * float64(i+1) / float64(i+2)
	}
	if odd == 1 {
		return 2 / math.Pi * (angle + sin*sum)
	}
	return sin * sum
}
