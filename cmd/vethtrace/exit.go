// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/function"
)

// The exit statuses, documented in docs/cli.md. A command behind -- gives its
// own instead of exitDone.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitKernel   = 3 // the kernel or the rights do not allow it
	exitNoTarget = 4
	exitLimit    = 5 // the targets do not fit into a limit
)

// usageError says that the command line cannot be understood.
type usageError struct{ text string }

// Error says what to write instead.
func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// statusError carries the exit status of the command behind --. An empty text
// is no message: the command has said what it had to say.
type statusError struct {
	status int
	text   string
}

// Error says why the command did not run, or how it ended.
func (e *statusError) Error() string { return e.text }

// report writes an error as one line and returns the exit status for it. It is
// the only place where errors become statuses.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if line := oneLine(err); line != "" {
		fmt.Fprintf(stderr, "vethtrace: %s\n", line)
	}
	return statusOf(err)
}

func statusOf(err error) int {
	var (
		status      *statusError
		usage       *usageError
		filter      *tracer.FilterError
		unknown     *function.UnknownError
		noProbe     *function.NoProbeError
		unsupported *tracer.UnsupportedError
		notFound    *container.NotFoundError
		notRunning  *container.NotRunningError
		ambiguous   *container.AmbiguousError
		hidden      *container.HiddenError
		limit       *tracer.LimitError
	)
	switch {
	case errors.As(err, &status):
		return status.status
	case errors.As(err, &usage), errors.As(err, &filter), errors.As(err, &unknown), errors.As(err, &noProbe):
		return exitUsage
	case errors.As(err, &notFound), errors.As(err, &notRunning), errors.As(err, &ambiguous),
		errors.Is(err, netns.ErrNotNamespace):
		return exitNoTarget
	case errors.As(err, &limit):
		return exitLimit
	case errors.As(err, &unsupported), errors.As(err, &hidden), errors.Is(err, fs.ErrPermission):
		return exitKernel
	}
	return exitFailed
}

// oneLine is the error's text without line ends, safe for a terminal.
func oneLine(err error) string {
	var parts []string
	for part := range strings.Lines(err.Error()) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, escapeError(part))
		}
	}
	return strings.Join(parts, "; ")
}

// escapeError leaves backslashes alone: errors quote names, which escapes them.
func escapeError(s string) string {
	pieces := strings.Split(s, `\`)
	for i := range pieces {
		pieces[i] = text.Escape(pieces[i])
	}
	return strings.Join(pieces, `\`)
}
