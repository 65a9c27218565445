// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/accuracy/report"
)

// firstGo is a whole result in which the given blocks have a cell that is not right.
func firstGo(wrong ...matrix.Block) report.Result {
	result := report.Result{Header: report.Header{Version: "v1", Date: "2026-01-02"}}
	for _, b := range matrix.Blocks() {
		for _, direction := range matrix.Directions() {
			row := report.Row{Block: b, Direction: direction, Tries: 1}
			for _, delay := range matrix.Delays() {
				row.Cells = append(row.Cells, report.Cell{Delay: int64(delay)})
			}
			result.Rows = append(result.Rows, row)
		}
	}
	for i := range result.Rows {
		if row := &result.Rows[i]; row.Direction == "egress" && slices.Contains(wrong, row.Block) {
			row.Cells[2].Wrong = 1
		}
	}
	return result
}

// blocksOf are the blocks that are to be measured, in their order; each must be there with all its delays.
func blocksOf(t *testing.T, m *measurement) (blocks []matrix.Block) {
	t.Helper()
	cells := 0
	for _, part := range m.parts() {
		for _, cell := range part {
			if !slices.Contains(blocks, cell.Block) {
				blocks = append(blocks, cell.Block)
			}
			cells++
		}
	}
	if want := len(blocks) * len(matrix.Delays()); cells != want {
		t.Errorf("%d cells of %d blocks, want %d", cells, len(blocks), want)
	}
	return blocks
}

// -again takes the blocks that have a cell which is not right, whole, and no
// other; what has been measured in fewer goes comes first.
func TestAgainTakesWhatIsNotRight(t *testing.T) {
	all := matrix.Blocks()
	m := &measurement{result: firstGo(all[3], all[200]), options: options{again: true}}
	if got := blocksOf(t, m); len(got) != 2 || !slices.Contains(got, all[3]) || !slices.Contains(got, all[200]) {
		t.Errorf("taken: %v, want %v and %v", got, all[3], all[200])
	}
	first := blocksOf(t, m)[0]
	for i := range m.result.Rows {
		if m.result.Rows[i].Block == first {
			m.result.Rows[i].Goes = 2
		}
	}
	if got := blocksOf(t, m); len(got) != 2 || got[1] != first {
		t.Errorf("taken: %v, want %v last, as it was measured twice", got, first)
	}
	m.result = firstGo()
	if got := blocksOf(t, m); len(got) != 0 {
		t.Errorf("all are right, yet taken: %v", got)
	}
	m.options = options{goOn: true}
	m.result = firstGo(all[3])
	if got := blocksOf(t, m); len(got) != 0 {
		t.Errorf("-continue takes what is missing, not %v", got)
	}
}

// What a later go finds is stored in the place of what was there, and counted.
func TestAgainReplaces(t *testing.T) {
	block := matrix.Blocks()[7] // that of judged
	o := options{file: filepath.Join(t.TempDir(), "latest.jsonl"), again: true}
	before := &measurement{result: firstGo(block), options: o}
	if err := before.store(); err != nil {
		t.Fatal(err)
	}
	now := report.Go{Version: "v2", Date: "2026-01-03"}
	result, err := begin(o, now)
	if err != nil {
		t.Fatal(err)
	}
	m := &measurement{result: result, now: now, options: o, progress: io.Discard, start: time.Now()}
	if more, err := m.keep(outcome{}, errors.New("no packet was followed")); err != nil || !more || m.result.Goes(block) != 1 {
		t.Fatalf("what was not measured counts as a go: %v, %v", more, err)
	}
	if more, err := m.keep(judged(t, 1000), nil); err != nil || !more {
		t.Fatalf("kept: %v, %v", more, err)
	}
	after, err := stored(o.file)
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Rows) != len(before.result.Rows) || after.Goes(block) != 2 || !after.RightBlock(block) || after.Goes(matrix.Blocks()[8]) != 1 {
		t.Errorf("%d rows, were %d; %d goes, right %v", len(after.Rows), len(before.result.Rows), after.Goes(block), after.RightBlock(block))
	}
	if h := after.Header; h.Version != "v1" || h.AgainVersion != "v2" || h.AgainDate != "2026-01-03" || h.FirstWrong != 1 || h.FirstWrongBlocks != 1 {
		t.Errorf("the header: %+v", h)
	}
}

// There is nothing to measure again without a whole first go.
func TestAgainWithoutAFirstGo(t *testing.T) {
	o := options{file: filepath.Join(t.TempDir(), "latest.jsonl"), again: true}
	if _, err := begin(o, report.Go{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is stored: %v", err)
	}
	if err := run(t.Context(), []string{"-again", "-o", o.file}, io.Discard, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the command, with nothing stored: %v", err)
	}
	part := &measurement{result: firstGo(), options: o}
	part.result.Rows = part.result.Rows[2:]
	if err := part.store(); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(o, report.Go{}); !errors.Is(err, errPart) {
		t.Errorf("a part is stored: %v", err)
	}
}
