// Package tui is the live view of a terminal: a table that is drawn anew with
// every update, and a few keys.
//
//	Update (snapshots) and keys -> model -> lines of package page -> terminal
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"

	tea "charm.land/bubbletea/v2"

	"github.com/vethtrace/vethtrace/tracer"
)

// Update is what the live view shows until the next one.
type Update struct {
	Interval   tracer.Snapshot // since the last update: Cumulative.Since of the one before
	Cumulative tracer.Snapshot // since the start
}

// Config says where the live view runs. Updates is required.
type Config struct {
	In      io.Reader     // keys; nil is standard input
	Out     io.Writer     // the terminal; nil is standard output
	Updates <-chan Update // closed to end the view
	Color   bool          // NO_COLOR is for the caller to respect
	Raw     bool          // begin with raw figures
}

// maxFPS bounds how often the terminal is drawn.
const maxFPS = 10

// Run shows the live view until the reader quits, Updates is closed, or ctx
// ends; each of these is no error. It needs a terminal: ask first. The caller
// goes on to send into Updates only while Run runs; a select with the end of
// Run is his. Signals are the caller's too: ctrl-c is a key here.
func Run(ctx context.Context, c Config) error {
	if c.Updates == nil {
		return errors.New("show live view: no updates given")
	}
	options := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithFPS(maxFPS), tea.WithoutSignalHandler(),
	}
	if c.In != nil {
		options = append(options, tea.WithInput(c.In))
	}
	if c.Out != nil {
		options = append(options, tea.WithOutput(c.Out))
	}
	_, err := tea.NewProgram(model{updates: c.Updates, color: c.Color, raw: c.Raw}, options...).Run()
	switch {
	case err == nil, ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled), errors.Is(err, tea.ErrInterrupted):
		return nil
	}
	return fmt.Errorf("show live view: %w", err)
}
