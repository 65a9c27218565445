// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// How a block is measured.
const (
	windowLength = 100 * time.Millisecond
	fewestRounds = 2 // each arm has one window per round
	rounds       = 4 // where fewer do not settle what is asked
	mostTries    = 3 // of a delay in which a hop is noisy or wrong
)

// session is a tracer at one detail, and the injectors of the place that must be
// taken before it.
type session struct {
	world  *world
	tracer *tracer.Tracer
	behind map[string]*lab.Injector // by family
	random *rand.Rand
	last   tracer.Snapshot
}

func newSession(ctx context.Context, w *world, detail string, seed uint64) (_ *session, err error) {
	s := &session{world: w, behind: map[string]*lab.Injector{}, random: rand.New(rand.NewPCG(seed, 2))}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for _, family := range []string{"ipv4", "ipv6"} {
		if s.behind[family], err = w.inject(behindPlace, family); err != nil {
			delete(s.behind, family)
			return nil, err
		}
	}
	s.tracer, err = tracer.Open(ctx, tracer.Config{Host: w.lab.Host.NS, Detail: tracer.Detail(detail)}, w.targets()...)
	if err != nil {
		return nil, err
	}
	for _, number := range w.number { // paths and caches are there
		if _, err := w.game.Play(number, 1, windowLength/2); err != nil {
			return nil, err
		}
	}
	s.last, err = s.tracer.Snapshot()
	return s, err
}

func (s *session) close() error {
	var errs []error
	if s.tracer != nil {
		errs = append(errs, s.tracer.Close())
	}
	for _, injector := range s.behind {
		errs = append(errs, injector.Close())
	}
	return errors.Join(errs...)
}

// injector attaches one for the block; done detaches it again.
func (s *session) injector(b matrix.Block) (injector *lab.Injector, done func() error, err error) {
	if b.Place == behindPlace {
		injector = s.behind[b.Family]
		done = func() error { return injector.Set(0) }
	} else {
		if injector, err = s.world.inject(b.Place, b.Family); err != nil {
			return nil, nil, fmt.Errorf("%v: %w", b, err)
		}
		done = injector.Close
	}
	if err := injector.Only(protocolNumber(b.Protocol)); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return injector, done, nil
}

// block measures all given delays of a block against none, and those again in
// which an A/A arm does not hold or a hop is not where it may be: other tenants of
// the machine come and go, what the tracer does wrong it does each time.
func (s *session) block(ctx context.Context, b matrix.Block, delays []time.Duration) (o outcome, err error) {
	injector, done, err := s.injector(b)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, done()) }()
	for try, before := 1, map[string]bool(nil); ; try++ {
		once, err := s.try(ctx, b, injector, delays)
		if err != nil {
			if err = fmt.Errorf("%v: %w", b, err); ctx.Err() != nil || try == mostTries {
				return o, err
			}
			continue
		}
		once.refute(before)
		before = once.always
		o.take(once)
		o.tries = try
		if delays = o.again(); len(delays) == 0 || try == mostTries {
			return o, nil
		}
	}
}

// try measures and judges some delays of a block once.
func (s *session) try(ctx context.Context, b matrix.Block, injector *lab.Injector, delays []time.Duration) (outcome, error) {
	if err := s.wake(b); err != nil {
		return outcome{}, err
	}
	arms, err := s.arms(ctx, b, injector, delays)
	if err != nil {
		return outcome{}, err
	}
	return arms.judge(b, delays)
}

// wake plays until connection tracking knows the flow again: it forgets
// datagrams after half a minute, and their next one takes another path.
func (s *session) wake(b matrix.Block) (err error) {
	if _, err := s.world.game.Play(s.world.number[wayOf(b)], 1, windowLength/10); err != nil {
		return err
	}
	s.last, err = s.tracer.Snapshot()
	return err
}

// arms are the windows of a block: by arm, round and direction the medians of each hop.
// Arms 0 and 1 are without a delay, arm 2+i with the i-th one.
type arms struct {
	rounds  int
	windows [][]map[string][]float64
	hops    map[string][]tracer.Hop // of each direction's path
}

func (s *session) arms(ctx context.Context, b matrix.Block, injector *lab.Injector, delays []time.Duration) (*arms, error) {
	all := append([]time.Duration{0, 0}, delays...)
	a := &arms{windows: make([][]map[string][]float64, len(all)), hops: map[string][]tracer.Hop{}}
	for {
		if err := s.round(ctx, b, injector, all, a); err != nil {
			return nil, err
		}
		if a.rounds++; a.rounds == rounds {
			return a, nil
		}
		if a.rounds < s.world.fewest {
			continue
		}
		if settled, err := a.settled(b, delays); err != nil || settled {
			return a, err
		}
	}
}

// round plays one window of each arm, in random order.
func (s *session) round(ctx context.Context, b matrix.Block, injector *lab.Injector, all []time.Duration, a *arms) error {
	number := s.world.number[wayOf(b)]
	for _, arm := range s.random.Perm(len(all)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := injector.Set(all[arm]); err != nil {
			return err
		}
		span, err := s.world.game.Play(number, 1, windowLength)
		if err != nil {
			return err
		}
		window, err := s.window(b, a, span.Total())
		if err != nil {
			return err
		}
		a.windows[arm] = append(a.windows[arm], window)
	}
	return nil
}

// window reads what the window that has just ended measured.
func (s *session) window(b matrix.Block, a *arms, trips uint64) (map[string][]float64, error) {
	now, err := s.tracer.Snapshot()
	if err != nil {
		return nil, err
	}
	since := now.Since(s.last)
	s.last = now
	medians := map[string][]float64{}
	for _, direction := range matrix.Directions() {
		path, err := busiest(since, b, direction)
		if err != nil {
			return nil, err
		}
		// an acknowledgement may come late; nothing may be missing
		if path.Packets < trips || path.Packets > trips+trips/50+2 {
			return nil, fmt.Errorf("%s: %d packets of %d round trips", direction, path.Packets, trips)
		}
		if first := a.hops[direction]; len(first) > 0 && len(first) != len(path.Hops) {
			return nil, fmt.Errorf("%s: the path had %d hops and has %d", direction, len(first), len(path.Hops))
		}
		a.hops[direction] = path.Hops
		for _, hop := range path.Hops {
			median := matrix.Median(&hop.Latency.Hist)
			if math.IsNaN(median) {
				return nil, fmt.Errorf("%s: no median of %s", direction, hop.Name)
			}
			medians[direction] = append(medians[direction], median)
		}
	}
	return medians, nil
}

// busiest is the path that the block's packets took in one direction.
func busiest(since tracer.Snapshot, b matrix.Block, direction string) (tracer.Path, error) {
	var found tracer.Path
	for _, target := range since.Targets {
		if target.Name != targetName(b.Mode) {
			continue
		}
		for _, p := range target.Paths {
			if p.Direction.String() == direction && p.Family == b.Family && p.Protocol == b.Protocol &&
				p.Peer == "uplink" && p.Flow == "established" && p.Packets > found.Packets {
				found = p
			}
		}
	}
	if found.Packets == 0 {
		return found, fmt.Errorf("%s: no packet was followed", direction)
	}
	return found, nil
}

// cells measures cells of one detail, those of one block together, in order. What
// could not be measured is told by an error beside the block.
func (w *world) cells(ctx context.Context, detail string, cells []matrix.Cell, seed uint64, each func(outcome, error) (bool, error)) (err error) {
	s, err := newSession(ctx, w, detail, seed)
	if err != nil {
		return fmt.Errorf("%s: %w", detail, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for len(cells) > 0 {
		b := cells[0].Block
		var delays []time.Duration
		for len(cells) > 0 && cells[0].Block == b {
			delays = append(delays, cells[0].Delay)
			cells = cells[1:]
		}
		o, failed := s.block(ctx, b, delays)
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := each(o, failed); err != nil || !more {
			return err
		}
	}
	return nil
}
