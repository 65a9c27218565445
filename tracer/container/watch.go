// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// How long Watch waits before it connects again: longer after each failure.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// EventKind tells what happened to a container.
type EventKind uint8

// The kinds of events.
const (
	Started     EventKind = iota // runs; also told of each one that runs already
	Stopped                      // its first process has ended
	Renamed                      // runs on under another name
	Unreachable                  // the engine can't be asked, Err says why; Watch tries again
	Reachable                    // after Unreachable: it answers again, and what changed meanwhile has been told
)

// String returns started, stopped, renamed, unreachable or reachable.
func (k EventKind) String() string {
	switch k {
	case Started:
		return "started"
	case Stopped:
		return "stopped"
	case Renamed:
		return "renamed"
	case Unreachable:
		return "unreachable"
	case Reachable:
		return "reachable"
	}
	return fmt.Sprintf("EventKind(%d)", k)
}

// Event is a change of what runs.
type Event struct {
	Kind      EventKind
	Container Container // as it is now; as it was, when stopped
	OldName   string    // before Renamed
	Err       error     // of Unreachable: an *EngineError
}

// Watch tells what runs, see Engine.
func (d *Docker) Watch(ctx context.Context) <-chan Event { return watchSource(ctx, d) }

// running is what a source has found to run, and how to learn more of each. The
// error of inspect wraps errdefs.ErrNotFound when it is gone.
type running struct {
	refs    []ref
	inspect func(ctx context.Context, r ref) (Container, error)
}

// source is an engine, as far as watching it needs.
type source interface {
	Host() string
	// look lists what runs.
	look(ctx context.Context) (running, error)
	// subscribe asks for events. next waits for the next one and tells the id of
	// its container; its error says why there will be no more.
	subscribe(ctx context.Context) (next func() (id string, err error))
	// pauses are how long after subscribing to look again although nothing
	// happened; the last one repeats. None: never.
	pauses() []time.Duration
}

// subscribe asks for Docker's events.
func (d *Docker) subscribe(ctx context.Context) func() (string, error) {
	stream := d.api.Events(ctx, client.EventsListOptions{
		Filters: make(client.Filters).Add("type", "container").Add("event", "start", "die", "died", "rename"),
	})
	return func() (string, error) {
		select {
		case m := <-stream.Messages:
			return m.Actor.ID, nil
		case err := <-stream.Err:
			if err == nil {
				err = errors.New("the event stream ended")
			}
			return "", err
		}
	}
}

// pauses: an event stream that has begun misses nothing.
func (d *Docker) pauses() []time.Duration { return nil }

func watchSource(ctx context.Context, s source) <-chan Event {
	w := &watcher{source: s, out: make(chan Event), known: map[string]Container{}}
	go w.run(ctx)
	return w.out
}

// watcher reconciles: an event only says which container to look at again.
type watcher struct {
	source source
	out    chan Event
	known  map[string]Container // told as running, by id
	away   bool                 // told as unreachable
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	backoff := minBackoff
	for ctx.Err() == nil {
		connected, err := w.session(ctx)
		if connected {
			backoff = minBackoff
		}
		if ctx.Err() != nil {
			return
		}
		if !w.away {
			w.away = true
			w.send(ctx, Event{Kind: Unreachable, Err: err})
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// session follows one event stream to its end. It subscribes first and lists
// then, so that nothing can happen unseen in between.
func (w *watcher) session(ctx context.Context) (connected bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := w.source.subscribe(ctx)
	touched := newTouched()
	ended := make(chan struct{})
	var cause error // set before ended is closed
	go func() {
		defer close(ended)
		cause = touched.gather(next)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	pauses := w.source.pauses()
	for {
		if err := w.reconcile(ctx, touched.take()); err != nil {
			return connected, err
		}
		connected = true
		if w.away {
			w.away = false
			w.send(ctx, Event{Kind: Reachable})
		}
		var again <-chan time.Time // never
		if len(pauses) > 0 {
			again = time.After(pauses[0])
		}
		select {
		case <-ended:
			return connected, &EngineError{Host: w.source.Host(), Err: cause}
		case <-touched.signal:
		case <-again:
			pauses = pauses[min(1, len(pauses)-1):]
		}
	}
}

// touched is the set of ids that events named since they were last looked at.
type touched struct {
	mu     sync.Mutex
	ids    map[string]bool
	signal chan struct{}
}

func newTouched() *touched {
	return &touched{ids: map[string]bool{}, signal: make(chan struct{}, 1)}
}

func (t *touched) gather(next func() (string, error)) error {
	for {
		id, err := next()
		if err != nil {
			return err
		}
		t.add(id)
	}
}

func (t *touched) add(id string) {
	t.mu.Lock()
	t.ids[id] = true
	t.mu.Unlock()
	select {
	case t.signal <- struct{}{}:
	default:
	}
}

func (t *touched) take() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := t.ids
	t.ids = map[string]bool{}
	return ids
}

// reconcile tells the difference between what runs and what was told. Only
// containers that are new, or that an event named, are inspected: with many
// containers that is what costs.
func (w *watcher) reconcile(ctx context.Context, ids map[string]bool) error {
	now, err := w.source.look(ctx)
	if err != nil {
		return err
	}
	runs := map[string]bool{}
	for _, r := range now.refs {
		runs[r.id] = true
	}
	for id, c := range w.known {
		if !runs[id] {
			w.stopped(ctx, c)
		}
	}
	for _, r := range now.refs {
		old, known := w.known[r.id]
		if known && !ids[r.id] && (r.name == "" || old.Name == r.name) && alive(old) {
			continue
		}
		if err := w.look(ctx, now, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) look(ctx context.Context, now running, r ref) error {
	old, known := w.known[r.id]
	c, err := now.inspect(ctx, r)
	switch {
	case left(err):
		if known {
			w.stopped(ctx, old)
		}
		return nil
	case err != nil:
		return err
	}
	if known && !c.same(old) {
		w.stopped(ctx, old)
		known = false
	}
	w.known[r.id] = c
	switch {
	case !known:
		w.send(ctx, Event{Kind: Started, Container: c})
	case c.Name != old.Name:
		w.send(ctx, Event{Kind: Renamed, Container: c, OldName: old.Name})
	}
	return nil
}

// left tells that a container is not there any more, or can't be seen.
func left(err error) bool {
	var gone *NotRunningError
	var hidden *HiddenError
	return errors.As(err, &gone) || errors.As(err, &hidden) || errdefs.IsNotFound(err)
}

// describeAll inspects each; those that end meanwhile are left out.
func describeAll(ctx context.Context, now running) ([]Container, error) {
	var list []Container
	for _, r := range now.refs {
		c, err := now.inspect(ctx, r)
		switch {
		case err == nil:
			list = append(list, c)
		case left(err):
		default:
			return nil, err
		}
	}
	return list, nil
}

func (w *watcher) stopped(ctx context.Context, c Container) {
	delete(w.known, c.ID)
	w.send(ctx, Event{Kind: Stopped, Container: c})
}

func (w *watcher) send(ctx context.Context, e Event) {
	select {
	case <-ctx.Done():
	case w.out <- e:
	}
}

// alive tells whether the process that was seen for a container still is the
// same one; an engine that was away says nothing about restarts meanwhile.
func alive(c Container) bool {
	p, err := readStat(c.PID)
	return err == nil && p.startTicks == c.startTicks
}
