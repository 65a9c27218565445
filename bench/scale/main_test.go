// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/internal/lab"
)

func TestMain(m *testing.M) {
	load.MaybeChild()
	lab.MaybeChild()
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-counts", "1,20,1023", "-watch", "1s"}, io.Discard)
	if err != nil || len(o.scheme.Counts) != 3 || o.scheme.Counts[2] != 1023 || o.scheme.Watch != time.Second {
		t.Errorf("%+v, %v", o, err)
	}
	for _, counts := range []string{"0", "1024", "1,x", ""} {
		if _, err := parse([]string{"-counts", counts}, io.Discard); err == nil {
			t.Errorf("-counts %q is taken", counts)
		}
	}
}

func good() *result {
	return &result{Rows: []row{
		{Targets: 1, AttachMs: 400, DetachMs: 100},
		{
			Targets: 1000, AttachMs: 3000, DetachMs: 700, KillMs: 900, LockAttachMs: 15, LockDetachMs: 3, MapMiB: 115,
			RestCPU: 0.01, LoadCPU: 0.05,
		},
	}, Cost: &cost{Targets: 1000, Ratio: 1.01, Interval: stats.Interval{Lo: 1, Hi: 1.015}}}
}

// Each goal is missed by a figure of its own, and by that alone.
func TestGoals(t *testing.T) {
	for _, g := range good().goals() {
		if !g.met {
			t.Errorf("%s: %s is not enough", g.text, g.got)
		}
	}
	spoil := []func(*result, *row){
		func(_ *result, r *row) { r.AttachMs = 20_001 },
		func(r *result, _ *row) { r.Rows[0].LockAttachMs = 20.1 },
		func(_ *result, r *row) { r.LockDetachMs = 20.1 },
		func(_ *result, r *row) { r.DetachMs = 5001 },
		func(_ *result, r *row) { r.KillMs = 5001 },
		func(_ *result, r *row) { r.MapMiB = 128.1 },
		func(_ *result, r *row) { r.RestCPU = 0.02 },
		func(_ *result, r *row) { r.LoadCPU = 0.10 },
		func(r *result, _ *row) { r.Cost.Interval.Hi = 1.021 },
	}
	if goals := good().goals(); len(goals) != len(spoil) {
		t.Fatalf("%d goals, %d tried", len(goals), len(spoil))
	}
	for i, bad := range spoil {
		r := good()
		bad(r, &r.Rows[1])
		for j, g := range r.goals() {
			if g.met == (i == j) {
				t.Errorf("case %d: %s: %s, met %v", i, g.text, g.got, g.met)
			}
		}
		if !strings.Contains(r.markdown(), "**not met**") {
			t.Errorf("case %d: the page is silent about it", i)
		}
	}
}

// The page is that of the stored result.
func TestCommittedDocs(t *testing.T) {
	page := filepath.Join(t.TempDir(), "scale.md")
	if err := writeDocs("../results/scale.json", page); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(made) != string(committed) {
		t.Error("docs/scale.md is not what bench/results/scale.json gives: make docs")
	}
	if err := writeDocs("none.json", page); err == nil {
		t.Error("a page from nothing")
	}
}

func TestFieldsOf(t *testing.T) {
	fields := fieldsOf("pos:\t0\nlink_id:\t17\nmemlock:\t 4096\nRssAnon:\t    1234 kB\nname:\tx\n")
	if fields["link_id"] != 17 || fields["memlock"] != 4096 || fields["RssAnon"] != 1234 || fields["name"] != 0 {
		t.Errorf("%v", fields)
	}
}

// A small run, all of it: what it stores is plausible.
func TestMeasure(t *testing.T) {
	program := filepath.Join(t.TempDir(), "vethtrace")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/vethtrace").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := bench{program: program, progress: io.Discard, scheme: scheme{Counts: []int{2, 70}, Watch: 500 * time.Millisecond, Cycles: 1, Windows: 2}}
	r, err := b.measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	few, many := r.Rows[0], r.Rows[1]
	if few.Targets != 2 || many.Targets != 70 || few.AttachMs <= 0 || few.DetachMs <= 0 || many.KillMs <= 0 {
		t.Errorf("%+v", r.Rows)
	}
	// four links each; few have tcx and null hops besides
	if many.Links < 4*70 || many.Links > 4*70+60 || few.Links < 2*(4+2+4) || many.Files < many.Links {
		t.Errorf("links: %d and %d, files: %d and %d", few.Links, many.Links, few.Files, many.Files)
	}
	if few.MapMiB < 5 || many.MapMiB <= few.MapMiB || few.ProcessMiB < 5 || many.LoadRate < floodRate/4 || many.LoadCPU < 0 { // CPU time comes in ticks
		t.Errorf("memory and load: %+v", r.Rows)
	}
	// two windows say nothing about speed on a machine that others use
	c := r.Cost
	if c == nil || c.Targets != 70 || !(c.UntracedNs > 0) || !(c.OneNs > 0) || !(c.AllNs > 0) || !(c.Ratio > 0) || !c.Interval.Contains(c.Ratio) || !(c.Same > 0) {
		t.Errorf("cost: %+v", r.Cost)
	}
}
