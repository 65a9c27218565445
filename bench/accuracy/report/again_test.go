// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/bench/report"
)

// found are the rows of the example's second block, with cells of these places not right.
func found(wrong ...int) []Row {
	row := example().Rows[1]
	row.Cells = slices.Clone(row.Cells)
	for i := range row.Cells {
		row.Cells[i].Wrong = 0
	}
	for _, i := range wrong {
		row.Cells[i].Wrong = 1
	}
	return []Row{row}
}

func later() Go {
	return Go{Version: "v2", Date: "2026-01-03", Machine: example().Header.Machine}
}

// The first take of a block stores it, each one more replaces it.
func TestTake(t *testing.T) {
	r := example()
	whole := slices.Clone(r.Rows)
	r.Rows = r.Rows[:1]
	r.Take(whole[1:], later())
	if len(r.Rows) != 2 || r.Rows[1].Goes != 0 || r.Header != example().Header || r.Goes(r.Rows[1].Block) != 1 {
		t.Fatalf("the first go: %+v, %+v", r.Header, r.Rows)
	}
	for goes, c := range []struct {
		wrong  []int
		worse  int
		first  int
		blocks int
	}{
		{[]int{0, 2}, 1, 1, 1}, // what was not right before is so again, and another with it
		{[]int{1}, 2, 1, 1},    // both are right, one that was is not
		{nil, 2, 1, 1},
	} {
		r.Take(found(c.wrong...), later())
		row := r.Rows[1]
		if wrong, cells := r.Wrong(); len(r.Rows) != 2 || cells != 10 || wrong != len(c.wrong) || r.RightBlock(row.Block) != (wrong == 0) {
			t.Errorf("go %d: %d of %d cells not right in %d rows", goes+2, wrong, cells, len(r.Rows))
		}
		if h := r.Header; row.Goes != goes+2 || row.Worse != c.worse || h.FirstWrong != c.first || h.FirstWrongBlocks != c.blocks {
			t.Errorf("go %d: goes %d, worse %d, header %+v", goes+2, row.Goes, row.Worse, h)
		}
	}
	if r.Rows[0].Goes != 0 || r.Goes(r.Rows[0].Block) != 1 {
		t.Errorf("the other block: %+v", r.Rows[0])
	}
	before := len(r.Rows)
	if r.Take(nil, later()); len(r.Rows) != before {
		t.Error("no rows were taken for some")
	}
}

// Both versions, dates and machines are told, each once; the first one's stay.
func TestGoes(t *testing.T) {
	r := example()
	other := later()
	other.Machine.Kernel = "6.19"
	for _, now := range []Go{{Version: "v1", Date: "2026-01-02", Machine: r.Header.Machine}, later(), later(), other} {
		r.Take(found(0), now)
	}
	h := r.Header
	if h.Version != "v1" || h.Date != "2026-01-02" || h.AgainVersion != "v1, v2" || h.AgainDate != "2026-01-02, 2026-01-03" {
		t.Errorf("the header: %+v", h)
	}
	if h.AgainMachine == nil || h.AgainMachine.Kernel != "6.19" || h.Machine.Kernel != "6.18" {
		t.Errorf("the machines: %+v, %+v", h.Machine, h.AgainMachine)
	}
	if page := r.Markdown(); !strings.Contains(page, "vethtrace v1, v2, 2026-01-02, 2026-01-03, **on another machine**: kernel 6.19, CPU, 2 cores of a virtual machine.") {
		t.Errorf("the page:\n%s", page)
	}
}

// The page tells what the first go had found, in its head.
func TestMarkdownAgain(t *testing.T) {
	if page := example().Markdown(); strings.Contains(page, "first go") {
		t.Errorf("nothing was measured again:\n%s", page)
	}
	r := example()
	r.Take(found(0, 2), later())
	r.Take(found(2), later())
	page := r.Markdown()
	head, _, _ := strings.Cut(page, "## Injection matrix")
	for _, want := range []string{
		"vethtrace v1, 2026-01-02. Machine: kernel 6.18, CPU, 2 cores of a virtual machine.",
		"**9 of 10 cells are right**, 1 are not",
		"**In the first go 9 of 10 cells were right**; the other 1 were in 1 blocks. 1 blocks were measured again, each as a whole,\nin a later go",
		"other tenants of the machine come and go, and what a tracer does wrong it does each time",
		"The most goes a block took: 3.",
		"found not right though an earlier one had found them right: 1.",
		"Cells still not right: 1, in 1 blocks, bold in the tables. Measured again by vethtrace v2, 2026-01-03.\n",
	} {
		if !strings.Contains(head, want) {
			t.Errorf("the head lacks %q:\n%s", want, head)
		}
	}
	if want := "| hooks/bridge/forward/ipv6/udp | egress | 20us | netfilter/forward 30000 (0 +-3) | veth -8 (0 +-0) | 3 times in go 3 |"; !strings.Contains(page, want) {
		t.Errorf("the page lacks %q:\n%s", want, page)
	}
	r.Take(found(), later())
	if page := r.Markdown(); !strings.Contains(page, "**In the first go 9 of 10") || !strings.Contains(page, "Cells still not right: 0") || !strings.Contains(page, "**10 of 10 cells are right**") {
		t.Errorf("all are right in the end:\n%s", page)
	}
}

// A header of before tells nothing of goes, and one of now is read as it was written.
func TestAgainIsStored(t *testing.T) {
	r := example()
	var old, now strings.Builder
	if err := r.Write(&old); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"goes", "worse", "first_", "again_"} {
		if strings.Contains(old.String(), word) {
			t.Errorf("a first go is stored with %q:\n%s", word, old.String())
		}
	}
	later := later()
	later.Machine = report.Machine{Kernel: "6.19"}
	r.Take(found(1, 2), later)
	if err := r.Write(&now); err != nil {
		t.Fatal(err)
	}
	read, err := Read(strings.NewReader(now.String()))
	if err != nil || read.Markdown() != r.Markdown() || read.Rows[1].Worse != 1 || read.Header.FirstWrong != 1 {
		t.Errorf("stored\n%s\nread %+v, %v", now.String(), read.Header, err)
	}
}

// Flatness that is measured once more is told to be.
func TestTakeFlat(t *testing.T) {
	var r Result
	bad := example().Flat
	bad[0].Ns = []float64{400, 500}
	r.TakeFlat(bad)
	if page := r.Markdown(); r.Flat[0].Goes != 0 || r.WrongFlat() != 1 || strings.Contains(page, "goes apart") {
		t.Errorf("the first go: %+v\n%s", r.Flat, page)
	}
	for goes := 2; goes <= 3; goes++ {
		r.TakeFlat(example().Flat)
		if r.WrongFlat() != 0 || len(r.Flat) != 1 || r.Flat[0].Goes != goes || r.Header.FirstWrongFlat != 1 {
			t.Errorf("go %d: %+v, %+v", goes, r.Flat, r.Header)
		}
	}
	if want, page := "Measured in 3 goes apart, of which the last counts; in the first one 1 of these hops varied", r.Markdown(); !strings.Contains(page, want) {
		t.Errorf("the page lacks %q:\n%s", want, page)
	}
	if example().Flat[0].Goes != 0 {
		t.Error("what was found is changed")
	}
}
