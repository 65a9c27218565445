// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// adder is the tracer, as far as following needs it.
type adder interface {
	Add(spec tracer.TargetSpec) error
	Remove(idOrName string) error
	SetListeners(idOrName string, listeners []tracer.Listener) error
}

// listenersPause is how often the ports of host-mode targets are looked at.
const listenersPause = time.Second

// follower keeps the tracer's targets equal to what runs. One goroutine owns it.
type follower struct {
	tracer adder
	mapper mapper
	all    bool
	some   func(container.Container) bool // under all; nil: each
	known  *directory                     // nil but for the exporter
	engine bool                           // one tells what starts
	names  map[string]bool                // of the containers asked for
	live   map[string]member
	ends   chan instance
	log    *slog.Logger
}

// instance is one life of a target: a restarted container has another process.
type instance struct {
	key string
	pid int
}

// attend follows the targets until ctx ends. The channel is closed when the
// last one has ended and no engine can tell of others. The tracer holds the
// targets' namespaces itself by now, and lets go of them one by one: another
// descriptor would keep one, and its devices, for as long as the run.
func (f *found) attend(ctx context.Context, t adder) <-chan struct{} {
	if err := closeSpecs(f.opened); err != nil {
		f.log.Warn("targets' namespaces may outlast them until vethtrace ends", "error", err)
	}
	w := &follower{
		tracer: t, mapper: f.mapper, all: f.all, some: f.wants, known: f.known,
		engine: f.engine != nil, names: map[string]bool{},
		live: map[string]member{}, ends: make(chan instance), log: f.log,
	}
	for _, name := range f.awaited {
		w.names[name] = true
	}
	for _, m := range f.members {
		if m.ID != "" {
			w.names[m.Name] = true
		}
		w.known.put(m)
		w.began(ctx, m)
	}
	var events <-chan container.Event
	if f.engine != nil {
		events = f.engine.Watch(ctx)
	}
	if f.all {
		w.addRunning(ctx, f)
	}
	f.text = described(w.live)
	over := make(chan struct{})
	go w.run(ctx, events, over)
	return over
}

// described says what was traced when it began to be attended to.
func (f *found) described() string { return f.text }

// described says what is traced: nginx (bridge), web (host).
func described(live map[string]member) string {
	const most = 5
	var names []string
	for _, m := range live {
		names = append(names, fmt.Sprintf("%s (%s)", m.Name, m.Mode))
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return "no target yet, waiting for containers"
	case len(names) > most:
		return fmt.Sprintf("%d targets", len(names))
	}
	return strings.Join(names, ", ")
}

// addRunning adds what has begun since the targets were looked for, so that the
// ready line is true of all that runs.
func (w *follower) addRunning(ctx context.Context, f *found) {
	all, err := f.list(ctx)
	if err != nil {
		w.log.Warn("the engine does not answer, trying again", "error", err)
		return
	}
	w.known.reached(true)
	for _, m := range group(all, w.mapper.host) {
		if now, ok := w.live[m.key()]; !ok || now.PID != m.PID {
			w.started(ctx, m.Container)
		}
	}
}

func (w *follower) run(ctx context.Context, events <-chan container.Event, over chan<- struct{}) {
	look := time.NewTicker(listenersPause)
	defer look.Stop()
	for {
		if len(w.live) == 0 && !w.engine {
			close(over)
			return
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil // ctx has ended
				continue
			}
			w.event(ctx, e)
		case i := <-w.ends:
			if m, ok := w.live[i.key]; ok && m.PID == i.pid {
				w.remove(m)
			}
		case <-look.C:
			w.listen()
		}
	}
}

// listen tells the tracer which ports host-mode targets listen on now.
func (w *follower) listen() {
	for _, m := range w.live {
		w.listenOf(m)
	}
}

func (w *follower) listenOf(m member) {
	if m.Netns != w.mapper.host {
		return
	}
	now, err := listeners(m.Container)
	if err != nil {
		return // it is about to end
	}
	// Also what it knew: a port is forgotten when one of several listeners closes.
	if err := w.tracer.SetListeners(m.key(), now); err != nil {
		w.log.Warn("new connections to the target's new ports are not all seen", "name", m.Name, "error", err)
	}
}

func (w *follower) event(ctx context.Context, e container.Event) {
	switch e.Kind {
	case container.Started:
		if w.wants(e.Container) {
			w.started(ctx, e.Container)
		}
	case container.Stopped:
		if m, ok := w.live[e.Container.ID]; ok && m.PID == e.Container.PID {
			w.remove(m)
		}
	case container.Renamed:
		if m, ok := w.live[e.Container.ID]; ok {
			w.names[e.Container.Name] = w.names[m.Name]
			w.log.Info("container has another name, shown under the old one", "name", m.Name, "new", e.Container.Name)
		}
	case container.Unreachable:
		w.known.reached(false)
		w.log.Warn("the engine does not answer: starts are not noticed until it does", "error", e.Err)
	case container.Reachable:
		w.known.reached(true)
		w.log.Info("the engine answers again")
	}
}

func (w *follower) wants(c container.Container) bool {
	return w.all && (w.some == nil || w.some(c)) || w.names[c.Name]
}

func (w *follower) started(ctx context.Context, c container.Container) {
	for _, m := range w.live {
		switch {
		case m.ID == c.ID && m.PID == c.PID:
			return // told again
		case m.ID == c.ID:
			w.remove(m)
		case m.Netns == c.Netns && c.Netns != w.mapper.host:
			w.log.Info("container shares the namespace of a target", "name", c.Name, "target", m.Name)
			return
		}
	}
	w.add(ctx, member{Container: c})
}

// add traces one more; what cannot be traced is told, and left out.
func (w *follower) add(ctx context.Context, m member) {
	w.known.put(m) // before a scrape can tell of it
	spec, err := w.mapper.spec(m)
	if err == nil {
		err = errors.Join(w.tracer.Add(spec), spec.Netns.Close())
	}
	if err != nil {
		w.known.drop(m)
	}
	var noWay *tracer.NoWayError
	switch {
	case errors.As(err, &noWay) && w.all:
		w.log.Debug("container cannot be traced", "name", m.Name, "error", err)
	case err != nil:
		w.log.Warn("container is not traced", "name", m.Name, "error", err)
	default:
		w.began(ctx, m)
		w.log.Debug("container is traced", "name", m.Name, "mode", m.Mode)
	}
}

// began notes a target that is traced, and waits for its end.
func (w *follower) began(ctx context.Context, m member) {
	w.live[m.key()] = m
	// What it began to listen on after its spec was made and before the kernel's event was attended to, nobody has told of.
	w.listenOf(m)
	ended, err := container.WatchEnd(ctx, m.Container)
	if err != nil {
		w.log.Warn("the end of the target will not be noticed", "name", m.Name, "error", err)
		return
	}
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
		select {
		case <-ctx.Done():
		case w.ends <- instance{m.key(), m.PID}:
		}
	}()
}

// remove lets go of a target's namespace.
func (w *follower) remove(m member) {
	delete(w.live, m.key())
	if err := w.tracer.Remove(m.key()); err != nil {
		w.log.Warn("some of what was attached to an ended target stays until vethtrace ends", "name", m.Name, "error", err)
		return
	}
	w.known.drop(m)
	if w.engine && m.ID != "" && !w.all {
		w.log.Info("target has ended, waiting for it to start again", "name", m.Name)
		return
	}
	w.log.Info("target has ended", "name", m.Name)
}
