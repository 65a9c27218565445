// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
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

// Watch tells what runs, beginning with a Started for each container that runs
// already, until ctx ends; then it closes the channel. A restart is a Stopped
// and a Started. It connects again when the engine goes away, and then compares
// what runs with what it told, so nothing is missed but containers that came and
// went meanwhile. The engine is never kept waiting by a slow reader.
func (d *Docker) Watch(ctx context.Context) <-chan Event {
	w := &watcher{docker: d, out: make(chan Event), known: map[string]Container{}}
	go w.run(ctx)
	return w.out
}

// watcher reconciles: an event only says which container to look at again.
type watcher struct {
	docker *Docker
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
	stream := w.docker.api.Events(ctx, client.EventsListOptions{
		Filters: make(client.Filters).Add("type", "container").Add("event", "start", "die", "rename"),
	})
	touched := newTouched()
	ended := make(chan struct{})
	var cause error // set before ended is closed
	go func() {
		defer close(ended)
		cause = touched.gather(stream)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for {
		if err := w.reconcile(ctx, touched.take()); err != nil {
			return connected, err
		}
		connected = true
		if w.away {
			w.away = false
			w.send(ctx, Event{Kind: Reachable})
		}
		select {
		case <-ended:
			return connected, &EngineError{Host: w.docker.host, Err: cause}
		case <-touched.signal:
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

func (t *touched) gather(stream client.EventsResult) error {
	for {
		select {
		case m := <-stream.Messages:
			t.add(m)
		case err := <-stream.Err:
			if err == nil {
				err = errors.New("the event stream ended")
			}
			return err
		}
	}
}

func (t *touched) add(m events.Message) {
	t.mu.Lock()
	t.ids[m.Actor.ID] = true
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
	all, err := w.docker.summaries(ctx, false)
	if err != nil {
		return err
	}
	running := map[string]bool{}
	for _, s := range all {
		running[s.ID] = true
	}
	for id, c := range w.known {
		if !running[id] {
			w.stopped(ctx, c)
		}
	}
	var b *book
	for _, s := range all {
		old, known := w.known[s.ID]
		name := nameOf(s)
		if known && !ids[s.ID] && old.Name == name && alive(old) {
			continue
		}
		if b == nil {
			made, err := w.docker.book(ctx, all)
			if err != nil {
				return err
			}
			b = &made
		}
		if err := w.look(ctx, s, *b); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) look(ctx context.Context, s container.Summary, b book) error {
	old, known := w.known[s.ID]
	c, err := w.docker.inspect(ctx, s.ID, b)
	var gone *NotRunningError
	var hidden *HiddenError
	switch {
	case errors.As(err, &gone), errors.As(err, &hidden), errdefs.IsNotFound(err):
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
	w.known[s.ID] = c
	switch {
	case !known:
		w.send(ctx, Event{Kind: Started, Container: c})
	case c.Name != old.Name:
		w.send(ctx, Event{Kind: Renamed, Container: c, OldName: old.Name})
	}
	return nil
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
