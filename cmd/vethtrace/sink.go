// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"

	"github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/tracer"
)

// sink is where figures go.
type sink interface {
	updates() bool         // whether it wants one now, before the end
	live() bool            // whether somebody waits for the first one
	quit() <-chan struct{} // closed when the reader has seen enough; nil: never
	update(interval, whole tracer.Snapshot) error
	end() error                              // no update comes any more
	final(rest, whole tracer.Snapshot) error // after end; rest is what no update had
}

// newSink chooses one by the options and by what stdout is. A command that runs
// meanwhile owns the terminal.
func (s *session) newSink(ctx context.Context) sink {
	if s.only != nil {
		return s.only
	}
	switch s.view.output {
	case outputJSON:
		return &jsonSink{out: s.outlet}
	case outputNDJSON:
		return &ndjsonSink{out: s.outlet}
	}
	o := text.Options{
		Color: colored(s.out, s.view.noColor), Width: width(s.out), Raw: s.view.raw,
	}
	plain := &textSink{out: s.outlet, options: o, each: s.view.intervalGiven, after: s.after}
	_, ttyOut := terminal(s.out)
	_, ttyIn := terminal(s.in)
	if !ttyOut || !ttyIn || len(s.command) > 0 {
		return plain
	}
	plain.each = false
	return newLiveSink(ctx, s, plain)
}

// jsonSink writes one document at the end.
type jsonSink struct{ out io.Writer }

func (*jsonSink) updates() bool                                 { return false }
func (*jsonSink) live() bool                                    { return false }
func (*jsonSink) quit() <-chan struct{}                         { return nil }
func (*jsonSink) update(tracer.Snapshot, tracer.Snapshot) error { return nil }
func (*jsonSink) end() error                                    { return nil }

func (j *jsonSink) final(_, whole tracer.Snapshot) error {
	return json.Encode(j.out, whole, json.Options{Indent: true})
}

// ndjsonSink writes a line for each interval, and one for the rest at the end:
// what the lines count adds up to the whole.
type ndjsonSink struct{ out io.Writer }

func (*ndjsonSink) updates() bool         { return true }
func (*ndjsonSink) live() bool            { return false }
func (*ndjsonSink) quit() <-chan struct{} { return nil }
func (*ndjsonSink) end() error            { return nil }

func (n *ndjsonSink) update(interval, _ tracer.Snapshot) error {
	return json.EncodeLine(n.out, interval)
}

func (n *ndjsonSink) final(rest, _ tracer.Snapshot) error { return json.EncodeLine(n.out, rest) }

// textSink writes plain text at the end, and each interval if asked for.
type textSink struct {
	out     io.Writer
	options text.Options
	each    bool
	after   func(w io.Writer, s tracer.Snapshot, raw bool) error // nil: nothing
}

func (t *textSink) updates() bool       { return t.each }
func (*textSink) live() bool            { return false }
func (*textSink) quit() <-chan struct{} { return nil }
func (*textSink) end() error            { return nil }

func (t *textSink) update(interval, _ tracer.Snapshot) error {
	if err := text.Write(t.out, interval, t.options); err != nil {
		return err
	}
	_, err := io.WriteString(t.out, "\n")
	return err
}

func (t *textSink) final(_, whole tracer.Snapshot) error {
	if err := text.Write(t.out, whole, t.options); err != nil || t.after == nil {
		return err
	}
	return t.after(t.out, whole, t.options.Raw)
}
