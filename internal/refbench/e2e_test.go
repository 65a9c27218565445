// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"

	tracejson "github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	loadgen.MaybeChild()
	os.Exit(m.Run())
}

func reference(t *testing.T) *Reference {
	t.Helper()
	w, err := NewReference(t.Context(), lab.WireVeth, runtime.NumCPU()-1, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func run(t *testing.T, cfg Config) result.Document {
	t.Helper()
	cfg.Detail, cfg.Seed, cfg.Version = tracer.DetailHooks, 1, "test"
	begin := time.Now()
	d, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > cfg.Duration+5*time.Second {
		t.Errorf("it took %v, and may take %v", took, cfg.Duration)
	}
	return d
}

// tries are for other tenants of the machine, who may take the CPU for a while.
const tries = 6

// 10 µs that the client spends, outside of every stamp, are not seen: the share
// falls accordingly, and what is not seen has them.
func TestClientDelayIsNotSeen(t *testing.T) {
	const delay = 10_000.0
	w := reference(t)
	var base, slow result.Comparison
	for try := range tries {
		cfg := Config{World: w, Ways: []string{WayPublished}, Loads: []string{"tcp_rr"}, Duration: 6 * time.Second}
		base = run(t, cfg).Comparisons[0]
		cfg.ClientDelay = map[string]time.Duration{WayPublished: time.Duration(delay)}
		slow = run(t, cfg).Comparisons[0]
		if base.ExplainedShare == nil || slow.ExplainedShare == nil || base.Explained.NotSeen == nil || slow.Explained.NotSeen == nil {
			t.Logf("try %d: no share: %q, %q", try, base.ExplainedReason, slow.ExplainedReason)
			continue
		}
		hops := slow.Explained.Hops.Ns
		want := hops / (base.Explained.Client.Ns + delay)
		grown := slow.Explained.NotSeen.Mean.Ns - base.Explained.NotSeen.Mean.Ns
		t.Logf("try %d: share %.3f, then %.3f, want %.3f; not seen grew by %.0f ns", try, base.ExplainedShare.Share, slow.ExplainedShare.Share, want, grown)
		if math.Abs(slow.ExplainedShare.Share-want) < 0.08 && math.Abs(grown-delay) < 0.25*delay && base.ExplainedShare.Share > 0.8 {
			return
		}
	}
	t.Errorf("share %+v of %+v, then %+v of %+v", base.ExplainedShare, base.Explained.Client, slow.ExplainedShare, slow.Explained.Client)
}

// forwardDelay is injected behind the rules: in front of them it would make them
// slower as well, as caches get cold while a packet waits.
const (
	forwardDelay = 10 * time.Microsecond
	behindFilter = 1000 // priority
)

// 10 µs injected in FORWARD of one side come out in that hop's rows, with an
// interval that holds them, and shares add up.
func TestForwardDelayOfOneSide(t *testing.T) {
	w := reference(t)
	injector, err := w.Lab().InjectNetfilter(w.HostNS(), link.NetfilterProtoIPv4, link.NetfilterInetForward, behindFilter)
	if err != nil {
		t.Fatal(err)
	}
	defer injector.Close()
	var wrong []string
	for try := range tries {
		var c result.Comparison
		var truth float64
		c, truth = withForwardDelay(t, w, injector, uint64(try))
		if wrong = wrongRows(c, truth); len(wrong) > 0 {
			t.Logf("try %d: waited %.0f ns more: %v", try, truth, wrong)
			continue
		}
		total := 0.0
		for _, l := range c.Layers {
			total += l.Share.Share
		}
		if math.Abs(total-1) > 1e-9 {
			t.Errorf("shares of layers add up to %f", total)
		}
		return
	}
	t.Error(wrong)
}

// withForwardDelay measures both sides, round by round, and returns by how much
// packets of one really waited longer, in nanoseconds.
func withForwardDelay(t *testing.T, w *Reference, injector *lab.Injector, seed uint64) (result.Comparison, float64) {
	t.Helper()
	way, _ := wayNamed(w.Ways(), WayPublished)
	load, _ := loadNamed("udp_rr")
	sides := map[bool]*cell{false: newCell(way, load), true: newCell(way, load)}
	var waited, packets float64
	client, err := loadgen.Open(w.thread, way.Client, generated(load), way.To.of(loadgen.UDPRR), runtime.NumCPU()-1)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	tr, err := tracer.Open(t.Context(), tracer.Config{Host: w.HostNS()}, w.Targets()...)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for round := range 32 {
		on := round%4 == 1 || round%4 == 2
		delay := time.Duration(0)
		if on {
			delay = forwardDelay
		}
		if err := injector.Set(delay); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Run(3 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		before := stats(t, injector)
		sides[on].round(t, tr, client, time.Duration(round/2)*time.Second)
		after := stats(t, injector)
		waited += float64(after.Waited - before.Waited)
		packets += float64(after.Delayed - before.Delayed)
	}
	if err := injector.Set(0); err != nil {
		t.Fatal(err)
	}
	c, _, err := compare.Targets(sides[true].target(), sides[false].target(), compare.Options{Of: "after", Against: "before", Paired: true, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	return c, waited / packets
}

func stats(t *testing.T, injector *lab.Injector) lab.InjectStats {
	t.Helper()
	s, err := injector.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownCost is what the injector costs beside its wait: the clock, the loop, its counters.
const ownCost = 150

// wrongRows says which rows are not what was injected: in FORWARD's the median
// within 3% of it, the mean within 3% of what was really waited (the injector is
// interrupted as well), with an interval that holds it; and nothing elsewhere.
func wrongRows(c result.Comparison, truth float64) (wrong []string) {
	say := func(text string, r result.Row) {
		data, _ := json.Marshal([]*result.Estimate{r.Mean, r.P50})
		wrong = append(wrong, r.Direction+" "+r.Hop+" "+text+" "+string(data))
	}
	const delay = float64(forwardDelay)
	for _, r := range c.Rows {
		switch {
		case r.Mean == nil || r.Share == nil:
			say("has no figures", r)
		case r.Hop != "netfilter/forward":
			if math.Abs(r.Mean.Ns) > 0.05*delay {
				say("moved", r)
			}
		case math.Abs(r.Mean.Ns-truth) > 0.03*delay || r.P50 == nil || math.Abs(r.P50.Ns-delay) > 0.03*delay:
			say("is not within 3%", r)
		case r.Mean.Lo > truth+ownCost || r.Mean.Hi < truth:
			say("does not hold what was waited", r)
		}
	}
	return wrong
}

// round measures one round.
func (c *cell) round(t *testing.T, tr *tracer.Tracer, client *loadgen.Client, start time.Duration) {
	t.Helper()
	before, err := tr.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	seen, err := client.Run(40 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	after, err := tr.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c.addTraced(start, seen, after.Since(before))
}

// Every load by every way: all rounds are there, requests are answered, packets
// are seen, and cells' traces are documents with the bench's rounds.
func TestAllWaysAndLoads(t *testing.T) {
	w := reference(t)
	shown := 0
	d := run(t, Config{World: w, Duration: 50 * time.Second, Progress: func(p Progress) {
		if shown++; p.Done != shown || p.Done > p.Total {
			t.Errorf("progress %+v is the %d-th", p, shown)
		}
	}})
	if len(d.Bench.Loads) != len(Loads()) || len(d.Bench.Ways) != 7 || len(d.Bench.Cells) != 7*len(Loads()) {
		t.Fatalf("%d loads, %d ways, %d cells; left out: %v", len(d.Bench.Loads), len(d.Bench.Ways), len(d.Bench.Cells), d.Bench.LeftOut)
	}
	for _, c := range d.Bench.Cells {
		checkCell(t, d, c)
	}
	if len(d.Comparisons) != 5*len(Loads()) {
		t.Errorf("%d comparisons", len(d.Comparisons))
	}
	for _, c := range d.Comparisons {
		load, _ := loadNamed(c.Load)
		if (c.ExplainedShare == nil) != (c.ExplainedReason != "") || !load.OnePacket && c.ExplainedShare != nil {
			t.Errorf("%s %s: share %v, reason %q", c.Load, c.Of, c.ExplainedShare, c.ExplainedReason)
		}
		if load.OnePacket && c.Of == WayPublished && c.ExplainedShare == nil && !d.Bench.Cut {
			t.Errorf("%s %s: no share: %s", c.Load, c.Of, c.ExplainedReason)
		}
	}
	var b bytes.Buffer
	if err := result.Encode(&b, d); err != nil {
		t.Fatal(err)
	}
	if _, err := result.Decode(&b); err != nil {
		t.Error(err)
	}
}

func checkCell(t *testing.T, d result.Document, c result.Cell) {
	t.Helper()
	where := c.Load + " by " + c.Way
	if c.Traced.Errors+c.Untraced.Errors > 0 || c.Traced.Requests == 0 || c.Untraced.Requests == 0 {
		t.Errorf("%s: %d and %d requests, %d errors: %s", where, c.Traced.Requests, c.Untraced.Requests, c.Traced.Errors+c.Untraced.Errors, c.Traced.LastError)
	}
	if n := len(c.Traced.Latency.Rounds); n != d.Bench.Rounds && !d.Bench.Cut {
		t.Errorf("%s: %d rounds, want %d", where, n, d.Bench.Rounds)
	}
	if c.PerRequest.PacketsIn < 0.98 || c.PerRequest.PacketsOut < 0.5 {
		t.Errorf("%s: %+v", where, c.PerRequest)
	}
	s, err := tracejson.DecodeLine(c.Trace)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if len(s.Targets) != 1 || !slices.ContainsFunc(s.Targets[0].Paths, func(p tracer.Path) bool { return p.ID == c.Ingress }) {
		t.Errorf("%s: path %q is not in its trace", where, c.Ingress)
	}
}

// A run that is told to end ends, and its world goes.
func TestRunEndsWithItsContext(t *testing.T) {
	w := reference(t)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{World: w, Duration: time.Minute, Detail: tracer.DetailHooks, Progress: func(p Progress) {
		if p.Done == 3 {
			cancel()
		}
	}}
	begin := time.Now()
	if _, err := Run(ctx, cfg); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
