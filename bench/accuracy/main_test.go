// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/accuracy/report"
	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/internal/lab"
)

func TestMain(m *testing.M) {
	load.MaybeChild()
	lab.MaybeChild()
	os.Exit(m.Run())
}

// A test's machine need not be quiet: hops may vary by so many times the goal
// (15 ns or 3%) and, besides, of what they vary by with the same stamps beside
// them. `make accuracy` judges by the goal alone.
const (
	flatMargin = 2
	flatNoise  = 3
)

// The part of the injection matrix that covers each place, each delay and each
// pair of the other factors, and flatness. `make accuracy` measures all of it,
// and fails where the machine is too noisy to tell; here that is told, and what
// fails is what each of three tries refutes beyond its own noise.
func TestCoveringSet(t *testing.T) {
	w, err := newWorld(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Errorf("close the world: %v", err)
		}
	})
	w.fewest = rounds // machines of tests are seldom quiet
	cells := matrix.Cover(1)
	for _, detail := range []string{"devices", "hooks", "tables"} {
		var some []matrix.Cell
		for _, cell := range cells {
			if cell.Detail == detail {
				some = append(some, cell)
			}
		}
		measured := 0
		err := w.cells(t.Context(), detail, some, 1, func(o outcome, failed error) (bool, error) {
			if failed != nil {
				return false, failed
			}
			measured += len(o.cells) / len(matrix.Directions())
			for _, what := range o.wrong() {
				t.Log(what)
			}
			for _, what := range o.refuted() {
				t.Error(what)
			}
			return true, nil
		})
		if err != nil || measured != len(some) {
			t.Fatalf("%s: %d of %d cells measured: %v", detail, measured, len(some), err)
		}
	}
	flat, err := w.flatness(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flat {
		t.Logf("%s %s: %v, raw %v, spread %.1f", f.Type, f.Hop, f.Ns, f.Raw, f.Spread)
		if most := flatMargin*f.Allowed() + flatNoise*f.Spread; f.Varies() > most {
			t.Errorf("%s with more %s null stamps varies by %.1f ns, may by %.1f: %v", f.Hop, f.Type, f.Varies(), most, f.Ns)
		}
	}
}

// judged makes an outcome of one window per arm.
func judged(t *testing.T, hit float64) outcome {
	t.Helper()
	return outcome{
		block: matrix.Blocks()[7], tries: 2, cells: []cellOutcome{{
			direction: "ingress", delay: time.Microsecond, hit: 1, hops: []matrix.Hop{
				matrix.Judge("first", time.Microsecond, 0, matrix.Rounds{Off: []float64{100}, Same: []float64{102}, On: []float64{141}}),
				matrix.Judge("second", time.Microsecond, 1000, matrix.Rounds{Off: []float64{200}, Same: []float64{200}, On: []float64{200 + hit}}),
			},
		}},
	}
}

func TestOutcome(t *testing.T) {
	right, wrong := judged(t, 1000), judged(t, 900)
	if words := right.wrong(); len(words) != 0 {
		t.Errorf("right, but: %v", words)
	}
	words := wrong.wrong()
	if len(words) != 1 || !strings.Contains(words[0], "second: moved by 900 ns, want 1000 +-60") {
		t.Errorf("wrong: %v", words)
	}
	for _, c := range []struct {
		name   string
		before map[string]bool
		hop    outcome
		want   int
	}{
		{"the first try refutes it", nil, wrong, 1},
		{"the try before did too", map[string]bool{wrong.cells[0].hopKey(1): true}, wrong, 1},
		{"the try before refuted another", map[string]bool{wrong.cells[0].hopKey(0): true}, wrong, 0},
		{"right", nil, right, 0},
	} {
		c.hop.refute(c.before)
		if words := c.hop.refuted(); len(words) != c.want {
			t.Errorf("%s: %v, want %d", c.name, words, c.want)
		}
	}
	rows := wrong.rows()
	want := report.Cell{Delay: 1000, Hit: report.Moved{By: 900}, Other: report.Moved{By: 40, Same: 2}, Wrong: 1, Name: "first"}
	if len(rows) != 2 || rows[0].Hop != "second" || rows[0].Tries != 2 || len(rows[0].Cells) != 1 || rows[0].Cells[0] != want {
		t.Errorf("stored as %+v", rows)
	}
}

// What is not right is measured again, and nothing else; what comes of it counts.
func TestAgain(t *testing.T) {
	o := judged(t, 900)
	right := judged(t, 1000).cells[0]
	right.delay = 5 * time.Microsecond
	o.cells = append(o.cells, right)
	if delays := o.again(); len(delays) != 1 || delays[0] != time.Microsecond {
		t.Fatalf("again: %v", delays)
	}
	once := judged(t, 1000)
	once.rounds = 3
	o.take(once)
	if len(o.cells) != 2 || len(o.again()) != 0 || o.rounds != 3 || o.cells[0].hops[1].Moved != 1000 {
		t.Errorf("taken: %+v, again %v", o, o.again())
	}
}

func TestParse(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil || o.file == "" || o.goOn || o.limit != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-limit", "-1s"}, {"stray"}, {"-nonsense"}, {"-flat"}, {"-continue", "-again"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

// A piece that is cut short is stored, and gone on with.
func TestPieces(t *testing.T) {
	o := options{file: filepath.Join(t.TempDir(), "results", "latest.jsonl"), goOn: true, limit: time.Nanosecond}
	now := report.Go{Version: "v1", Date: "2026-01-02"}
	result, err := begin(o, now)
	if err != nil || result.Missing() != len(matrix.Blocks()) {
		t.Fatalf("nothing is stored yet: %+v, %v", result, err)
	}
	m := &measurement{result: result, now: now, options: o, progress: io.Discard, start: time.Now()}
	if more, err := m.keep(outcome{}, errors.New("no packet was followed")); err != nil || more || len(m.result.Rows) != 0 {
		t.Fatalf("what was not measured is kept: %v, %v", more, err)
	}
	more, err := m.keep(judged(t, 1000), nil)
	if err != nil || more {
		t.Fatalf("the piece is over: %v, %v", more, err)
	}
	now.Version = "v2"
	again, err := begin(o, now)
	if err != nil || again.Missing() != len(matrix.Blocks())-1 || again.Header.Version != "v1" || !again.Has(matrix.Blocks()[7]) {
		t.Fatalf("gone on with %+v, %v", again.Header, err)
	}
	m.result = again
	cells := 0
	for _, part := range m.parts() {
		for _, cell := range part {
			if cell.Detail != part[0].Detail || cell.Block == matrix.Blocks()[7] {
				t.Errorf("%v is in a part of %v", cell, part[0])
			}
			cells++
		}
	}
	if want := again.Missing() * len(matrix.Delays()); cells != want {
		t.Errorf("%d cells are left, want %d", cells, want)
	}
	o.goOn = false
	if anew, err := begin(o, now); err != nil || len(anew.Rows) != 0 || anew.Header.Version != "v2" {
		t.Errorf("anew: %+v, %v", anew, err)
	}
}
