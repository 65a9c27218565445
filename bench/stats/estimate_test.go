// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// disturbed draws pairs of windows whose unit takes 1000 ns, or times that with; in
// some pairs a neighbour slows most windows, in all of them some.
func disturbed(random *rand.Rand, pairs int, times float64) []Windows {
	var all []Windows
	for range pairs {
		worst := random.Float64() * 0.7
		draw := func(ns float64, n int) (values []float64) {
			for range n {
				v := ns * (1 + 0.01*random.NormFloat64())
				if random.Float64() < worst {
					v *= 1.1 + 0.5*random.Float64()
				}
				values = append(values, v)
			}
			return values
		}
		all = append(all, Windows{With: draw(1000*times, 40), Without: draw(1000, 40)})
	}
	return all
}

// What disturbs windows on either side moves the quick ones little, and the
// interval covers the truth about as often as it says.
func TestTypical(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	const trials, truth = 200, 1.1
	covered := 0
	for trial := range uint64(trials) {
		pairs := disturbed(random, 16, truth)
		e := Typical(pairs, trial)
		if again := Typical(pairs, trial); again.Interval != e.Interval || again.Ratio() != e.Ratio() {
			t.Fatalf("the same seed gave %v and %v", e, again)
		}
		if math.Abs(e.Ratio()-truth) > 0.01 || e.Interval.HalfWidth() > 0.01 {
			t.Errorf("ratio %v %v, want %v", e.Ratio(), e.Interval, truth)
		}
		if math.Abs(e.Added()-100) > 15 {
			t.Errorf("added %v ns, want 100", e.Added())
		}
		if e.Interval.Contains(truth) {
			covered++
		}
	}
	if covered < trials*88/100 {
		t.Errorf("%d of %d intervals contain the truth, want 95%%", covered, trials)
	}
}

// Pairs are drawn again, not windows: what differs from pair to pair is in the interval, however many windows there are.
func TestTypicalIsDrawnByPair(t *testing.T) {
	var pairs []Windows
	for i := range 8 {
		w := Windows{}
		for range 100 {
			w.With, w.Without = append(w.With, 1000+float64(20*i)), append(w.Without, 1000)
		}
		pairs = append(pairs, w)
	}
	if e := Typical(pairs, 1); e.Interval.HalfWidth() < 0.01 {
		t.Errorf("interval %v of pairs that differ by 2%% each", e.Interval)
	}
}

func TestEstimateOfLittle(t *testing.T) {
	if e := Typical([]Windows{{With: []float64{150}, Without: []float64{100}}}, 1); e.Ratio() != 1.5 || e.Interval != (Interval{1.5, 1.5}) {
		t.Errorf("one pair: %v %v, want 1.5", e.Ratio(), e.Interval)
	}
	for name, pairs := range map[string][]Windows{"nothing": nil, "no windows": {{}}, "one side": {{With: []float64{1}}}} {
		if e := Typical(pairs, 1); !math.IsNaN(e.Ratio()) || e.Interval.Contains(1) {
			t.Errorf("%s: %v %v", name, e.Ratio(), e.Interval)
		}
		if e := Mean(pairs, 1); !math.IsNaN(e.Ratio()) {
			t.Errorf("mean of %s: %v", name, e.Ratio())
		}
	}
}

// A window in which tracing was attached for a part of the time counts as it is; one in which the machine stood still does not.
func TestMean(t *testing.T) {
	for _, c := range []struct {
		with, without []float64
		want          float64
	}{
		{[]float64{100, 100, 110, 110}, []float64{100, 100, 100, 100}, 1.05},
		{[]float64{100, 100, 110, 900}, []float64{100, 100, 100, 100}, 1.275}, // the last one counts 200
		{[]float64{140, 140}, []float64{100, 100}, 1.4},                       // as the flood's windows with hooks
		{[]float64{100}, []float64{100, 100, 900, 100}, 1 / 1.25},
	} {
		if e := Mean([]Windows{{c.with, c.without}}, 1); math.Abs(e.Ratio()-c.want) > 1e-9 || e.Interval.Lo != e.Ratio() {
			t.Errorf("%v over %v: %v %v, want %v", c.with, c.without, e.Ratio(), e.Interval, c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	estimate := func(with float64) Estimate { return Typical([]Windows{{[]float64{with}, []float64{100}}}, 1) }
	if got, interval := Times(estimate(190), 1, estimate(110)); got != 9 || interval != (Interval{9, 9}) {
		t.Errorf("Times = %v %v, want 9", got, interval)
	}
	if got, _ := Times(estimate(200), 0.8, estimate(110)); got != 8 {
		t.Errorf("eight tenths of 100 over 10: %v", got)
	}
	if got, interval := Times(estimate(105), 1, estimate(99)); got != MostTimes || interval.Hi != MostTimes {
		t.Errorf("over nothing: %v %v, want the end of the scale", got, interval)
	}
	if got, interval := Times(Estimate{}, 1, estimate(110)); !math.IsNaN(got) || !math.IsNaN(interval.Lo) {
		t.Errorf("of nothing: %v %v", got, interval)
	}
}

// The interval of a quotient covers the truth about as often as it says, with noise in both.
func TestTimesCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	const trials = 100
	covered := 0
	for trial := range uint64(trials) {
		peer, ours := Typical(disturbed(random, 16, 1.8), trial), Typical(disturbed(random, 16, 1.1), trial+trials)
		if _, interval := Times(peer, 1, ours); interval.Contains(8) {
			covered++
		}
	}
	if covered < trials*85/100 {
		t.Errorf("%d of %d intervals contain the truth, want 95%%", covered, trials)
	}
}
