// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// streams are where the command reads and writes: data on out, messages on err.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer

	quits *quits // nil in tests
}

// terminal returns the file behind a stream when it is a terminal.
func terminal(stream any) (*os.File, bool) {
	file, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil, false
	}
	return file, true
}

// width of the terminal behind a stream; 0, without limit, where it is none.
func width(stream any) int {
	file, ok := terminal(stream)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 80
	}
	return columns
}

// colored tells whether a stream is to get colors: see no-color.org.
func colored(stream any, never bool) bool {
	_, tty := terminal(stream)
	return tty && !never && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// logger writes messages for people on a terminal, for machines elsewhere.
func logger(w io.Writer, stream any, level slog.Level, noColor bool) *slog.Logger {
	if _, tty := terminal(stream); tty {
		return slog.New(tint.NewTextHandler(w, &tint.Options{
			Level: level, TimeFormat: "15:04:05", NoColor: !colored(stream, noColor),
		}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// gateLimit bounds what a closed gate keeps; what is beyond it is lost.
const gateLimit = 64 << 10

// gate is a writer that keeps what is written while it is closed, for the time
// that the live view owns the terminal.
type gate struct {
	to io.Writer

	mu     sync.Mutex
	closed bool
	kept   bytes.Buffer
}

// Write writes through, or keeps.
func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		return g.to.Write(p)
	}
	if g.kept.Len()+len(p) <= gateLimit {
		g.kept.Write(p)
	}
	return len(p), nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// open writes what was kept; an error of it has nowhere to go.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
	_, _ = g.kept.WriteTo(g.to)
}
