// SPDX-License-Identifier: Apache-2.0

// Package doctor writes a doctor.Document: as a table for people, and as JSON.
//
//	doctor.Document ─┬─ lines, wrapped ─> Text
//	                 └──────────────────> JSON
package doctor

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/vethtrace/vethtrace/internal/doctor"
)

// JSON writes the document, indented. Its contract is docs/doctor-schema.json.
func JSON(w io.Writer, d doctor.Document) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
