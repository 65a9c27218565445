package tracer

import (
	"math"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

func latencyOf(null Null, n uint64, values ...uint64) Latency {
	l := Latency{Null: null}
	for _, v := range values {
		l.Hist.AddN(v, n)
	}
	return l
}

func TestSummaryOfNothing(t *testing.T) {
	for _, s := range []Summary{Latency{}.Raw(), Latency{Null: Null{Count: 5, MeanNs: 90, MedianNs: 80}}.Corrected()} {
		if s != (Summary{}) {
			t.Errorf("summary of nothing: %+v", s)
		}
	}
	if (Latency{Null: Null{Count: 5, SpreadNs: 10}}).WithinNull() {
		t.Error("nothing is within the null")
	}
}

func TestRawTellsOnlyQuantilesWithTenSamplesAbove(t *testing.T) {
	for _, c := range []struct {
		n    uint64
		told int
	}{{19, 0}, {20, 1}, {100, 2}, {999, 2}, {1000, 3}, {10000, 4}} {
		s := latencyOf(Null{}, c.n, 20).Raw()
		told := 0
		for _, q := range []*float64{s.P50Ns, s.P90Ns, s.P99Ns, s.P999Ns} {
			if q != nil {
				told++
				if *q != 20 {
					t.Errorf("%d samples of 20: quantile %g", c.n, *q)
				}
			}
		}
		if told != c.told || s.Count != c.n || s.MaxNs != 20 || s.MeanNs != 20 || s.SumNs != float64(20*c.n) {
			t.Errorf("%d samples: %d quantiles told, want %d: %+v", c.n, told, c.told, s)
		}
	}
}

func TestCorrectedSubtractsTheNull(t *testing.T) {
	null := Null{Count: 100, MeanNs: 95.5, MedianNs: 90, SpreadNs: 12}
	l := latencyOf(null, 50, 10, 400, 30)
	raw, s := l.Raw(), l.Corrected()
	if want := raw.MeanNs - 95.5; s.MeanNs != want {
		t.Errorf("mean %g, want %g", s.MeanNs, want)
	}
	if want := raw.SumNs - 150*95.5; s.SumNs != want {
		t.Errorf("sum %g, want %g", s.SumNs, want)
	}
	if *s.P50Ns != 0 {
		t.Errorf("p50 %g is not floored at 0", *s.P50Ns)
	}
	if want := *raw.P90Ns - 90; *s.P90Ns != want {
		t.Errorf("p90 %g, want %g", *s.P90Ns, want)
	}
	if s.MaxNs != 310 || s.P99Ns != nil || s.Count != 150 {
		t.Errorf("%+v", s)
	}
}

func TestCorrectedMeanIsNotClampedAndAddsUp(t *testing.T) {
	null := Null{Count: 100, MeanNs: 100, MedianNs: 100, SpreadNs: 5}
	below, above := latencyOf(null, 10, 90), latencyOf(null, 10, 150)
	if b := below.Corrected(); b.MeanNs != -10 || b.SumNs != -100 || b.MaxNs != 0 {
		t.Errorf("below the null: %+v", b)
	}
	total := Latency{Null: Null{Count: 200, MeanNs: 200, MedianNs: 200}, Hist: histogram.Histogram{}}
	total.Hist.AddN(240, 10)
	if sum := below.Corrected().SumNs + above.Corrected().SumNs; sum != total.Corrected().SumNs {
		t.Errorf("hops sum to %g, the whole to %g", sum, total.Corrected().SumNs)
	}
}

func TestWithinNull(t *testing.T) {
	null := Null{Count: 100, MeanNs: 100, SpreadNs: 5}
	for _, c := range []struct {
		mean uint64
		want bool
	}{{94, false}, {95, true}, {100, true}, {105, true}, {106, false}} {
		if got := latencyOf(null, 1, c.mean).WithinNull(); got != c.want {
			t.Errorf("mean %d: %v", c.mean, got)
		}
	}
	if latencyOf(Null{SpreadNs: math.Inf(1)}, 1, 5).WithinNull() {
		t.Error("without null hops nothing is within the null")
	}
}
