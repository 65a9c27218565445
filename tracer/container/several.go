// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// mobySpace is containerd's namespace that Docker keeps its containers in.
const mobySpace = "moby"

// rescan is how often several looks for engines that have begun to listen.
const rescan = 5 * time.Second

// several is all engines of a machine. An engine counts once it has answered;
// while none has, Docker at its own place stands for all, so that its error is
// the one that is told.
type several struct {
	places func() []place

	mu       sync.Mutex
	engines  map[place]Engine
	order    []place
	silent   map[place]error // listen, but do not answer
	fallback Engine
}

func newSeveral(places func() []place) *several {
	return &several{places: places, engines: map[place]Engine{}, silent: map[place]error{}}
}

// skips leaves containerd's namespaces out that another engine tells of.
func (s *several) skips(space string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return space == mobySpace && slices.ContainsFunc(s.order, func(p place) bool { return p.runtime == RuntimeDocker })
}

// found looks for engines, and returns those that answer.
func (s *several) found(ctx context.Context) []Engine {
	for _, p := range s.places() {
		s.adopt(ctx, p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Engine
	for _, p := range s.order {
		list = append(list, s.engines[p])
	}
	return list
}

// adopt takes an engine in that answers.
func (s *several) adopt(ctx context.Context, p place) {
	s.mu.Lock()
	_, known := s.engines[p]
	s.mu.Unlock()
	if known {
		return
	}
	engine, err := p.open(s)
	if err == nil {
		if _, err = engine.Names(ctx); err != nil {
			_ = engine.Close() // nothing was written
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.silent[p] = err
		return
	}
	delete(s.silent, p)
	s.engines[p] = engine
	s.order = append(s.order, p)
	// Docker first: it names what containerd has numbers for.
	slices.SortStableFunc(s.order, func(a, b place) int { return cmp.Compare(rank(a), rank(b)) })
}

func rank(p place) int {
	return slices.Index([]Runtime{RuntimeDocker, RuntimePodman, RuntimeContainerd}, p.runtime)
}

// Silent are the errors of engines that listen but do not answer.
func (s *several) Silent() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []error
	for _, err := range s.silent {
		list = append(list, err)
	}
	slices.SortFunc(list, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return list
}

// none is the error where no engine answers: of one that listens, else Docker's.
func (s *several) none(ctx context.Context) error {
	if silent := s.Silent(); len(silent) > 0 {
		return errors.Join(silent...)
	}
	d, err := s.stand()
	if err == nil {
		_, err = d.Names(ctx)
	}
	return err
}

// stand is the engine that stands for all while none answers.
func (s *several) stand() (Engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fallback != nil {
		return s.fallback, nil
	}
	d, err := NewDocker(Config{})
	if err != nil {
		return nil, err
	}
	s.fallback = d
	return d, nil
}

// Host lists the addresses of those that answer.
func (s *several) Host() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hosts []string
	for _, p := range s.order {
		hosts = append(hosts, s.engines[p].Host())
	}
	return strings.Join(hosts, ", ")
}

// Names implements Engine.
func (s *several) Names(ctx context.Context) ([]string, error) {
	names, err := gather(ctx, s, Engine.Names)
	slices.Sort(names)
	return names, err
}

// List implements Engine.
func (s *several) List(ctx context.Context) ([]Container, error) { return gather(ctx, s, Engine.List) }

// Networks implements Engine.
func (s *several) Networks(ctx context.Context) ([]NetworkInfo, error) {
	list, err := gather(ctx, s, Engine.Networks)
	slices.SortStableFunc(list, compareNetworks)
	return list, err
}

// gather asks each engine; the error is that of the first which fails.
func gather[T any](ctx context.Context, s *several, ask func(Engine, context.Context) ([]T, error)) ([]T, error) {
	engines := s.found(ctx)
	if len(engines) == 0 {
		return nil, s.none(ctx)
	}
	var all []T
	for _, e := range engines {
		list, err := ask(e, ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// Find implements Engine: the first engine that has a running container of that
// name or id.
func (s *several) Find(ctx context.Context, nameOrID string) (Container, error) {
	engines := s.found(ctx)
	if len(engines) == 0 {
		return Container{}, s.none(ctx)
	}
	var best error
	var near []string
	for _, e := range engines {
		c, err := e.Find(ctx, nameOrID)
		if err == nil {
			return c, nil
		}
		var unknown *NotFoundError
		if !errors.As(err, &unknown) {
			best = cmp.Or(best, err) // what is there, but can't be had, says more
			continue
		}
		near = append(near, unknown.Near...)
	}
	if best != nil {
		return Container{}, best
	}
	slices.Sort(near)
	near = slices.Compact(near)
	return Container{}, &NotFoundError{Name: nameOrID, Near: near[:min(len(near), maxNear)]}
}

// Close implements Engine.
func (s *several) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, e := range s.engines {
		errs = append(errs, e.Close())
	}
	if s.fallback != nil {
		errs = append(errs, s.fallback.Close())
	}
	return errors.Join(errs...)
}

// Watch implements Engine: it tells what all engines tell, also of those that
// begin to listen later.
func (s *several) Watch(ctx context.Context) <-chan Event {
	m := &merger{all: s, out: make(chan Event), in: make(chan told), watched: map[Engine]bool{}, away: map[Engine]bool{}}
	go m.run(ctx)
	return m.out
}

// told is an event and who told it.
type told struct {
	Event
	by Engine
}

// merger makes one watch of several.
type merger struct {
	all     *several
	out     chan Event
	in      chan told
	watched map[Engine]bool
	away    map[Engine]bool // told as unreachable
	stop    func()          // ends the watch of what stands for all; nil without it
	forward sync.WaitGroup
}

func (m *merger) run(ctx context.Context) {
	defer close(m.out)
	ctx, cancel := context.WithCancel(ctx)
	defer m.forward.Wait()
	defer cancel()
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	m.scan(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.scan(ctx)
		case e := <-m.in:
			if m.passes(e) {
				m.send(ctx, e.Event)
			}
		}
	}
}

func (m *merger) send(ctx context.Context, e Event) {
	select {
	case <-ctx.Done():
	case m.out <- e:
	}
}

// scan watches engines that are new.
func (m *merger) scan(ctx context.Context) {
	engines := m.all.found(ctx)
	for _, e := range engines {
		if m.watched[e] {
			continue
		}
		m.watched[e] = true
		m.follow(ctx, e)
		if m.stop != nil { // it answers in place of what stood for all
			m.stop()
			m.stop, m.away = nil, map[Engine]bool{}
			m.send(ctx, Event{Kind: Reachable})
		}
	}
	if len(engines) > 0 || m.stop != nil || ctx.Err() != nil {
		return
	}
	stand, err := m.all.stand()
	if err != nil {
		return // Docker's address can't be read: found again at the next scan
	}
	only, stop := context.WithCancel(ctx)
	m.stop = stop
	m.follow(only, stand)
}

func (m *merger) follow(ctx context.Context, e Engine) {
	events := e.Watch(ctx)
	m.forward.Go(func() {
		for event := range events {
			select {
			case <-ctx.Done():
			case m.in <- told{event, e}:
			}
		}
	})
}

// passes tells whether an event is told on: the engines answer again when the
// last one does.
func (m *merger) passes(e told) bool {
	switch e.Kind {
	case Unreachable:
		m.away[e.by] = true
	case Reachable:
		delete(m.away, e.by)
		return len(m.away) == 0
	case Started, Stopped, Renamed:
	}
	return true
}
