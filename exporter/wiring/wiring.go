// SPDX-License-Identifier: Apache-2.0

// Package wiring draws a wiring.Document: as a tree of box-drawing characters,
// as JSON, and as a graph in the languages of dot, mermaid and SVG.
//
//	wiring.Document ─┬─ tree ──> Text
//	                 ├─ graph ─> Dot, Mermaid, SVG
//	                 └─────────> JSON
package wiring

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// JSON writes the document, indented. Its contract is docs/topology-schema.json.
func JSON(w io.Writer, d wiring.Document) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("write topology: %w", err)
	}
	return nil
}
