// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/bench/benchbpf"
	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/machine"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/bench/stats"
)

// bench is one run of the benchmark.
type bench struct {
	world    *world
	arms     []arm
	scheme   report.Scheme
	progress io.Writer
}

// measure makes a whole run of these arms. It returns what was found, and every
// window that it was found in.
func measure(ctx context.Context, arms []arm, scheme report.Scheme, progress io.Writer) (_ report.Result, raw []report.Raw, err error) {
	result := report.Result{Scheme: scheme}
	if result.Machine, err = machine.Read(); err != nil {
		return result, nil, err
	}
	world, err := newWorld(ctx, scheme.Wire)
	if err != nil {
		return result, nil, err
	}
	defer func() { err = errors.Join(err, world.close()) }()
	b := bench{world: world, arms: arms, scheme: scheme, progress: progress}
	if result.Busy, err = machine.OtherWork(); err != nil {
		return result, nil, err
	}
	if raw, err = b.rows(ctx, &result); err != nil {
		return result, nil, err
	}
	after, err := machine.OtherWork()
	if err != nil {
		return result, raw, err
	}
	result.Busy = max(result.Busy, after)
	result.Body, err = b.body()
	return result, raw, err
}

// body benchmarks a stamp by itself, when nothing else runs.
func (b bench) body() (benchbpf.Body, error) {
	fmt.Fprintln(b.progress, "body of a stamp")
	if b.scheme.Quick {
		return benchbpf.Measure(20_000, 15)
	}
	return benchbpf.Measure(100_000, 41)
}

func (b bench) rows(ctx context.Context, result *report.Result) (raw []report.Raw, err error) {
	pairs := make([][]stats.Pair, len(b.arms))
	for _, a := range b.arms {
		row := a.row()
		if a.kind == report.KindTraced || a.kind == report.KindBystander {
			fmt.Fprintf(b.progress, "program runs: %s\n", row.Name())
			if err := b.count(ctx, a, &row); err != nil {
				return nil, fmt.Errorf("%s: %w", row.Name(), err)
			}
		}
		result.Rows = append(result.Rows, row)
	}
	random := rand.New(rand.NewPCG(b.scheme.Seed, 1))
	// rounds behind the planned ones are for arms whose pairs were disturbed
	for n := range b.scheme.Pairs + b.scheme.Pairs/2 {
		turn := b.turn(n, pairs)
		if len(turn) == 0 {
			break
		}
		fmt.Fprintf(b.progress, "pair %d of %d: %d arms\n", n+1, b.scheme.Pairs, len(turn))
		random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		for _, i := range turn {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			pair, err := b.pair(ctx, b.arms[i], &result.Rows[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", result.Rows[i].Name(), err)
			}
			pairs[i] = append(pairs[i], pair)
		}
	}
	conclude(result, pairs)
	for i, row := range result.Rows {
		raw = append(raw, report.Raw{Row: row.Name(), Pairs: pairs[i]})
	}
	return raw, nil
}

// leastQuiet is the share of an arm's planned windows that must be quiet.
const leastQuiet = 0.25

// turn lists the arms that take part in a round: the planned ones, and behind
// them those that have too few windows of a quiet machine.
func (b bench) turn(n int, pairs [][]stats.Pair) (turn []int) {
	limit := stats.QuietLimit(slices.Concat(pairs...))
	for i, a := range b.arms {
		wanted := b.scheme.Pairs
		if !a.major {
			wanted = b.scheme.Few
		}
		if n < b.scheme.Pairs && a.takes(n, b.scheme) ||
			n >= b.scheme.Pairs && stats.Worth(pairs[i], a.row().Limit(limit)) < leastQuiet*float64(wanted) {
			turn = append(turn, i)
		}
	}
	return turn
}

// takes tells whether an arm takes part in round n: those without a goal that
// needs many pairs do so in some rounds, evenly spread.
func (a arm) takes(n int, s report.Scheme) bool {
	return a.major || n*s.Few/s.Pairs != (n+1)*s.Few/s.Pairs
}

// conclude computes what follows from all pairs, those of each row.
func conclude(result *report.Result, pairs [][]stats.Pair) {
	var filled []report.Arm
	result.QuietNs = stats.QuietLimit(slices.Concat(pairs...))
	for i := range result.Rows {
		row := &result.Rows[i]
		estimate := row.Fill(pairs[i], result.QuietNs, result.Scheme.Seed+uint64(i))
		row.Check()
		filled = append(filled, report.Arm{Row: *row, Estimate: estimate})
	}
	result.Comparisons = comparisons(filled)
}

func (b bench) window() time.Duration {
	return time.Duration(b.scheme.WindowMs * float64(time.Millisecond))
}

// settle plays for as long as the tracer takes to come into its stride;
// untraced arms do the same, so that their spans lie as far apart.
func (b bench) settle(way int) (uint64, error) {
	span, err := b.world.game.Play(way, 1, time.Duration(b.scheme.SettleMs*float64(time.Millisecond)))
	return span.Total(), err
}

// untraced plays the windows on one side of a traced span, after half a window
// in which caches and clocks may warm up.
func (b bench) untraced(a arm) (stats.Span, error) {
	if _, err := b.world.game.Play(a.way, 1, b.window()/2); err != nil {
		return stats.Span{}, err
	}
	return b.world.game.Play(a.way, b.scheme.Without*a.longer(), b.window())
}

// longer is how much longer the arm's spans are.
func (a arm) longer() int {
	if a.inAll {
		return report.Longer
	}
	return 1
}

// pair measures an arm once, and notes in its row whether all packets were followed.
func (b bench) pair(ctx context.Context, a arm, row *report.Row) (pair stats.Pair, err error) {
	if pair.Before, err = b.untraced(a); err != nil {
		return pair, err
	}
	pair.With, err = b.traced(ctx, a, row, func() (stats.Span, error) {
		return b.world.game.Play(a.way, b.scheme.With*a.longer(), b.window())
	})
	if err != nil {
		return pair, err
	}
	pair.After, err = b.untraced(a)
	return pair, err
}

// traced plays, with the arm's subject on if it has one, first to settle and
// then what play does. Afterwards it looks whether all packets were followed.
func (b bench) traced(ctx context.Context, a arm, row *report.Row, play func() (stats.Span, error)) (span stats.Span, err error) {
	if a.subject == nil {
		if _, err := b.settle(a.way); err != nil {
			return span, err
		}
		return play()
	}
	on, err := a.subject.attach(ctx, b.world)
	if err != nil {
		return span, err
	}
	settled, err := b.settle(a.way)
	if err != nil {
		return span, off(on, err)
	}
	if span, err = play(); err != nil {
		return span, off(on, err)
	}
	return span, off(on, on.finish(settled+span.Total(), row))
}

// floodSpan is how long the flood is followed without a break in the run in
// which programs are counted: nothing may be evicted in it.
const floodSpan = 10 * time.Second

// count runs the arm once more, with the kernel's statistics of programs, which
// cost time themselves: no round trip of this run is looked at.
func (b bench) count(ctx context.Context, a arm, row *report.Row) error {
	statistics, err := enableStats()
	if err != nil {
		return err
	}
	defer statistics.Close()
	others, err := ownPrograms()
	if err != nil {
		return err
	}
	windows := b.scheme.With
	if ways()[a.way].kind == load.KindFlood && !b.scheme.Short {
		windows = int(floodSpan / b.window())
	}
	_, err = b.traced(ctx, a, row, func() (stats.Span, error) {
		before, err := runsBut(others)
		if err != nil {
			return stats.Span{}, err
		}
		span, err := b.world.game.Play(a.way, windows, b.window())
		if err != nil {
			return span, err
		}
		after, err := runsBut(others)
		if err != nil {
			return span, err
		}
		row.Runs = float64(after.always-before.always) / float64(span.Total())
		row.WindowRuns = float64(after.windows-before.windows) / float64(span.Total())
		return span, nil
	})
	return err
}
