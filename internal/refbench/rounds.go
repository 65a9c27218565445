// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// sampled journeys are recorded whole, one in so many: enough to find slow ones.
const sampled = 200

// running is a load with its clients and what they saw, by way.
type running struct {
	load    result.Load
	clients map[string]*loadgen.Client
	cells   map[string]*cell
}

func (b *running) close() error {
	var errs []error
	for _, c := range b.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// blocks runs all loads, as many at a time as share an attachment. Each block has
// its part of the time that is left: one that is slow takes none of another's.
func (r *runner) blocks(ctx context.Context) error {
	for at := 0; at < len(r.loads); at += r.plan.block {
		left := r.loads[at:]
		loads := left[:min(r.plan.block, len(left))]
		slot := time.Until(r.end) * time.Duration(len(loads)) / time.Duration(len(left))
		if slot < r.plan.least(len(r.ways), len(loads))/2 { // a few rounds less are better than none
			for _, load := range loads {
				r.bench.LeftOut = append(r.bench.LeftOut, "load "+load.Name+": no time was left for it")
			}
			r.bench.Cut = true
			continue
		}
		r.slot = time.Now().Add(slot)
		if err := r.block(ctx, loads); err != nil {
			return err
		}
	}
	return nil
}

// block runs loads by all ways: untraced, traced, and untraced in the opposite
// order, so that both halves together lie where tracing does.
func (r *runner) block(ctx context.Context, loads []result.Load) (err error) {
	var all []*running
	defer func() {
		for _, b := range all {
			err = errors.Join(err, b.close())
		}
	}()
	for _, load := range loads {
		b := &running{load: load, clients: map[string]*loadgen.Client{}, cells: map[string]*cell{}}
		all = append(all, b)
		if err := r.open(b); err != nil {
			return fmt.Errorf("load %s: %w", load.Name, err)
		}
	}
	half := r.plan.rounds / 2
	if err := r.untraced(ctx, all, 0, half, until(r.slot, untracedBefore)); err != nil {
		return err
	}
	if err := r.traced(ctx, all); err != nil {
		return err
	}
	slices.Reverse(all)
	err = r.untraced(ctx, all, half, r.plan.rounds, until(r.slot, lastOfAll))
	slices.Reverse(all)
	if err != nil {
		return err
	}
	for _, b := range all {
		if n := len(b.cells[r.ways[0].Name].traced.rounds); n < compare.MinRounds {
			r.bench.Cut = true
			r.bench.LeftOut = append(r.bench.LeftOut, fmt.Sprintf("load %s: attaching left time for %d rounds only", b.load.Name, n))
			continue
		}
		r.bench.Loads = append(r.bench.Loads, b.load)
		if err := r.finish(b); err != nil {
			return fmt.Errorf("load %s: %w", b.load.Name, err)
		}
	}
	return nil
}

// open starts the clients of a load.
func (r *runner) open(b *running) error {
	for _, w := range r.ways {
		what := generated(b.load)
		what.ClientDelay = r.ClientDelay[w.Name]
		client, err := loadgen.Open(r.thread, w.Client, what, w.To.of(what.Kind), r.cpu)
		if err != nil {
			return fmt.Errorf("way %s: %w", w.Name, err)
		}
		b.clients[w.Name], b.cells[w.Name] = client, newCell(w, b.load)
	}
	return nil
}

// Parts of a block's time, in percent of what is left of it: one that takes
// longer than planned leaves the others theirs.
const (
	untracedBefore = 26
	tracedBetween  = 72
	lastOfAll      = 95
)

// until is when so many percent of the time until then are over.
func until(end time.Time, percent int) time.Time {
	left := time.Until(end).Nanoseconds()
	return time.Now().Add(time.Duration(left * int64(percent) / 100))
}

func (r *runner) untraced(ctx context.Context, all []*running, from, to int, end time.Time) error {
	for i, b := range all {
		end := share(end, len(all)-i)
		err := r.rounds(ctx, from, to, end, overheadOfTurn, b.load.Name+", not traced", func(w Way, at moment, length turn) error {
			if _, err := b.clients[w.Name].Run(length.warmup); err != nil {
				return err
			}
			seen, others, err := b.watched(w, length.round)
			if err == nil {
				b.cells[w.Name].untraced.add(at.start, seen, others)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("load %s: %w", b.load.Name, err)
		}
	}
	return nil
}

// share is the end of the first of so many parts of the time until end.
func share(end time.Time, parts int) time.Time {
	return time.Now().Add(time.Until(end) / time.Duration(parts))
}

// traced attaches, runs all rounds, and reads the figures before and after each.
func (r *runner) traced(ctx context.Context, all []*running) (err error) {
	t, err := tracer.Open(ctx, tracer.Config{
		Host: r.World.HostNS(), Version: r.Version, Detail: r.Detail, Sample: sampled, Log: r.Log,
	}, r.targets...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	end := until(r.slot, tracedBetween)
	held := false
	for i, b := range all {
		end := share(end, len(all)-i)
		err := r.rounds(ctx, 0, r.plan.rounds, end, overheadOfTurn+overheadOfLook, b.load.Name+", traced", func(w Way, at moment, length turn) error {
			if hold := r.plan.behind(at.round); hold != held {
				held = hold
				if err := t.HoldBehind(hold); err != nil {
					return fmt.Errorf("trace what follows a journey's end: %w", err)
				}
			}
			return b.tracedRound(t, w, at.start, length)
		})
		if err != nil {
			return fmt.Errorf("load %s: %w", b.load.Name, err)
		}
	}
	return nil
}

func (b *running) tracedRound(t *tracer.Tracer, w Way, start time.Duration, length turn) error {
	if _, err := b.clients[w.Name].Run(length.warmup); err != nil {
		return err
	}
	before, err := t.Snapshot()
	if err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	seen, others, err := b.watched(w, length.round)
	if err != nil {
		return err
	}
	after, err := t.Snapshot()
	if err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	b.cells[w.Name].addTraced(start, seen, others, after.Since(before))
	return nil
}

// over tells whether no round begins any more: at the end, with enough of them to
// say something; else at that of the block, if there is another result at all.
func (r *runner) over(done, planned int, end time.Time) bool {
	now := time.Now()
	if done >= min(planned, compare.MinRounds) {
		return now.After(end)
	}
	return now.After(end) && now.After(r.slot) && len(r.bench.Loads) > 0
}

// moment is which round, and when it began: the same of all ways.
type moment struct {
	round int
	start time.Duration
}

// rounds runs rounds of all ways in turn. All ways have the same start in one
// round: that is what pairs them.
func (r *runner) rounds(ctx context.Context, from, to int, end time.Time, overhead time.Duration, doing string, one func(w Way, at moment, length turn) error) error {
	for round := from; round < to; round++ {
		if r.over(round-from, to-from, end) {
			r.bench.Cut = true
			return nil
		}
		length := r.turns((to-round)*len(r.ways), end, overhead) // anew: what was late makes the rest shorter
		at := moment{round, time.Since(r.start)}
		for i := range r.ways {
			if err := ctx.Err(); err != nil {
				return err
			}
			w := r.ways[r.inTurn(round, i)]
			if err := one(w, at, length); err != nil {
				return fmt.Errorf("way %s: %w", w.Name, err)
			}
			r.progress(doing)
		}
	}
	return nil
}
