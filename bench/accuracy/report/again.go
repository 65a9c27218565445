// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	benchreport "github.com/vethtrace/vethtrace/bench/report"
)

// Go is one of the goes, apart in time, that a result is made in: of what
// version, when and where. The first one measures all blocks, later ones those
// with cells that are not right.
type Go struct {
	Version string
	Date    string
	Machine benchreport.Machine
}

// Goes is how often a block was measured in goes apart; 0: never.
func (r Result) Goes(b matrix.Block) int {
	for _, row := range r.Rows {
		if row.Block == b {
			return max(1, row.Goes)
		}
	}
	return 0
}

// RightBlock tells whether a block has been measured and all its cells are right.
func (r Result) RightBlock(b matrix.Block) bool {
	return r.Has(b) && !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Block == b && row.wrong() > 0 })
}

// Take stores the rows of a block: in the place of those of an earlier go, if
// there are any. What the first go had found, and which cells had been right
// before, stays told.
func (r *Result) Take(rows []Row, now Go) {
	if len(rows) == 0 {
		return
	}
	b := rows[0].Block
	goes := r.Goes(b)
	if goes == 0 {
		r.Rows = append(r.Rows, rows...)
		return
	}
	r.noteGo(now)
	before := r.Rows
	r.Rows = slices.DeleteFunc(slices.Clone(before), func(row Row) bool { return row.Block == b })
	for _, row := range rows {
		row.Goes = goes + 1
		for _, old := range before {
			if old.Block == b && old.Direction == row.Direction {
				row.Worse = old.Worse + row.worseThan(old)
			}
		}
		r.Rows = append(r.Rows, row)
	}
}

// noteGo writes into the header what is known only before a later go replaces it, and what that go was.
func (r *Result) noteGo(now Go) {
	h := &r.Header
	if !r.again() {
		h.FirstWrong, _ = r.Wrong()
		h.FirstWrongBlocks = r.wrongBlocks()
	}
	h.AgainVersion = also(h.AgainVersion, now.Version)
	h.AgainDate = also(h.AgainDate, now.Date)
	if now.Machine != h.Machine {
		h.AgainMachine = &now.Machine
	}
}

// also adds a word to those that are there, once.
func also(words, one string) string {
	all := strings.Split(words, ", ")
	switch {
	case words == "":
		return one
	case slices.Contains(all, one):
		return words
	}
	return words + ", " + one
}

// again tells whether a later go has measured anything.
func (r Result) again() bool {
	return slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Goes > 1 })
}

func (r Result) wrongBlocks() (n int) {
	for _, b := range matrix.Blocks() {
		if r.Has(b) && !r.RightBlock(b) {
			n++
		}
	}
	return n
}

func (row Row) wrong() (n int) {
	for _, cell := range row.Cells {
		if cell.Wrong > 0 {
			n++
		}
	}
	return n
}

// worseThan counts the cells that were right in the row of an earlier go.
func (row Row) worseThan(old Row) (n int) {
	for _, cell := range row.Cells {
		if cell.Wrong > 0 && slices.ContainsFunc(old.Cells, func(c Cell) bool { return c.Delay == cell.Delay && c.Wrong == 0 }) {
			n++
		}
	}
	return n
}

// writeAgain says what the first go had found, and what was measured again.
func (r Result) writeAgain(b *strings.Builder) {
	if !r.again() {
		return
	}
	h := r.Header
	wrong, cells := r.Wrong()
	blocks, most, worse := 0, 0, 0
	for _, block := range matrix.Blocks() {
		if goes := r.Goes(block); goes > 1 {
			blocks, most = blocks+1, max(most, goes)
		}
	}
	for _, row := range r.Rows {
		worse += row.Worse
	}
	fmt.Fprintf(b, "**In the first go %d of %d cells were right**; the other %d were in %d blocks. %d blocks were measured again, each as a whole,\n"+
		"in a later go: other tenants of the machine come and go, and what a tracer does wrong it does each time. What a block's last go\n"+
		"found counts. The most goes a block took: %d. Cells that a later go found not right though an earlier one had found them right: %d.\n"+
		"Cells still not right: %d, in %d blocks, bold in the tables. Measured again by vethtrace %s, %s",
		cells-h.FirstWrong, cells, h.FirstWrong, h.FirstWrongBlocks, blocks, most, worse, wrong, r.wrongBlocks(), h.AgainVersion, h.AgainDate)
	if h.AgainMachine != nil {
		fmt.Fprintf(b, ", **on another machine**: %s", describe(*h.AgainMachine))
	}
	b.WriteString(".\n\n")
}

// describe says what a machine is.
func describe(m benchreport.Machine) string {
	kind := "cores"
	if m.Virtual {
		kind = "cores of a virtual machine"
	}
	return fmt.Sprintf("kernel %s, %s, %d %s", m.Kernel, m.CPU, m.Cores, kind)
}
