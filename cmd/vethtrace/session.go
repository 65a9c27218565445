// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

// soon is when a live view gets its first figures after attaching, and again:
// somebody looks at it.
const soon = 80 * time.Millisecond

// attendant looks after the targets while they are traced.
type attendant interface {
	// attend begins to; the channel is closed when there is nothing left to trace.
	attend(ctx context.Context, t adder) <-chan struct{}
	// described says what is traced, after attend.
	described() string
}

// session is one run: attach, show, end.
type session struct {
	streams
	view    *viewOptions
	command []string // to run meanwhile
	path    string   // of its program
	gate    *gate    // before stderr
	outlet  *outlet  // before stdout, for figures
	log     *slog.Logger
	// after is written behind the last text, where it is not nil.
	after func(w io.Writer, s tracer.Snapshot, raw bool) error
	// only is where figures go instead of what the options say, where it is not nil.
	only sink
}

func newSession(s streams, view *viewOptions, command []string) *session {
	g := &gate{to: s.err}
	return &session{
		streams: s, view: view, command: command, gate: g, outlet: newOutlet(s.out),
		log: logger(g, s.err, view.level, view.noColor),
	}
}

// spareFiles are descriptors that are open for a moment only, or for the run:
// the engine's socket, the command's pipes. Each target has its namespace and one
// that tells its end.
const (
	spareFiles = 64
	filesEach  = 2
)

// progressAfter is when attaching takes long enough to be told about, and how often then.
const progressAfter = 300 * time.Millisecond

// progress tells on a terminal how far attaching is, in one line that the ready line replaces.
func (s *session) progress(begin time.Time) func(done, total int) {
	if _, tty := terminal(s.err); !tty {
		return nil
	}
	last, shown := begin, false
	return func(done, total int) {
		if done == total && shown {
			fmt.Fprint(s.gate, "\r\x1b[K")
		}
		if now := time.Now(); done < total && now.Sub(last) >= progressAfter {
			last, shown = now, true
			fmt.Fprintf(s.gate, "\rvethtrace: attaching, %d of %d targets\x1b[K", done, total)
		}
	}
}

// functionProgress tells on a terminal how far attaching to functions of the
// kernel is, and detaching from them, where it takes long.
func (s *session) functionProgress() func(doing string, done, total int) {
	if _, tty := terminal(s.err); !tty {
		return nil
	}
	last, shown := time.Now(), false
	return func(doing string, done, total int) {
		if done == total && shown {
			shown = false
			fmt.Fprint(s.gate, "\r\x1b[K")
		}
		if done <= 1 {
			last = time.Now()
		}
		if now := time.Now(); done < total && now.Sub(last) >= progressAfter {
			last, shown = now, true
			fmt.Fprintf(s.gate, "\rvethtrace: %s %d of %d functions\x1b[K", doing, done, total)
		}
	}
}

// trace attaches, shows what is seen until something ends it, and shows the
// whole at the end.
func (s *session) trace(ctx context.Context, cfg tracer.Config, specs []tracer.TargetSpec, who attendant) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, deaf := s.quits.listen()
	defer deaf()

	begin := time.Now()
	cfg.Spare = spareFiles + len(specs)
	cfg.Progress, cfg.FunctionProgress = s.progress(begin), s.functionProgress()
	t, err := tracer.Open(ctx, cfg, specs...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	over := who.attend(ctx, t)
	fmt.Fprintf(s.gate, "vethtrace: attached to %s in %d ms\n", who.described(), time.Since(begin).Milliseconds())

	show := s.newSink(ctx)
	child, err := s.start()
	if err != nil {
		return errors.Join(err, show.end())
	}
	told := hear(ctx, signals, deaf, child, s.outlet)
	w := watch{session: s, tracer: t, sink: show, told: told, child: child, over: over}
	err = w.loop(ctx)
	if child != nil {
		deaf() // from now on one ends this process, whatever the command makes of its end
	}
	err = errors.Join(err, show.end())
	if err == nil {
		err = s.finish(t, show, w.shown)
	}
	return errors.Join(err, child.status())
}

// finish detaches and shows the whole run.
func (s *session) finish(t *tracer.Tracer, show sink, shown tracer.Snapshot) error {
	if err := t.Stop(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	last, err := t.Snapshot()
	if err != nil {
		return fmt.Errorf("read the last figures: %w", err)
	}
	return show.final(last.Since(shown), last)
}

// watch is the time between attaching and detaching.
type watch struct {
	*session
	tracer *tracer.Tracer
	sink   sink
	told   <-chan struct{} // by a signal, to end
	child  *child
	over   <-chan struct{}
	shown  tracer.Snapshot // what the sink has seen
}

// loop shows an update each interval until something ends the run.
func (w *watch) loop(ctx context.Context) error {
	var deadline <-chan time.Time
	if w.view.duration > 0 {
		deadline = time.After(w.view.duration)
	}
	tick := time.NewTicker(w.view.interval)
	defer tick.Stop()
	var early <-chan time.Time
	if w.sink.live() {
		early = time.After(soon)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-deadline:
			return nil
		case <-w.over:
			w.log.Info("all targets have ended")
			return nil
		case <-w.sink.quit():
			return nil
		case <-w.child.done():
			return nil
		case <-w.told:
			return nil
		case <-early:
			err = w.update()
			if early = nil; w.shown.Duration < 2*soon {
				early = time.After(2 * soon)
			}
		case <-tick.C:
			err = w.update()
		}
		if err != nil {
			return err
		}
	}
}

// update shows what happened since the last one.
func (w *watch) update() error {
	if !w.sink.updates() {
		return nil
	}
	now, err := w.tracer.Snapshot()
	if err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	interval := now.Since(w.shown)
	w.shown = now
	return w.sink.update(interval, now)
}
