// SPDX-License-Identifier: Apache-2.0

// Package report makes a page for people out of a result: one HTML file that
// needs nothing else, or Markdown.
//
//	result.Document ─read─> sections (a load each) ─┬─> plots and tables ─page.gohtml─> HTML
//	                                                └─> tables ──────────────────────> Markdown
//
// Plots are SVG whose positions are percents: a plot is as wide as its place,
// and its text as large as the text around it, on a telephone as on a wall.
package report

import (
	"bytes"
	"fmt"
	"io"

	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// Options say how to read a result.
type Options struct {
	// Decode reads the traces inside of a result; each is a document of vethtrace -o json.
	Decode func([]byte) (tracer.Snapshot, error)
}

// HTML writes the result as one file without references to any other. It loads
// nothing: its policy forbids that, and its script is the only one that may run.
func HTML(w io.Writer, d result.Document, o Options) error {
	r, err := read(d, o)
	if err != nil {
		return err
	}
	t, err := parse()
	if err != nil {
		return err
	}
	var b bytes.Buffer // nothing is written of a page that fails half way
	page := newPage(r)
	if err := page.pack(t); err != nil {
		return err
	}
	if err := t.Execute(&b, page); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return flush(w, &b)
}

// Markdown writes the result's tables, without plots.
func Markdown(w io.Writer, d result.Document, o Options) error {
	r, err := read(d, o)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	writeMarkdown(&b, r)
	return flush(w, &b)
}

func flush(w io.Writer, b *bytes.Buffer) error {
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
