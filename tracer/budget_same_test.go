package tracer_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// hopsOf adds the hops of a run's busiest paths, by direction and name, to those of earlier runs.
func hopsOf(s tracer.Snapshot, to map[string]*histogram.Histogram) {
	seen := map[tracer.Direction]bool{}
	for _, p := range s.Targets[0].Paths { // the busiest come first
		if seen[p.Direction] {
			continue
		}
		seen[p.Direction] = true
		for _, hop := range p.Hops {
			key := p.Direction.String() + " " + hop.Name
			if to[key] == nil {
				to[key] = &histogram.Histogram{}
			}
			to[key].Merge(&hop.Latency.Hist)
		}
	}
}

// quantile is the histogram's, taken evenly within its bucket: buckets are 6% wide, and figures are held to 5%.
func quantile(h *histogram.Histogram, q float64) float64 {
	rank := q * float64(h.Count())
	for i, n := range h.Counts {
		if rank <= float64(n) {
			lower, upper := float64(histogram.Lower(i)), float64(histogram.Upper(i))
			return lower + (upper-lower)*rank/float64(n)
		}
		rank -= float64(n)
	}
	return float64(h.Max)
}

// What windows see is what is seen all the time: 5% around what runs of full
// tracing find, which differ by what else the machine does meanwhile. The load
// is the same, the hooks are (tracepoints at the devices), and so what a stamp
// costs is in both: raw figures are compared.
func TestBudgetSeesTheSame(t *testing.T) {
	const rounds, length, tolerance = 5, 1500 * time.Millisecond, 0.05
	s := newStage(t, budgetWorld(lab.WireVeth))
	defer s.paced(5)()
	run := func(cfg tracer.Config, to map[string]*histogram.Histogram) map[string]*histogram.Histogram {
		s.openBusy(cfg, "nginx")
		time.Sleep(length) // what is measured is this time
		s.must(s.tracer.Stop())
		hopsOf(s.snapshot(), to)
		s.must(s.tracer.Close())
		return to
	}
	var full []map[string]*histogram.Histogram
	budget := map[string]*histogram.Histogram{}
	for range rounds {
		full = append(full, run(tracer.Config{Devices: tracer.ProviderTracepoint}, map[string]*histogram.Histogram{}))
		run(tracer.Config{MaxOverhead: 0.02}, budget)
		full = append(full, run(tracer.Config{Devices: tracer.ProviderTracepoint}, map[string]*histogram.Histogram{}))
	}
	if len(full[0]) < 12 || len(budget) != len(full[0]) {
		t.Fatalf("%d hops with a budget, %d without", len(budget), len(full[0]))
	}
	for _, name := range slices.Sorted(maps.Keys(budget)) {
		for _, q := range []float64{0.5, 0.99} {
			var without []float64
			for _, one := range full {
				if one[name] == nil || one[name].Count() < 1000 {
					t.Fatalf("%s is not measured in each run", name)
				}
				without = append(without, quantile(one[name], q))
			}
			slices.Sort(without)
			middle, low, high := without[rounds], without[0], without[len(without)-1]
			with := quantile(budget[name], q)
			t.Logf("%-30s p%-2.0f %6.0f ns (%.0f to %.0f in single runs), %6.0f with a budget: %+.1f%%",
				name, q*100, middle, low, high, with, (with/middle-1)*100)
			if with < low*(1-tolerance) || with > high*(1+tolerance) {
				t.Errorf("%s p%.0f: %.0f ns with a budget, %.0f to %.0f without", name, q*100, with, low, high)
			}
		}
	}
}
