// Package text writes a snapshot as plain text: at the end of a run, and
// wherever there is no terminal.
package text

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer"
)

// Options say how to write. The zero value is plain, as wide as it needs to be,
// and corrected for what measuring costs.
type Options struct {
	Color bool // with terminal escapes; NO_COLOR is for the caller to respect
	Width int  // columns of the terminal, 0 without limit; below 40 it is 40
	Raw   bool // as measured: nothing subtracted, null hops shown
}

func (o Options) page() page.Options {
	return page.Options{Color: o.Color, Width: o.Width, Raw: o.Raw}
}

// Write writes the whole snapshot: notes, every target with its tables and its
// sentence, recorded journeys, and what measuring cost. Lines end with "\n" and
// are never wider than Options.Width.
func Write(w io.Writer, s tracer.Snapshot, o Options) error {
	po := o.page()
	po.Final = s.Final
	lines := page.Title(s, po)
	lines = append(lines, page.Notes(s, po)...)
	if len(s.Targets) == 0 {
		lines = append(lines, "", "no targets")
	}
	for _, t := range s.Targets {
		lines = append(append(lines, "", page.Rule(po)), page.Target(t, s.Duration, po)...)
		lines = append(lines, page.Words(t, po)...)
	}
	lines = append(lines, page.Recorded(s)...)
	for _, j := range s.Journeys {
		lines = append(append(lines, ""), page.Journey(j, po)...)
	}
	lines = append(append(lines, ""), page.Cost(s, po)...)
	return write(w, lines)
}

// WriteJourney writes one journey as a timeline: a line per stamp, with what
// its hop took and the time since the start.
func WriteJourney(w io.Writer, j tracer.Journey, o Options) error {
	return write(w, page.Journey(j, o.page()))
}

// Sentence says the target's figures in words, on one line without an end.
func Sentence(t tracer.Target, o Options) string {
	return page.Sentence(t, o.page())
}

// Escape makes text from outside safe to show; see page.Escape.
func Escape(s string) string { return page.Escape(s) }

// Duration writes ns nanoseconds for people, as the tables do: "1.80 ms".
func Duration(ns float64) string { return page.Duration(ns) }

func write(w io.Writer, lines []string) error {
	b := bufio.NewWriter(w)
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l, " "))
		b.WriteByte('\n')
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write text: %w", err)
	}
	return nil
}
