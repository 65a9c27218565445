// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/vethtrace/vethtrace/bench/benchbpf"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/tracer"
)

// bench is one run of the benchmark.
type bench struct {
	world    *world
	scheme   report.Scheme
	progress io.Writer
}

// measure makes a whole run.
func measure(ctx context.Context, scheme report.Scheme, progress io.Writer) (_ report.Result, err error) {
	result := report.Result{Scheme: scheme}
	if result.Machine, err = machine(); err != nil {
		return result, err
	}
	world, err := newWorld(ctx, scheme.Wire)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, world.close()) }()
	b := bench{world: world, scheme: scheme, progress: progress}
	if result.Busy, err = otherWork(); err != nil {
		return result, err
	}
	if err := b.rows(ctx, &result); err != nil {
		return result, err
	}
	after, err := otherWork()
	if err != nil {
		return result, err
	}
	result.Busy = max(result.Busy, after)
	result.Body, err = b.body()
	return result, err
}

// body benchmarks a stamp by itself, when nothing else runs.
func (b bench) body() (benchbpf.Body, error) {
	fmt.Fprintln(b.progress, "body of a stamp")
	if b.scheme.Quick {
		return benchbpf.Measure(20_000, 15)
	}
	return benchbpf.Measure(100_000, 41)
}

func (b bench) rows(ctx context.Context, result *report.Result) error {
	all := arms()
	pairs := make([][]stats.Pair, len(all))
	for _, a := range all {
		row := a.row()
		if a.target != nil {
			fmt.Fprintf(b.progress, "program runs: %s\n", a.name)
			if err := b.count(ctx, a, &row); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
		result.Rows = append(result.Rows, row)
	}
	random := rand.New(rand.NewPCG(b.scheme.Seed, 1))
	for n := range b.scheme.Pairs {
		fmt.Fprintf(b.progress, "pair %d of %d\n", n+1, b.scheme.Pairs)
		for _, i := range random.Perm(len(all)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			pair, err := b.pair(ctx, all[i], &result.Rows[i])
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			pairs[i] = append(pairs[i], pair)
		}
	}
	untraced := make([][]float64, ways)
	for i, a := range all {
		result.Rows[i].Fill(pairs[i], b.scheme.Seed)
		result.Rows[i].Check()
		for _, pair := range pairs[i] {
			untraced[a.way] = append(untraced[a.way], pair.Without()...)
		}
	}
	for _, rtts := range untraced {
		if words := stats.Bimodal(rtts); words != "" {
			result.Modes = append(result.Modes, words)
		}
	}
	return nil
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
func (b bench) untraced(way int) (stats.Span, error) {
	if _, err := b.world.game.Play(way, 1, b.window()/2); err != nil {
		return stats.Span{}, err
	}
	return b.world.game.Play(way, b.scheme.Without, b.window())
}

// pair measures an arm once, and notes in its row whether all packets were followed.
func (b bench) pair(ctx context.Context, a arm, row *report.Row) (pair stats.Pair, err error) {
	if pair.Before, err = b.untraced(a.way); err != nil {
		return pair, err
	}
	pair.With, err = b.traced(ctx, a, row, func() (stats.Span, error) {
		return b.world.game.Play(a.way, b.scheme.With, b.window())
	})
	if err != nil {
		return pair, err
	}
	pair.After, err = b.untraced(a.way)
	return pair, err
}

// traced plays, with the arm's tracer attached if it has one, first to settle
// and then what play does. Afterwards it looks whether all packets were followed.
func (b bench) traced(ctx context.Context, a arm, row *report.Row, play func() (stats.Span, error)) (span stats.Span, err error) {
	if a.target == nil {
		if _, err := b.settle(a.way); err != nil {
			return span, err
		}
		return play()
	}
	t, err := tracer.Open(ctx, tracer.Config{Host: b.world.lab.Host.NS, Detail: a.detail}, a.target(b.world))
	if err != nil {
		return span, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	settled, err := b.settle(a.way)
	if err != nil {
		return span, err
	}
	if span, err = play(); err != nil {
		return span, err
	}
	if err := t.Stop(); err != nil {
		return span, err
	}
	snapshot, err := t.Snapshot()
	if err != nil {
		return span, err
	}
	followed(snapshot, a, settled+span.Total(), row)
	return span, nil
}

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
	_, err = b.traced(ctx, a, row, func() (stats.Span, error) {
		before, err := runsBut(others)
		if err != nil {
			return stats.Span{}, err
		}
		span, err := b.world.game.Play(a.way, b.scheme.With, b.window())
		if err != nil {
			return span, err
		}
		after, err := runsBut(others)
		if err != nil {
			return span, err
		}
		row.Runs = float64(after-before) / float64(span.Total())
		return span, nil
	})
	return err
}
