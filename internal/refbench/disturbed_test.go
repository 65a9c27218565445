// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// Rounds stay that nobody disturbed; where most are disturbed the quietest half
// does, and never fewer than an interval needs.
func TestQuietest(t *testing.T) {
	const most = 0.02
	for name, tt := range map[string]struct {
		others []float64
		kept   []int
	}{
		"none":            {nil, []int{}},
		"quiet":           {[]float64{0, 0.01, 0.02, 0}, []int{0, 1, 2, 3}},
		"two of ten":      {[]float64{0, 0.5, 0, 0, 0, 0.03, 0, 0, 0, 0.02}, []int{0, 2, 3, 4, 6, 7, 8, 9}},
		"all, unequally":  {[]float64{0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5, 0.55, 0.65, 0.75}, []int{1, 3, 5, 7, 8, 9}},
		"few":             {[]float64{0.9, 0.1, 0.8, 0.2, 0.7, 0.3}, []int{1, 2, 3, 4, 5}},
		"fewer than that": {[]float64{0.9, 0.1}, []int{0, 1}},
	} {
		disturbed := slices.Clone(tt.others)
		for i := range disturbed {
			disturbed[i] /= most
		}
		kept := quietest(disturbed)
		if !slices.Equal(kept, tt.kept) {
			t.Errorf("%s: %v stay, want %v", name, kept, tt.kept)
		}
	}
}

// roundsOf are rounds of 1 ms with a hundred requests each.
func roundsOf(others ...float64) *clientRounds {
	c := &clientRounds{others: others}
	for i := range others {
		c.slowed = append(c.slowed, unknown())
		c.rounds = append(c.rounds, tracer.Round{Start: time.Duration(i) * time.Second, Count: 100, SumNs: 1_000_000})
	}
	return c
}

// What disturbs one side takes the round from the other one too; a side of which
// nothing is known takes none.
func TestPickIsSymmetric(t *testing.T) {
	a := roundsOf(0, 0.4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b := roundsOf(0, 0, 0, 0, 0, 0.3, 0, 0, 0, 0, 0, 0)
	nan := unknown()
	c := roundsOf(nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan)
	if kept := pick(a, b, c); !slices.Equal(kept, []int{0, 2, 3, 4, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("%v stay", kept)
	}
	if kept := pick(c, c); len(kept) != 12 || c.meanOthers(nil) != nil {
		t.Errorf("%v stay of what is not known: %v", kept, c.meanOthers(nil))
	}
	if s := a.meanOthers(nil); s == nil || math.Abs(*s-0.4/12) > 1e-12 {
		t.Errorf("other work took %v of all", s)
	}
	if s := a.meanOthers([]int{0, 1}); s == nil || math.Abs(*s-0.2) > 1e-12 {
		t.Errorf("other work took %v of two", s)
	}
}

// A slow probe beside a round, on either side of it, by either way and in either
// half, takes the round from both ways; of those of a way the quickest ones are the measure.
func TestSlowedRoundsAreLeftOut(t *testing.T) {
	way := func(ns uint64, slow map[int][2]uint64) *cell {
		c := &cell{untraced: *roundsOf(make([]float64, 10)...), traced: *roundsOf(make([]float64, 10)...)}
		for _, rounds := range []*clientRounds{&c.untraced, &c.traced} {
			for i := range 10 {
				p := [2]uint64{ns, ns + 500}
				if s, ok := slow[i]; ok && rounds == &c.traced {
					p = s
				}
				rounds.probes = append(rounds.probes, p)
			}
		}
		c.judgePace()
		return c
	}
	a := way(10_000, map[int][2]uint64{3: {14_000, 10_500}, 5: {11_100, 11_700}})
	b := way(14_000, map[int][2]uint64{7: {14_000, 20_000}}) // slower by itself
	without, with := pick(&a.untraced, &b.untraced), pick(&a.traced, &b.traced)
	if len(without) != 10 || !slices.Equal(with, []int{0, 1, 2, 4, 5, 6, 8, 9}) {
		t.Errorf("%v and %v stay", without, with)
	}
	var o result.Others
	e := &result.Explained{}
	count(&o, e, [2][]int{without, with}, a, b)
	if e.Rounds != 20 || e.LeftOut != 2 || e.Slow != 2 || e.SlowKept != 0 || o.Slow != 2 {
		t.Errorf("counted %+v, %+v", e, o)
	}
	count(&o, e, [2][]int{without, {0, 3, 7}}, a, b)
	if e.SlowKept != 2 || o.SlowKept != 2 {
		t.Errorf("of three kept ones %d are slow", e.SlowKept)
	}
	none := way(0, nil)
	if kept := pick(&none.traced); len(kept) != 10 || none.traced.encode().Latency.Rounds[0].Slowed != nil {
		t.Errorf("%v stay of what nobody looked at", kept)
	}
	if s := a.traced.encode().Latency.Rounds[3].Slowed; s == nil || math.Abs(*s-0.4) > 1e-9 {
		t.Errorf("the document says %v of the slow round", s)
	}
}

// Where interrupts are counted as nobody's, each request has as much of them.
func TestInterruptsAreNoOthers(t *testing.T) {
	c := roundsOf(0.3, 0.3, 0.3, 0.8, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)
	c.rounds[3].Count = 30 // had time for fewer
	c.withoutInterrupts()
	for i, o := range c.others {
		want := 0.0
		if i == 3 {
			want = 0.8 - 0.3*30/100
		}
		if math.Abs(o-want) > 1e-9 {
			t.Errorf("round %d: %f, want %f", i, o, want)
		}
	}
}

func TestParseTicks(t *testing.T) {
	const stat = "cpu  10 0 10 100 0 0 0 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 5 0 5 80 0 0 2 8 0 0\nintr 1\n"
	got, ok := parseTicks(stat, 1)
	if !ok || got != (ticks{all: 100, stolen: 8}) {
		t.Errorf("%+v, %t", got, ok)
	}
	for name, bad := range map[string]string{"no such CPU": "cpu0 1 2 3 4 5 6 7 8\n", "short": "cpu1 1 2 3\n", "words": "cpu1 a b c d e f g h\n"} {
		if got, ok := parseTicks(bad, 1); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCaution(t *testing.T) {
	share := func(s float64) *float64 { return &s }
	for _, tt := range []struct {
		others result.Others
		words  []string
	}{
		{result.Others{}, nil},
		{result.Others{Share: share(0.01), KeptShare: share(0.001), StealShare: share(0.01), Rounds: 100, LeftOut: 3}, nil},
		{result.Others{Share: share(0.3), KeptShare: share(0.01), Rounds: 100, LeftOut: 30}, []string{"up to 30% of the CPU", "30 of 100 rounds are left out"}},
		{result.Others{Share: share(0.3), KeptShare: share(0.12), Rounds: 100, LeftOut: 50}, []string{"up to 12%: explained shares are lower"}},
		{result.Others{Rounds: 100, Slow: 9, LeftOut: 9}, nil},
		{result.Others{Rounds: 100, Slow: 40, LeftOut: 40}, []string{"in 40 of 100 rounds", "slowed the CPU", "40 of 100 rounds are left out"}},
		{result.Others{Rounds: 100, Slow: 80, SlowKept: 30, LeftOut: 50}, []string{"30 slowed ones are among those that stay"}},
		{result.Others{StealShare: share(0.25)}, []string{"the hypervisor gave 25%"}},
	} {
		text := caution(tt.others)
		if (text == "") != (len(tt.words) == 0) {
			t.Errorf("%+v: %q", tt.others, text)
		}
		for _, w := range tt.words {
			if !strings.Contains(text, w) {
				t.Errorf("%q has not %q", text, w)
			}
		}
	}
}

// hog uses a CPU, and rests as long as it has worked, until it is stopped.
func hog(t *testing.T, cpu int) (stop func()) {
	t.Helper()
	const turn = 20 * time.Millisecond
	end, ended := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with its binding
		var set unix.CPUSet
		set.Set(cpu)
		err := unix.SchedSetaffinity(0, &set)
		for {
			select {
			case <-end:
				ended <- err
				return
			case <-time.After(turn):
			}
			for until := time.Now().Add(turn); time.Now().Before(until); {
			}
		}
	}()
	return func() {
		close(end)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// Other work on the CPU of a bench is noticed, its rounds are left out of both
// ways, and it is said.
func TestOtherWorkIsTold(t *testing.T) {
	w := reference(t)
	stop := hog(t, runtime.NumCPU()-1)
	d := run(t, Config{World: w, Ways: []string{WayPublished}, Loads: []string{"tcp_rr"}, Duration: 8 * time.Second})
	stop()
	o := d.Bench.Others
	if o.Share == nil || o.KeptShare == nil || *o.Share < 0.1 || *o.KeptShare > *o.Share || o.LeftOut == 0 || o.LeftOut > o.Rounds/2 {
		t.Errorf("other work: %+v", o)
	}
	if !strings.Contains(o.Caution, "other work took") {
		t.Errorf("caution %q", o.Caution)
	}
	c := d.Comparisons[0]
	if e := c.Explained; e.OthersShare == nil || e.LeftOut != o.LeftOut || e.Rounds != o.Rounds || e.Base == nil {
		t.Errorf("explained: %+v", e)
	}
	var told, all int
	for _, cell := range d.Bench.Cells {
		for _, r := range append(slices.Clone(cell.Traced.Latency.Rounds), cell.Untraced.Latency.Rounds...) {
			all++
			if r.OthersShare != nil && *r.OthersShare >= 0 && *r.OthersShare <= 1 && r.Slowed != nil {
				told++
			}
		}
	}
	if told != all {
		t.Errorf("%d of %d rounds tell what other work took, and slowed", told, all)
	}
}

// Of docker-proxy's way and of loads with many requests nothing is known.
func TestOthersAreNotKnown(t *testing.T) {
	w := reference(t)
	d := run(t, Config{World: w, Ways: []string{WayProxy}, Loads: []string{"tcp_rr", "http"}, Duration: 10 * time.Second})
	for _, cell := range d.Bench.Cells {
		known := cell.Load == "tcp_rr" && cell.Way == WayHostLocal
		for _, r := range append(slices.Clone(cell.Traced.Latency.Rounds), cell.Untraced.Latency.Rounds...) {
			if (r.OthersShare != nil) != known {
				t.Fatalf("%s by %s: other work %v", cell.Load, cell.Way, r.OthersShare)
			}
			// whoever else has a part in a request, the client's CPU is looked at; HTTP's threads have none of their own
			if (r.Slowed != nil) != (cell.Load == "tcp_rr") {
				t.Fatalf("%s by %s: slowed %v", cell.Load, cell.Way, r.Slowed)
			}
		}
	}
}

// A thread that sends to itself has all of its time, or not even most of it.
func TestInterruptsApart(t *testing.T) {
	w := reference(t)
	r := &runner{Config: Config{World: w}, thread: w.thread}
	first, err := r.interruptsApart()
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.interruptsApart()
	if err != nil || first != second {
		t.Errorf("apart %t, then %t: %v", first, second, err)
	}
}
