// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer/wiring/change"
)

// ChangeLine writes a change as a line: when, what (+ - ~), where, which.
func ChangeLine(w io.Writer, c change.Change, o Options) error {
	sign, style := "~", bold
	switch c.Does {
	case change.Added:
		sign, style = "+", bold
	case change.Removed:
		sign, style = "-", red
	case change.Begins:
		sign = "="
	}
	place := ""
	if c.Place != "host" {
		place = page.Escape(c.Place) + ": "
	}
	t := printer{color: o.Color}
	what := c.Kind
	if c.Kind == "watch" {
		what = ""
	}
	name := t.styled(style, page.Escape(c.Name))
	if _, err := fmt.Fprintf(w, "%s %s %s%s\n", t.styled(dim, stamp(c.Time)), t.styled(style, sign), place, facts(joinWords(what, name), page.Escape(c.Text))); err != nil {
		return fmt.Errorf("write change: %w", err)
	}
	return nil
}

func joinWords(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// stamp is the time as the reader's clock shows it.
func stamp(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return page.Escape(s)
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}

// ChangeJSON writes a change as a line of JSON. Its contract is
// docs/topology-change-schema.json.
func ChangeJSON(w io.Writer, c change.Change) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(c); err != nil {
		return fmt.Errorf("write change: %w", err)
	}
	return nil
}
