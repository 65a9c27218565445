// SPDX-License-Identifier: Apache-2.0

// Package refbench drives load to servers by several ways, and tells what the
// client saw against what the hops say: vethtrace bench.
//
//	World (servers, ways) ─┐
//	loads ─────────────────┴─> rounds A B B A, untraced, traced, untraced ─> cells ─> comparisons
//
// Rounds of one load and all ways are interleaved, so that what changes on the
// machine meanwhile meets all ways alike; rounds with tracing lie between rounds
// without. Before each round the load runs for a while that is in no figure.
// Loads of a short run share an attachment, whose cost is that of many rounds.
package refbench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// Config says what to measure.
type Config struct {
	Version  string
	World    World
	Ways     []string // names of those to run; none: all that the world has
	Loads    []string // likewise
	Duration time.Duration
	Detail   tracer.Detail
	Seed     uint64
	// Environment of the host, to be put into the document.
	Environment *environment.Environment
	// Progress is told after each round; nil: nobody.
	Progress func(Progress)
	Log      *slog.Logger
	// ClientDelay makes the client of one way wait in each exchange, outside of
	// every stamp: a known truth for tests.
	ClientDelay map[string]time.Duration
}

// Progress is how far a run is.
type Progress struct {
	Done, Total int // rounds
	Left        time.Duration
	Doing       string // load, and whether it is traced
}

// ErrNoTime is returned when the duration has no room for a single load.
var ErrNoTime = errors.New("no time for a single load")

// UnknownError is returned for a way or load that there is not.
type UnknownError struct {
	Kind, Name string
	Known      []string
}

// Error names those that there are.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("no %s %q: there are %v", e.Kind, e.Name, e.Known)
}

// runner is one run.
type runner struct {
	Config
	thread  *netns.Thread // starts the clients
	ways    []Way
	loads   []result.Load
	targets []tracer.TargetSpec // of the ways: no other pays for being traced
	plan    plan
	slot    time.Time // when the loads that share an attachment must have ended
	start   time.Time
	end     time.Time
	cpu     int
	apart   bool // the kernel keeps the time of interrupts apart
	done    int
	bench   *result.Bench
	notes   []string
	all     []result.Comparison
}

// Run measures all ways under all loads and returns the document. It ends with
// ctx, and within Duration: what was not measured then is left out, and said so.
func Run(ctx context.Context, cfg Config) (result.Document, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &runner{Config: cfg, thread: netns.NewThread(), start: time.Now(), cpu: runtime.NumCPU() - 1}
	defer r.thread.Close()
	r.end = r.start.Add(cfg.Duration)
	if err := r.choose(); err != nil {
		return result.Document{}, err
	}
	var err error
	if r.apart, err = r.interruptsApart(); err != nil {
		return result.Document{}, err
	}
	r.plan = newPlan(cfg.Duration, len(r.ways), len(r.loads))
	info := cfg.World.Info()
	r.bench = &result.Bench{
		World: info.Kind, Image: info.Image, Wire: info.Wire, Detail: string(cfg.Detail), Seed: cfg.Seed, CPU: r.cpu,
		Rounds: r.plan.rounds, RoundS: r.plan.round.Seconds(), WarmupS: r.plan.warmup.Seconds(), Order: r.order(),
		LeftOut: info.LeftOut,
	}
	for _, w := range r.ways {
		r.bench.Ways = append(r.bench.Ways, w.Way)
	}
	before, _ := cpuTicks(r.cpu)
	if err := r.blocks(ctx); err != nil {
		return result.Document{}, err
	}
	r.bench.Others.StealShare = stolen(r.cpu, before)
	r.bench.Others.Caution = caution(r.bench.Others)
	if len(r.bench.Loads) == 0 {
		return result.Document{}, ErrNoTime
	}
	return r.document(), nil
}

// choose finds the ways and loads that were asked for. A way that is compared
// with another one brings it along.
func (r *runner) choose() error {
	known := r.World.Ways()
	wanted := map[string]bool{}
	for _, name := range r.Ways {
		w, ok := wayNamed(known, name)
		if !ok {
			return &UnknownError{"way", name, wayNames(known)}
		}
		wanted[name] = true
		if w.Against != "" {
			wanted[w.Against] = true
		}
	}
	for _, w := range known {
		if len(r.Ways) == 0 || wanted[w.Name] {
			r.ways = append(r.ways, w)
		}
	}
	for _, name := range r.Loads {
		load, ok := loadNamed(name)
		if !ok {
			return &UnknownError{"load", name, LoadNames()}
		}
		if !slices.ContainsFunc(r.loads, func(l result.Load) bool { return l.Name == name }) {
			r.loads = append(r.loads, load)
		}
	}
	if len(r.Loads) == 0 {
		r.loads = Loads()
	}
	for _, t := range r.World.Targets() {
		if slices.ContainsFunc(r.ways, func(w Way) bool { return w.Target == t.Name }) {
			r.targets = append(r.targets, t)
		}
	}
	return nil
}

// order is that of two rounds: A B, B A.
func (r *runner) order() []string {
	var names []string
	for round := range 2 {
		for i := range r.ways {
			names = append(names, r.ways[r.inTurn(round, i)].Name)
		}
	}
	return names
}

// inTurn is which way is the i-th of a round.
func (r *runner) inTurn(round, i int) int {
	if round%2 == 1 {
		return len(r.ways) - 1 - i
	}
	return i
}

func (r *runner) progress(doing string) {
	r.done++
	if r.Progress == nil {
		return
	}
	r.Progress(Progress{
		Done: r.done, Total: 2 * r.plan.rounds * len(r.ways) * len(r.loads),
		Left: max(time.Until(r.end), 0), Doing: doing,
	})
}
