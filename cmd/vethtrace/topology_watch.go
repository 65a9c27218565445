// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"syscall"
	"time"

	draw "github.com/vethtrace/vethtrace/exporter/wiring"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/wiring/change"
	"github.com/vethtrace/vethtrace/tracer/wiring/probe"
)

// When the wiring is read again.
const (
	watchSettle = 100 * time.Millisecond // after the first of several changes: `docker run` makes dozens
	watchAgain  = 2 * time.Second        // without any: for what nobody tells of
	watchCalm   = 20                     // times as long as reading took, at least: 5% of one CPU
	watchBusy   = 4                      // the same, while things change
)

// checkWatch checks the output, and what goes with --watch.
func (o *topologyOptions) checkWatch() error {
	want := []string{outputText, outputJSON, outputDot, outputMermaid, outputSVG}
	if o.watch {
		want = []string{outputText, outputNDJSON}
	}
	switch {
	case !slices.Contains(want, o.output) && o.watch:
		return usagef("--output %q: with --watch want text or ndjson", o.output)
	case !slices.Contains(want, o.output):
		return usagef("--output %q: want text, json, dot, mermaid or svg", o.output)
	case o.duration < 0:
		return usagef("--duration %s: want a time such as 10s", o.duration)
	case o.duration > 0 && !o.watch:
		return usagef("--duration needs --watch")
	case o.watch && (o.from != "" || o.to != ""):
		return usagef("--watch explains no way of a packet: leave --from and --to out")
	}
	return nil
}

// wiringWatch prints changes as they happen.
type wiringWatch struct {
	*topologyOptions
	host  *netns.NS
	out   io.Writer
	color bool

	last  probe.Config // what is read
	notes []string     // why the engine is not asked
	seen  change.Moment
	took  time.Duration // the last reading
}

// follow shows what changes until it is interrupted.
func (o *topologyOptions) follow(ctx context.Context, s streams) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	host, err := netns.Current()
	if err != nil {
		return fmt.Errorf("open our own network namespace: %w", err)
	}
	defer host.Close()
	// before the first reading, so that nothing is missed in between
	changed, err := probe.Signal(ctx, host)
	if err != nil {
		return err
	}
	w := &wiringWatch{topologyOptions: o, host: host, out: s.out, color: colored(s.out, o.noColor)}
	if w.seen, err = w.read(ctx, true); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := w.show(change.Start(w.seen)); err != nil {
		return err
	}
	events, closeEngine := o.events(ctx)
	defer closeEngine()
	return w.loop(ctx, changed, events)
}

func (w *wiringWatch) loop(ctx context.Context, changed <-chan struct{}, events <-chan container.Event) error {
	for {
		whole, wait := true, watchSettle
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		case <-time.After(max(watchAgain, watchCalm*w.took)):
			whole, wait = false, 0 // the engine has its own way to tell
		}
		if !settle(ctx, max(wait, min(watchAgain, watchBusy*w.took)), changed, events) {
			return nil
		}
		now, err := w.read(ctx, whole)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // what was cut short by the end of the watch is no fault
		case err != nil:
			return err
		}
		for _, c := range change.Between(w.seen, now) {
			if err := w.show(c); err != nil {
				return err
			}
		}
		w.seen = now
	}
}

// settle waits, and takes what is told meanwhile: what is read then has it.
func settle(ctx context.Context, wait time.Duration, changed <-chan struct{}, events <-chan container.Event) bool {
	over := time.After(wait)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-over:
			return true
		case <-changed:
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		}
	}
}

func (w *wiringWatch) show(c change.Change) error {
	c.Time = time.Now().Format(time.RFC3339Nano)
	if w.output == outputNDJSON {
		return draw.ChangeJSON(w.out, c)
	}
	return draw.ChangeLine(w.out, c, draw.Options{Color: w.color})
}

// read reads the wiring; whole says to ask the engine as well.
func (w *wiringWatch) read(ctx context.Context, whole bool) (change.Moment, error) {
	begin := time.Now()
	defer func() { w.took = time.Since(begin) }()
	if whole {
		if err := w.ask(ctx); err != nil {
			return change.Moment{}, err
		}
	}
	facts, err := probe.Read(w.last)
	if err != nil {
		return change.Moment{}, err
	}
	facts.Notes = nil // one that could not be read has ended meanwhile: it is told as removed
	facts.Notes = append(facts.Notes, w.notes...)
	return change.At(facts, versionText()), nil
}

// ask asks the engine what there is. One that no longer answers has not stopped
// its containers: those that it named last are looked at.
func (w *wiringWatch) ask(ctx context.Context) error {
	cfg, notes, err := w.config(ctx, w.host)
	switch {
	case w.watching && err != nil:
		w.notes = []string{oneLine(err)}
	case err != nil:
		return err
	case w.watching && len(notes) > 0 && cfg.Networks == nil && w.last.Networks != nil:
		w.notes = notes
	default:
		w.last, w.notes, w.watching = cfg, notes, true
	}
	return nil
}

// events are those of the engine; nil without one.
func (o *topologyOptions) events(ctx context.Context) (<-chan container.Event, func()) {
	if len(o.targets.pids)+len(o.targets.netns) > 0 && len(o.targets.containers) == 0 {
		return nil, func() {}
	}
	engine, err := o.targets.engine()
	if err != nil {
		return nil, func() {} // reading has said so
	}
	ctx, cancel := context.WithCancel(ctx)
	events := engine.Watch(ctx)
	return events, func() {
		cancel()
		for range events { // it is closed when the watch has ended
		}
		_ = engine.Close()
	}
}
