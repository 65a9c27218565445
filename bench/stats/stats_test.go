// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedianAndQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{4, 1, 3, 2}, 0, 1},
		{[]float64{4, 1, 3, 2}, 1, 4},
		{[]float64{0, 10}, 0.25, 2.5},
	} {
		before := slices.Clone(c.values)
		if got := Quantile(c.values, c.q); got != c.want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", c.values, c.q, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("Quantile changed the order of %v to %v", before, c.values)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestSpan(t *testing.T) {
	s := Span{Trips: []uint64{10, 0, 30}, Ns: []uint64{1000, 500, 6000}}
	if got := s.RTTs(); !slices.Equal(got, []float64{100, 200}) {
		t.Errorf("RTTs = %v, want [100 200]", got)
	}
	if s.Total() != 40 {
		t.Errorf("Total = %d, want 40", s.Total())
	}
	if got := s.Mean(); got != 187.5 {
		t.Errorf("Mean = %v, want 187.5: windows without a round trip take time too", got)
	}
	if !math.IsNaN((Span{}).Mean()) {
		t.Error("the mean of nothing is a number")
	}
}

// windows makes a span whose windows have these mean round trips.
func windows(rtts ...uint64) Span {
	var s Span
	for _, rtt := range rtts {
		s.Trips = append(s.Trips, 1000)
		s.Ns = append(s.Ns, rtt*1000)
	}
	return s
}

func TestPairTakesBothNeighbours(t *testing.T) {
	// The machine gets slower by 10% meanwhile: the bracket takes that out.
	p := Pair{Before: windows(100, 100, 100), With: windows(210, 210, 210), After: windows(110, 110, 110)}
	if got := p.Ratio(); got != 2 {
		t.Errorf("Ratio = %v, want 2", got)
	}
	if got := p.MeanRatio(); math.Abs(got-2) > 1e-9 {
		t.Errorf("MeanRatio = %v, want 2", got)
	}
}

func TestPairMedianIgnoresAHiccupThatTheMeanShows(t *testing.T) {
	p := Pair{Before: windows(100, 100), With: windows(110, 110, 110, 110, 1110), After: windows(100, 100)}
	if got := p.Ratio(); math.Abs(got-1.1) > 1e-9 {
		t.Errorf("Ratio = %v, want 1.1", got)
	}
	if got := p.MeanRatio(); math.Abs(got-3.1) > 1e-9 {
		t.Errorf("MeanRatio = %v, want 3.1", got)
	}
}

func TestPairLeavesItsSpansAlone(t *testing.T) {
	p := Pair{Before: windows(1, 2), With: windows(3), After: windows(4, 5)}
	p.Before.Trips = slices.Grow(p.Before.Trips, 8) // room into which a careless append would write
	_ = p.Without()
	_ = p.MeanRatio()
	if len(p.Before.Trips) != 2 || p.Before.Trips[:3:3][2] != 0 {
		t.Errorf("a span was changed: %v", p.Before.Trips[:3])
	}
}

func TestBootstrap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	inside := 0
	const runs = 200
	for run := range uint64(runs) {
		values := make([]float64, 14)
		for i := range values {
			values[i] = 1.1 + 0.01*random.NormFloat64()
		}
		interval := Bootstrap(values, run)
		if again := Bootstrap(values, run); again != interval {
			t.Fatalf("the same seed gave %v and %v", interval, again)
		}
		if !interval.Contains(Median(values)) {
			t.Fatalf("%v does not contain the median %v", interval, Median(values))
		}
		if interval.Contains(1.1) {
			inside++
		}
	}
	// Nominally 95%; the percentile bootstrap of 14 values' median is a little off that.
	if share := float64(inside) / runs; share < 0.88 {
		t.Errorf("the true median lies in %.0f%% of the intervals only", share*100)
	}
}

func TestBootstrapNarrowsWithMorePairs(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	draw := func(n int) Interval {
		values := make([]float64, n)
		for i := range values {
			values[i] = 1 + 0.02*random.NormFloat64()
		}
		return Bootstrap(values, 5)
	}
	few, many := draw(8), draw(400)
	if many.HalfWidth() > few.HalfWidth()/2 {
		t.Errorf("400 pairs: half width %v, 8 pairs: %v", many.HalfWidth(), few.HalfWidth())
	}
}

func TestBootstrapOfOneAndNone(t *testing.T) {
	if got := Bootstrap([]float64{1.5}, 0); got != (Interval{1.5, 1.5}) {
		t.Errorf("one value: %v, want itself", got)
	}
	if got := Bootstrap(nil, 0); !math.IsNaN(got.Lo) || got.Contains(1) {
		t.Errorf("no value: %v contains something", got)
	}
}

func TestBimodal(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	around := func(centre, spread float64, n int) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = centre * (1 + spread*random.NormFloat64())
		}
		return values
	}
	for _, c := range []struct {
		name string
		rtts []float64
		want bool
	}{
		{"quiet", around(18500, 0.01, 300), false},
		{"broad, but one group", around(18500, 0.03, 300), false},
		{"a few hiccups", append(around(18500, 0.01, 300), around(40000, 0.1, 10)...), false},
		{"another load for half of the time", append(around(18500, 0.01, 150), around(37000, 0.02, 150)...), true},
		{"another load for a fifth of the time", append(around(18500, 0.01, 240), around(25000, 0.02, 60)...), true},
		{"one value", []float64{1}, false},
		{"nothing", nil, false},
	} {
		if got := Bimodal(c.rtts); (got != "") != c.want {
			t.Errorf("%s: %q, want bimodal %v", c.name, got, c.want)
		}
	}
}

func TestModes(t *testing.T) {
	low, high, share := Modes([]float64{30, 10, 10, 30, 10})
	if low != 10 || high != 30 || share != 0.4 {
		t.Errorf("Modes = %v, %v, %v, want 10, 30, 0.4", low, high, share)
	}
}

func TestSlope(t *testing.T) {
	if got := Slope(450, 1250, 9, 25); got != 50 {
		t.Errorf("Slope = %v, want 50", got)
	}
}

func TestAdded(t *testing.T) {
	p := Pair{Before: windows(100, 100, 100), With: windows(130, 150, 140), After: windows(110, 110, 110)}
	if got := p.Added(); math.Abs(got-35) > 1e-9 {
		t.Errorf("Added = %v, want 140 less 105", got)
	}
}

func TestTimes(t *testing.T) {
	got, interval := Times([]float64{80, 90, 100}, []float64{10, 10, 10}, 1)
	if got != 9 || interval.Lo != 8 || interval.Hi != 10 {
		t.Errorf("Times = %v %v, want 9 [8, 10]", got, interval)
	}
	again, same := Times([]float64{80, 90, 100}, []float64{10, 10, 10}, 1)
	if got != again || interval != same {
		t.Error("the same seed gives another interval")
	}
	if got, interval := Times([]float64{5}, []float64{-1}, 1); got != MostTimes || interval.Hi != MostTimes {
		t.Errorf("over nothing: %v %v, want the end of the scale", got, interval)
	}
	if got, interval := Times(nil, []float64{1}, 1); !math.IsNaN(got) || !math.IsNaN(interval.Lo) {
		t.Errorf("of nothing: %v %v", got, interval)
	}
}

// The interval of a quotient covers the truth about as often as it says, with noise in both.
func TestTimesCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	const trials = 200
	covered := 0
	for trial := range trials {
		draw := func(mean float64) []float64 {
			values := make([]float64, 14)
			for i := range values {
				values[i] = mean + random.NormFloat64()*mean/10
			}
			return values
		}
		if _, interval := Times(draw(800), draw(100), uint64(trial)); interval.Contains(8) {
			covered++
		}
	}
	if covered < trials*90/100 {
		t.Errorf("%d of %d intervals contain the truth, want 95%%", covered, trials)
	}
}

// A window in which tracing was attached for a part of the time counts as it is; one in which the machine stood still does not.
func TestClippedRatio(t *testing.T) {
	p := Pair{Before: windows(100, 100), With: windows(100, 100, 110, 110), After: windows(100, 100)}
	if got := p.ClippedRatio(); math.Abs(got-1.05) > 1e-9 {
		t.Errorf("ClippedRatio = %v, want 1.05", got)
	}
	p.With = windows(100, 100, 110, 900)
	if got := p.ClippedRatio(); math.Abs(got-1.075) > 1e-9 {
		t.Errorf("ClippedRatio = %v, want 1.075: the last window counts 120", got)
	}
	p = Pair{Before: windows(100, 100, 900), With: windows(100), After: windows(100)}
	if got := p.ClippedRatio(); math.Abs(got-1/1.05) > 1e-9 {
		t.Errorf("ClippedRatio = %v, want 1/1.05: windows without are held to the same", got)
	}
	if got := (Pair{}).ClippedRatio(); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}
