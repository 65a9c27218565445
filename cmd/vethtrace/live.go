// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"golang.org/x/term"

	"github.com/vethtrace/vethtrace/exporter/tui"
	"github.com/vethtrace/vethtrace/tracer"
)

// liveSink is the live view, and plain text after it.
type liveSink struct {
	*textSink
	feed    chan tui.Update // one waits to be drawn: a terminal that is stopped (Ctrl-S) holds nothing else up
	gone    chan struct{}   // the view has ended
	err     error           // why, once gone is closed
	hurry   <-chan struct{} // closed when the run has been told to end
	restore func()          // makes the terminal what it was
	gate    *gate
	ended   bool
}

// newLiveSink takes the terminal over. Messages wait until end.
func newLiveSink(ctx context.Context, s *session, plain *textSink) *liveSink {
	l := &liveSink{
		textSink: plain, feed: make(chan tui.Update, 1), gone: make(chan struct{}),
		hurry: s.outlet.hurry, restore: modeOf(s), gate: s.gate,
	}
	l.gate.close()
	go func() {
		defer close(l.gone)
		l.err = tui.Run(ctx, tui.Config{
			In: s.in, Out: s.out, Updates: l.feed, Color: plain.options.Color, Raw: plain.options.Raw,
		})
	}()
	return l
}

// modeOf returns what brings the terminal's mode of now back.
func modeOf(s *session) func() {
	file, ok := terminal(s.in)
	if !ok {
		return func() {}
	}
	state, err := term.GetState(int(file.Fd()))
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(int(file.Fd()), state) } // a terminal that has gone needs none
}

// updates tells whether the last one has been taken. What a stopped terminal
// does not take is in the next one.
func (l *liveSink) updates() bool         { return len(l.feed) < cap(l.feed) }
func (*liveSink) live() bool              { return true }
func (l *liveSink) quit() <-chan struct{} { return l.gone }

// update is called only where updates says so, by one goroutine: it never waits.
func (l *liveSink) update(interval, whole tracer.Snapshot) error {
	select {
	case l.feed <- tui.Update{Interval: interval, Cumulative: whole}:
	case <-l.gone:
	}
	return nil
}

// end ends the view. One that cannot write, as its terminal is stopped, is left
// behind once the run has been told to end, and patience with it.
func (l *liveSink) end() error {
	if l.ended {
		return l.err
	}
	l.ended = true
	close(l.feed)
	select {
	case <-l.gone:
	case <-l.hurry:
		select {
		case <-l.gone:
		case <-time.After(patience):
			l.restore()
			return errStalled // the gate stays closed: messages would wait for the terminal too
		}
	}
	l.gate.open()
	return l.err
}
