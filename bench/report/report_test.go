// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/bench/benchbpf"
	"github.com/vethtrace/vethtrace/bench/stats"
)

func span(rtts ...uint64) stats.Span {
	var s stats.Span
	for _, rtt := range rtts {
		s.Trips = append(s.Trips, 100)
		s.Ns = append(s.Ns, rtt*100)
	}
	return s
}

func good() Row {
	return Row{
		Load: "TCP ping-pong", Way: "published port", Arm: "hooks", Unit: "round trip", Kind: KindTraced,
		WithoutNs: 18500, WithNs: 20165,
		Ratio: 1.09, Interval: stats.Interval{Lo: 1.08, Hi: 1.10}, MeanRatio: 1.093,
		Goal: 1.12, Runs: 21.5, WindowRuns: 0.75, RunsGoal: 22, Stamps: [2]float64{9, 9}, PathLength: [2]int{9, 9}, Completed: 1,
	}
}

func same() Row {
	return Row{Load: "TCP ping-pong", Way: "published port", Arm: "A/A", Unit: "round trip", Kind: KindSame, Ratio: 1.0004, Interval: stats.Interval{Lo: 0.998, Hi: 1.003}}
}

func result(rows ...Row) Result {
	return Result{
		Version: "v0", Date: "2026-01-02", Machine: Machine{Kernel: "6.18.0", CPU: "CPU", Cores: 2, Virtual: true},
		Scheme: Scheme{Pairs: 14, Few: 7, Seed: 7, WindowMs: 100, Without: 5, With: 10, SettleMs: 1100},
		Rows:   rows, Body: benchbpf.Body{StampNs: 47, ClockNs: 38, JourneyNs: 55, Counted: 10, Expected: 10, Runs: 5, Rounds: 2},
	}
}

func TestFill(t *testing.T) {
	var r Row
	e := r.Fill([]stats.Pair{
		{Before: span(100, 100), With: span(120, 120), After: span(100, 100)},
		{Before: span(100, 100), With: span(120, 120), After: span(100, 100)},
		{Before: span(100, 100), With: span(130, 130), After: span(100, 100)},
	}, 0, 1)
	if r.Ratio != 1.2 || r.MeanRatio != 1.2 || r.WithoutNs != 100 || r.WithNs != 120 || e.Added() != 20 {
		t.Errorf("ratio %v, of all units %v, %v and %v, added %v; want 1.2, 1.2, 100 and 120, 20", r.Ratio, r.MeanRatio, r.WithoutNs, r.WithNs, e.Added())
	}
	if r.Interval.Lo != 1.2 || r.Interval.Hi != 1.3 {
		t.Errorf("Interval = %v, want [1.2, 1.3]", r.Interval)
	}
	if r.Pairs != 3 || r.Windows != [2]int{12, 6} {
		t.Errorf("%d pairs, %v windows, want 3, 12 without and 6 with", r.Pairs, r.Windows)
	}
}

// Windows of a moment in which the machine was not quiet count for all units only.
func TestFillQuiet(t *testing.T) {
	probed := func(probe uint64, rtts ...uint64) stats.Span {
		s := span(rtts...)
		for range len(rtts) + 1 {
			s.Probes = append(s.Probes, probe)
		}
		return s
	}
	quiet := stats.Pair{Before: probed(10, 100, 100), With: probed(10, 110, 110), After: probed(10, 100, 100)}
	disturbed := stats.Pair{Before: probed(10, 100, 100), With: probed(15, 170, 170), After: probed(10, 100, 100)}
	var r Row
	r.Fill([]stats.Pair{quiet, disturbed}, 11, 1)
	if r.Windows != [2]int{8, 2} || r.Ratio != 1.1 || r.WithNs != 110 || math.Abs(r.MeanRatio-1.4) > 1e-9 || math.Abs(r.Quiet-10./12) > 1e-9 {
		t.Errorf("windows %v, ratio %v, with %v, all units %v, quiet %v; want [8 2], 1.1, 110, 1.4, 0.83", r.Windows, r.Ratio, r.WithNs, r.MeanRatio, r.Quiet)
	}
	peer := Row{Kind: KindPeer}
	peer.Fill([]stats.Pair{disturbed}, 11, 1)
	if peer.Ratio != 1.7 || len(peer.Void) > 0 {
		t.Errorf("ratio %v, void %v: what a peer does on other CPUs is its cost", peer.Ratio, peer.Void)
	}
	var none Row
	none.Fill([]stats.Pair{disturbed}, 11, 1)
	if !none.Disturbed || none.Ratio != 1.7 || r.Disturbed || peer.Disturbed {
		t.Errorf("ratio %v, disturbed %v: all windows count where none is quiet, and it is said", none.Ratio, none.Disturbed)
	}
	none.Load, none.Way, none.Arm, none.Kind = "l", "w", "A/A", KindSame
	if why := strings.Join(result(none).TooNoisy("l, w"), "; "); !strings.Contains(why, "never quiet: A/A") {
		t.Errorf("too noisy: %q", why)
	}
}

// What is attached for a part of the time is judged by the mean window, not by the quick ones, which it may have missed.
func TestFillInAll(t *testing.T) {
	r := Row{InAll: true}
	r.Fill([]stats.Pair{{Before: span(100, 100), With: span(100, 100, 115), After: span(100, 100)}}, 0, 1)
	if math.Abs(r.Ratio-1.05) > 1e-9 || r.Interval.Lo != r.Ratio {
		t.Errorf("Ratio = %v %v, want 1.05", r.Ratio, r.Interval)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Row)
		want   string
	}{
		{"all followed", func(*Row) {}, ""},
		{"as good as all", func(r *Row) { r.Completed = 0.9995 }, ""},
		{"some did not complete", func(r *Row) { r.Completed = 0.9985 }, "99.850% of the journeys"},
		{"nothing seen", func(r *Row) { r.Completed = math.NaN() }, "journeys completed"},
		{"evicted", func(r *Row) { r.Evicted = 1 }, "1 journeys were evicted"},
		{"a stamp is missing", func(r *Row) { r.Stamps[1] = 8.5 }, "8.500 stamps per packet out, the path has 9"},
		{"no path", func(r *Row) { r.PathLength[0] = 0 }, "no path in"},
		{"nothing comes back of a flood", func(r *Row) { r.Unit, r.PathLength[1], r.Stamps[1] = "packet", 0, 0 }, ""},
		{"nothing comes back of a request", func(r *Row) { r.Unit, r.PathLength[1], r.Stamps[1] = "request", 0, 0 }, "no path out"},
		{"a bystander has no journeys", func(r *Row) { *r = Row{Kind: KindBystander} }, ""},
	} {
		row := good()
		c.change(&row)
		row.Check()
		row.Check() // a reason is told once
		got := strings.Join(row.Void, "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || len(row.Void) > 1 {
			t.Errorf("%s: void %q, want %q", c.name, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Row)
		want   string
	}{
		{"good", func(*Row) {}, "met; runs met"},
		{"too slow", func(r *Row) { r.Ratio, r.Interval = 1.2, stats.Interval{Lo: 1.19, Hi: 1.21} }, "not met; runs met"},
		{"just met as printed", func(r *Row) { r.Interval.Hi = 1.1204 }, "met; runs met"},
		{"a goal with more decimals than are printed", func(r *Row) { r.Goal, r.Ratio, r.Interval.Hi = 1/0.93, 1.07, 1.0754 }, "met; runs met"},
		{"not sure", func(r *Row) { r.Interval.Hi = 1.13 }, "not met (the figure is, its interval is not); runs met"},
		{"too many runs", func(r *Row) { r.Runs = 22.5 }, "met; runs not met"},
		{"a stray packet", func(r *Row) { r.Runs = 22.02 }, "met; runs met"},
		{"null hops are no part of the goal", func(r *Row) { r.WindowRuns = 3 }, "met; runs met"},
		{"a peer", func(r *Row) { *r = Row{Kind: KindPeer, Unit: "round trip", Events: 18, Lost: 0.031} }, "18.00 events per round trip, 3.1% lost"},
		{"void", func(r *Row) { r.Void = []string{"a", "b"} }, "void: a; b"},
		{"only runs", func(r *Row) { r.Goal = 0 }, "runs met"},
		{"A/A", func(r *Row) { *r = same() }, "holds"},
		{"A/A off", func(r *Row) { *r = same(); r.Interval = stats.Interval{Lo: 1.004, Hi: 1.006} }, "does not hold"},
		{"A/A off to the other side", func(r *Row) { *r = same(); r.Interval = stats.Interval{Lo: 0.99, Hi: 0.996} }, "does not hold"},
		{"A/A near", func(r *Row) { *r = same(); r.Interval = stats.Interval{Lo: 1.0026, Hi: 1.006} }, "holds"},
		{"A/A wide", func(r *Row) { *r = same(); r.Interval.Lo = 0.97 }, "does not hold"},
		{"A/A touches as printed", func(r *Row) { *r = same(); r.Interval.Lo = 1.0034 }, "holds"},
	} {
		row := good()
		c.change(&row)
		if got := row.Verdict(false); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestVerdictOfANoisyRun(t *testing.T) {
	row := good()
	if got := row.Verdict(true); got != "too noisy; runs met" {
		t.Errorf("%q: only the count of runs means something", got)
	}
	row.Void = []string{"x"}
	if got := row.Verdict(true); got != "void: x" {
		t.Errorf("%q: a void row is void in any run", got)
	}
	if text := result(good()).Text(); !strings.Contains(text, "too noisy; runs met") {
		t.Errorf("the table of a run without A/A arm judges times:\n%s", text)
	}
	peer := Row{Kind: KindPeer, Unit: "round trip", Events: 18}
	if got := peer.Verdict(true); !strings.HasPrefix(got, "too noisy; 18.00 events") {
		t.Errorf("a peer in noise: %q", got)
	}
}

func TestTooNoisy(t *testing.T) {
	off := same()
	off.Interval = stats.Interval{Lo: 1.01, Hi: 1.02}
	busy := result(same(), good())
	busy.Busy = 0.3
	for _, c := range []struct {
		name   string
		result Result
		want   string
	}{
		{"quiet", result(same(), good()), ""},
		{"A/A off", result(off, good()), "A/A is 1.000 [1.010, 1.020]"},
		{"no A/A", result(good()), "no A/A arm"},
		{"other work", busy, "30% of a CPU"},
	} {
		got := strings.Join(c.result.TooNoisy(good().Group()), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if c.result.Failed() != (c.want != "") {
			t.Errorf("%s: Failed = %v", c.name, c.result.Failed())
		}
		for _, rendered := range []string{c.result.Text(), c.result.Markdown()} {
			if has := strings.Contains(strings.ToLower(rendered), "too noisy"); has != (c.want != "") {
				t.Errorf("%s: rendered says too noisy: %v\n%s", c.name, has, rendered)
			}
		}
	}
}

// An A/A arm that does not hold voids the rows of its load and way, no others.
func TestTooNoisyIsOfAGroup(t *testing.T) {
	off, flood := same(), good()
	off.Load, off.Interval = "UDP flood", stats.Interval{Lo: 1.01, Hi: 1.02}
	flood.Load = "UDP flood"
	r := result(same(), good(), off, flood)
	if why := r.TooNoisy(good().Group()); len(why) > 0 {
		t.Errorf("another load's noise: %v", why)
	}
	if !r.Failed() {
		t.Error("a run of which a part does not count has not failed")
	}
	text := r.Text()
	if !strings.Contains(text, "TOO NOISY, these rows do not count: UDP flood, published port: A/A is") || strings.Count(text, "TOO NOISY") != 1 {
		t.Errorf("the text does not name the one group that does not count:\n%s", text)
	}
	long := good()
	if long.InAll = true; long.Group() == good().Group() {
		t.Error("a row judged by its mean window is held to the A/A arm of others")
	}
}

func TestCompare(t *testing.T) {
	peer, ours := good(), good()
	peer.Arm = "peer"
	fill := func(r *Row, with uint64) Arm {
		e := r.Fill([]stats.Pair{{Before: span(10000), With: span(with), After: span(10000)}}, 0, 1)
		return Arm{Row: *r, Estimate: e}
	}
	c := Compare(fill(&peer, 27000), fill(&ours, 11700), 0.8, 8)
	if c.Times != 8 || c.PeerNs != 13600 || c.OursNs != 1700 || !c.Interval.Contains(8) || c.Group != good().Group() {
		t.Errorf("%+v, want 8 times: eight tenths of 17000 over 1700", c)
	}
	c.Interval = stats.Interval{Lo: 7.5, Hi: 9}
	for _, v := range []struct {
		change func(*Comparison)
		noisy  bool
		want   string
	}{
		{func(c *Comparison) { c.Interval.Lo = 8 }, false, "met"},
		{func(*Comparison) {}, false, "not met (the figure is, its interval is not)"},
		{func(c *Comparison) { c.Times = 7.9 }, false, "not met"},
		{func(c *Comparison) { c.Goal = 0 }, false, ""},
		{func(c *Comparison) { c.Interval.Lo = 8 }, true, "too noisy"},
	} {
		changed := c
		v.change(&changed)
		if got := changed.Verdict(v.noisy); got != v.want {
			t.Errorf("%+v: %q, want %q", changed, got, v.want)
		}
	}
	r := result(same(), ours, peer)
	r.Comparisons = []Comparison{c}
	for _, rendered := range []string{r.Text(), r.Markdown()} {
		if !strings.Contains(rendered, "13.60 us") || !strings.Contains(rendered, ">= 8") {
			t.Errorf("the comparison is not shown:\n%s", rendered)
		}
	}
}

// Where nobody waits for a unit, there is also how many there are in a second.
func TestCost(t *testing.T) {
	r := Row{Unit: "packet"}
	if got := r.cost(2500); got != "2.50 us (400.0 k/s)" {
		t.Errorf("%q", got)
	}
	r.Unit = "round trip"
	if got := r.cost(2500); got != "2.50 us" {
		t.Errorf("%q", got)
	}
}

func TestFailedByVoid(t *testing.T) {
	row := good()
	row.Void = []string{"x"}
	if !result(same(), row).Failed() {
		t.Error("a void row does not fail the run")
	}
	missed := result(same(), good())
	missed.Body.Counted--
	if !missed.Failed() || !strings.HasPrefix(missed.BodyVerdict(), "void") {
		t.Errorf("a miss in the body is %q", missed.BodyVerdict())
	}
}

func TestBodyVerdict(t *testing.T) {
	r := result()
	if got := r.BodyVerdict(); got != "met" {
		t.Errorf("9 ns over the clock: %q", got)
	}
	r.Body.StampNs = 49
	if got := r.BodyVerdict(); got != "not met" {
		t.Errorf("11 ns over the clock: %q", got)
	}
}

// What is stored is all that the page needs: read back, it gives the same bytes.
func TestMarkdownFromStored(t *testing.T) {
	r := result(same(), good())
	r.Scheme.Quick = true
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if r.Markdown() != back.Markdown() || r.Text() != back.Text() {
		t.Error("the stored result renders differently")
	}
	for _, want := range []string{
		"quick trial", "| TCP ping-pong | published port | hooks | 18.50 us | 20.16 us | x1.090 | [1.080, 1.100] | x1.093 | <= 1.120 | 21.50 + 0.75 | <= 22 | 9.00 + 9.00 | 100.000% | 0 | met; runs met |",
		"kernel 6.18.0, CPU, 2 cores of a virtual machine", "9.0, met",
	} {
		if !strings.Contains(back.Markdown(), want) {
			t.Errorf("the page lacks %q:\n%s", want, back.Markdown())
		}
	}
}

// A result from before there was a choice is one of the plain wire.
func TestWireIsTold(t *testing.T) {
	for wire, want := range map[string]string{"": "a plain veth pair", WireVeth: "a plain veth pair", WireNIC: "receives by NAPI"} {
		r := result(same(), good())
		r.Scheme.Wire = wire
		if page := r.Markdown(); !strings.Contains(page, want) {
			t.Errorf("wire %q: the page lacks %q:\n%s", wire, want, page)
		}
		if text := r.Text(); !strings.Contains(text, "wire: "+cmp.Or(wire, WireVeth)) {
			t.Errorf("wire %q: the text does not name it:\n%s", wire, text)
		}
	}
}

func TestTextIsAligned(t *testing.T) {
	lines := strings.Split(result(same(), good()).Text(), "\n")
	var ends []int
	for _, line := range lines {
		if at := strings.Index(line, "[0.998"); at >= 0 {
			ends = append(ends, at)
		}
		if at := strings.Index(line, "[1.080"); at >= 0 {
			ends = append(ends, at)
		}
	}
	if len(ends) != 2 || ends[0] != ends[1] {
		t.Errorf("intervals begin in columns %v", ends)
	}
}

// What a goal leaves beside the stamps: a row with a goal is in the table, others are not.
func TestFloor(t *testing.T) {
	flood := Row{
		Load: "UDP flood", Way: "published port", Arm: "hooks", Unit: unitPacket, Kind: KindTraced,
		WithoutNs: 1000, Goal: 1.5, Stamps: [2]float64{9, 0}, Runs: 10,
	}
	const want = "| UDP flood | published port | hooks | 9 | x1.342 | x1.423 | x1.500 | 8 |\n" // 9*38, 9*47, (500 - 423) / 10
	if got := result(same(), flood).floorSection(); !strings.HasSuffix(got, "|---|\n"+want) {
		t.Errorf("got %s", got)
	}
	flood.Goal = 0
	if got := result(same(), flood).floorSection(); got != "" {
		t.Errorf("without a goal: %s", got)
	}
}
