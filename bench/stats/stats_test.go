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

func TestPairLeavesItsSpansAlone(t *testing.T) {
	p := Pair{Before: windows(1, 2), With: windows(3), After: windows(4, 5)}
	p.Before.Trips = slices.Grow(p.Before.Trips, 8) // room into which a careless append would write
	_ = p.Windows(0)
	if got := p.MeanRatio(); got != 1 {
		t.Errorf("MeanRatio = %v, want 3 over the mean of 1, 2, 4 and 5", got)
	}
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

func TestSlope(t *testing.T) {
	if got := Slope(450, 1250, 9, 25); got != 50 {
		t.Errorf("Slope = %v, want 50", got)
	}
}
