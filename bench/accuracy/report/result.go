// SPDX-License-Identifier: Apache-2.0

// Package report is what a run of the accuracy matrix found, how it is stored
// and how it is shown. It is pure: the same result gives the same bytes.
package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	benchreport "github.com/vethtrace/vethtrace/bench/report"
)

// Result is a run, or what there is of it so far.
type Result struct {
	Header Header
	Rows   []Row
	Flat   []Flat
}

// Header says how and where a run was made.
type Header struct {
	Version  string              `json:"version"` // of vethtrace
	Date     string              `json:"date"`    // 2006-01-02
	Machine  benchreport.Machine `json:"machine"`
	WindowMs int                 `json:"window_ms"`
	Fewest   int                 `json:"fewest,omitempty"` // rounds, where they settle it
	Rounds   int                 `json:"rounds"`           // at most
	Seed     uint64              `json:"seed"`

	// What the first go had found, once a later one has measured blocks again; and of those goes, each once.
	FirstWrong       int                  `json:"first_wrong,omitempty"` // cells
	FirstWrongBlocks int                  `json:"first_wrong_blocks,omitempty"`
	FirstWrongFlat   int                  `json:"first_wrong_flat,omitempty"` // hops that varied by more than they may
	AgainVersion     string               `json:"again_version,omitempty"`
	AgainDate        string               `json:"again_date,omitempty"`
	AgainMachine     *benchreport.Machine `json:"again_machine,omitempty"` // the last that was another one
}

// Row is a block in one direction.
type Row struct {
	matrix.Block
	Direction string `json:"direction"`
	Hop       string `json:"hop"`              // that packets waited in; "": none of this direction
	Tries     int    `json:"tries"`            // how often the block was measured, in the end only delays that were not right
	Rounds    int    `json:"rounds,omitempty"` // the most that a try took
	Goes      int    `json:"goes,omitempty"`   // how often the whole block was measured in goes apart, see Go; absent: once
	Worse     int    `json:"worse,omitempty"`  // cells that a later go found not right, and the one before it right
	Cells     []Cell `json:"cells"`
}

// Cell is one delay of a row. All times in ns, rounded.
type Cell struct {
	Delay int64  `json:"delay"`
	Hit   Moved  `json:"hit"`   // the hop that packets waited in
	Other Moved  `json:"other"` // of the others the one farthest from where it may be
	Wrong int    `json:"wrong"` // hops that are not where they may be, or whose A/A arm does not hold
	Name  string `json:"name"`  // of the other hop
}

// Moved is by how much a hop moved.
type Moved struct {
	By   int64 `json:"by"`
	Same int64 `json:"same"` // in the A/A arm
	Half int64 `json:"half"` // half-width of that one's interval
}

// Flat is one hop with more and more null stamps beside it.
type Flat struct {
	Type   string    `json:"type"`           // of the stamps
	Hop    string    `json:"hop"`            // direction and name
	Extra  []int     `json:"extra"`          // null stamps beside those of every run
	Ns     []float64 `json:"ns"`             // corrected median, by Extra
	Raw    []float64 `json:"raw"`            // the same as measured
	Spread float64   `json:"spread"`         // half of the distance between the quartiles of the rounds
	Goes   int       `json:"goes,omitempty"` // how often flatness was measured in goes apart; absent: once
}

// line is one line of the stored file: one of these is set.
type line struct {
	Header *Header `json:"run,omitempty"`
	Row    *Row    `json:"row,omitempty"`
	Flat   *Flat   `json:"flat,omitempty"`
}

// Has tells whether a block has been measured.
func (r Result) Has(b matrix.Block) bool {
	return slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Block == b })
}

// Wrong counts the cells in which some hop is not where it may be.
func (r Result) Wrong() (wrong, cells int) {
	for _, row := range r.Rows {
		wrong += row.wrong()
		cells += len(row.Cells)
	}
	return wrong, cells
}

// Missing counts the blocks of the matrix that have not been measured.
func (r Result) Missing() int {
	missing := 0
	for _, b := range matrix.Blocks() {
		if !r.Has(b) {
			missing++
		}
	}
	return missing
}

// Write stores the result, a line for each row, in the order of the matrix.
func (r Result) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	lines := []line{{Header: &r.Header}}
	for _, b := range matrix.Blocks() {
		for i := range r.Rows {
			if r.Rows[i].Block == b {
				lines = append(lines, line{Row: &r.Rows[i]})
			}
		}
	}
	for i := range r.Flat {
		lines = append(lines, line{Flat: &r.Flat[i]})
	}
	for _, l := range lines {
		if err := out.Encode(l); err != nil {
			return fmt.Errorf("store the result: %w", err)
		}
	}
	return nil
}

// Read reads a stored result.
func Read(from io.Reader) (Result, error) {
	var r Result
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return r, fmt.Errorf("read a stored result: line %d: %w", n, err)
		}
		switch {
		case l.Header != nil:
			r.Header = *l.Header
		case l.Row != nil:
			r.Rows = append(r.Rows, *l.Row)
		case l.Flat != nil:
			r.Flat = append(r.Flat, *l.Flat)
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("read a stored result: %w", err)
	}
	return r, nil
}
