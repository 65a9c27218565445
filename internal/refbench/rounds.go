// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// sampled journeys are recorded whole, one in so many: enough to find slow ones.
const sampled = 200

// load runs one load by all ways: untraced, traced, untraced.
func (r *runner) load(ctx context.Context, load result.Load) (err error) {
	clients := map[string]*loadgen.Client{}
	defer func() {
		for _, c := range clients {
			err = errors.Join(err, c.Close())
		}
	}()
	r.cells = map[string]*cell{}
	for _, w := range r.ways {
		what := generated(load)
		what.ClientDelay = r.ClientDelay[w.Name]
		client, err := loadgen.Open(r.thread, w.Client, what, w.To.of(what.Kind), r.cpu)
		if err != nil {
			return fmt.Errorf("way %s: %w", w.Name, err)
		}
		clients[w.Name] = client
		r.cells[w.Name] = newCell(w, load)
	}
	half := r.plan.rounds / 2
	if err := r.untraced(ctx, load, clients, 0, half, until(r.slot, 28)); err != nil {
		return err
	}
	if err := r.traced(ctx, load, clients); err != nil {
		return err
	}
	if err := r.untraced(ctx, load, clients, half, r.plan.rounds, until(r.slot, 95)); err != nil {
		return err
	}
	if n := len(r.cells[r.ways[0].Name].traced.rounds); n < compare.MinRounds {
		r.bench.Cut = true
		r.bench.LeftOut = append(r.bench.LeftOut, fmt.Sprintf("load %s: attaching left time for %d rounds only", load.Name, n))
		return nil
	}
	r.bench.Loads = append(r.bench.Loads, load)
	return r.finish(load)
}

// until is when so many percent of the time until then are over.
func until(end time.Time, percent int) time.Time {
	left := time.Until(end).Nanoseconds()
	return time.Now().Add(time.Duration(left * int64(percent) / 100))
}

func (r *runner) untraced(ctx context.Context, load result.Load, clients map[string]*loadgen.Client, from, to int, end time.Time) error {
	return r.rounds(ctx, from, to, end, load.Name+", not traced", func(w Way, start time.Duration, length turn) error {
		client := clients[w.Name]
		if _, err := client.Run(length.warmup); err != nil {
			return err
		}
		seen, err := client.Run(length.round)
		if err == nil {
			r.cells[w.Name].untraced.add(start, seen)
		}
		return err
	})
}

// traced attaches, runs all rounds, and reads the figures before and after each.
func (r *runner) traced(ctx context.Context, load result.Load, clients map[string]*loadgen.Client) (err error) {
	t, err := tracer.Open(ctx, tracer.Config{
		Host: r.World.HostNS(), Version: r.Version, Detail: r.Detail, Sample: sampled, Log: r.Log,
	}, r.World.Targets()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	end := until(r.slot, 62)
	return r.rounds(ctx, 0, r.plan.rounds, end, load.Name+", traced", func(w Way, start time.Duration, length turn) error {
		client := clients[w.Name]
		if _, err := client.Run(length.warmup); err != nil {
			return err
		}
		before, err := t.Snapshot()
		if err != nil {
			return fmt.Errorf("read figures: %w", err)
		}
		seen, err := client.Run(length.round)
		if err != nil {
			return err
		}
		after, err := t.Snapshot()
		if err != nil {
			return fmt.Errorf("read figures: %w", err)
		}
		r.cells[w.Name].addTraced(start, seen, after.Since(before))
		return nil
	})
}

// rounds runs rounds of all ways in turn. All ways have the same start in one
// round: that is what pairs them. After end no round begins.
func (r *runner) rounds(ctx context.Context, from, to int, end time.Time, doing string, one func(w Way, start time.Duration, length turn) error) error {
	for round := from; round < to; round++ {
		if time.Now().After(end) {
			r.bench.Cut = true
			return nil
		}
		length := r.turns(to-round, end) // anew: what was late makes the rest shorter
		start := time.Since(r.start)
		for i := range r.ways {
			if err := ctx.Err(); err != nil {
				return err
			}
			w := r.ways[r.inTurn(round, i)]
			if err := one(w, start, length); err != nil {
				return fmt.Errorf("way %s: %w", w.Name, err)
			}
			r.progress(doing)
		}
	}
	return nil
}
