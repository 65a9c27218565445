// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/internal/lab"
)

func TestMain(m *testing.M) {
	load.MaybeChild()
	lab.MaybeChild()
	os.Exit(m.Run())
}

func TestParse(t *testing.T) {
	full, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if full.scheme.Pairs < 12 || full.scheme.Few < 5 || len(full.arms) != len(arms()) || full.scheme.Quick || full.stem != defaultStem || full.scheme.Seed == 0 {
		t.Errorf("a full run: %+v", full)
	}
	if period := full.scheme.WindowMs * float64(full.scheme.With); period < 1000 {
		t.Errorf("a traced span of %v ms misses null hops, which come once a second", period)
	}
	quick, err := parse([]string{"-quick", "-pairs", "5", "-seed", "9"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !quick.scheme.Quick || quick.scheme.Pairs != 5 || quick.scheme.Seed != 9 || quick.stem != "" || len(quick.arms) >= len(full.arms) {
		t.Errorf("a quick run: %+v", quick)
	}
	some, err := parse([]string{"-rows", "flood.*hooks"}, io.Discard)
	if err != nil || some.scheme.Quick || some.stem != "" || len(some.arms) != 2 {
		t.Errorf("some rows: %+v, %v: want the flood's and its A/A arm, and nothing stored", some, err)
	}
	if full.scheme.Wire != report.WireNIC {
		t.Errorf("the wire is %s, want that of a network card", full.scheme.Wire)
	}
	if plain, err := parse([]string{"-wire", "veth"}, io.Discard); err != nil || plain.scheme.Wire != report.WireVeth {
		t.Errorf("a plain wire: %+v, %v", plain, err)
	}
	for _, args := range [][]string{{"-pairs", "-1"}, {"stray"}, {"-nonsense"}, {"-wire", "string"}, {"-rows", "("}, {"-rows", "nothing like that"}, {"-docs", "a", "-refill", "b"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

// The page is made from what is stored, byte for byte, and the text lies beside it.
func TestStoreAndDocs(t *testing.T) {
	result := report.Result{
		Version: "v1", Date: "2026-01-02", Scheme: schemeOf(true, 2, 3),
		Rows: []report.Row{{
			Load: "TCP ping-pong", Way: "published port", Arm: "A/A", Kind: report.KindSame, Ratio: 1.00000005,
			Interval: stats.Interval{Lo: 1, Hi: 1.0000001}, WithoutNs: 18512.345678, WithNs: 18512.5,
		}},
	}
	dir := t.TempDir()
	stem := filepath.Join(dir, "results", "latest")
	if err := store(result, stem); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "performance.md")
	if err := run(t.Context(), []string{"-from", stem + ".json", "-docs", page}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{page: result.Markdown(), stem + ".txt": result.Text()} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
		}
	}
}

// The committed page is what the committed result gives.
func TestCommittedDocs(t *testing.T) {
	page := filepath.Join(t.TempDir(), "performance.md")
	if err := writeDocs("results/latest.json", page); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs/performance.md is not what bench/results/latest.json gives: run \"make docs\"")
	}
}

func TestDocsErrors(t *testing.T) {
	dir := t.TempDir()
	if err := writeDocs(filepath.Join(dir, "none.json"), filepath.Join(dir, "page")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no stored result: %v", err)
	}
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeDocs(broken, filepath.Join(dir, "page")); err == nil {
		t.Error("a broken result became a page")
	}
	if _, err := os.Stat(filepath.Join(dir, "page")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a page was written: %v", err)
	}
}

// A whole run in small: rows are complete, nothing is asserted about speed.
func TestMeasure(t *testing.T) {
	scheme := report.Scheme{Quick: true, Short: true, Pairs: 1, Few: 1, Seed: 1, WindowMs: 20, Without: 2, With: 2, SettleMs: 20, Wire: report.WireNIC}
	var progress strings.Builder
	result, windows, err := measure(t.Context(), arms(), scheme, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	t.Log(result.Text())
	if len(result.Rows) != len(arms()) {
		t.Fatalf("%d rows, want %d", len(result.Rows), len(arms()))
	}
	for i, row := range result.Rows {
		pairs := scheme.Few
		if arms()[i].major {
			pairs = scheme.Pairs
		}
		checkRow(t, row, pairs)
		if windows[i].Row != row.Name() || len(windows[i].Pairs) < pairs || len(windows[i].Pairs[0].With.Ns) == 0 {
			t.Errorf("%s: the raw windows are %+v", row.Name(), windows[i])
		}
	}
	if len(result.Comparisons) != 3 {
		t.Errorf("%d comparisons with peers, want 3", len(result.Comparisons))
	}
	for _, c := range result.Comparisons {
		if !(c.PeerNs != 0) || !c.Interval.Contains(c.Times) {
			t.Errorf("%+v", c)
		}
	}
	if void := result.Body.Void(); void != "" {
		t.Error(void)
	}
	if result.Machine.Kernel == "" || result.Machine.CPU == "" || result.Machine.Cores == 0 {
		t.Errorf("machine: %+v", result.Machine)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		t.Fatalf("the result cannot be stored: %v", err)
	}
	if name, err := os.Hostname(); err == nil && len(name) > 3 && strings.Contains(string(raw), name) {
		t.Errorf("the result names the host %s", name)
	}
	if !strings.Contains(progress.String(), "pair 1 of 1") {
		t.Errorf("progress: %s", progress.String())
	}
}

func checkRow(t *testing.T, row report.Row, pairs int) {
	t.Helper()
	if len(row.Void) > 0 {
		t.Errorf("%s is void: %v", row.Name(), row.Void)
	}
	if row.Pairs < pairs || row.Windows[0] == 0 || row.Windows[1] == 0 || !(row.Ratio > 0) || !row.Interval.Contains(row.Ratio) || !(row.MeanRatio > 0) {
		t.Errorf("%s: %d pairs, %v windows, ratio %v, interval %v", row.Name(), row.Pairs, row.Windows, row.Ratio, row.Interval)
	}
	if !(row.WithoutNs > 0) || !(row.WithNs > 0) {
		t.Errorf("%s: %v and %v ns per %s", row.Name(), row.WithoutNs, row.WithNs, row.Unit)
	}
	// attached in a part of the time (InAll) programs may not run in so short spans
	if counted := row.Kind == report.KindTraced || row.Kind == report.KindBystander; counted != (row.Runs > 0) && !row.InAll {
		t.Errorf("%s: %v program runs per %s", row.Name(), row.Runs, row.Unit)
	}
	// in a part of the time (InAll) there are runs without journeys, and windows without runs
	if row.Kind == report.KindTraced && !row.InAll && row.Runs < row.Stamps[0]+row.Stamps[1] {
		t.Errorf("%s: %v runs cannot make %v stamps", row.Name(), row.Runs, row.Stamps)
	}
}

// A run that is called off ends, and tells why.
func TestMeasureCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := measure(ctx, arms(), schemeOf(true, 1, 1), io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// Figures are computed anew from stored windows, row by row.
func TestRefill(t *testing.T) {
	dir := t.TempDir()
	span := func(ns uint64) stats.Span { return stats.Span{Trips: []uint64{1, 1}, Ns: []uint64{ns, ns}} }
	row := report.Row{Load: "TCP ping-pong", Way: "published port", Arm: "A/A", Kind: report.KindSame, Ratio: 9}
	pairs := []stats.Pair{{Before: span(100), With: span(103), After: span(100)}}
	file := func(name string, content any) string {
		encoded, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, encoded, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	from := file("result.json", report.Result{Version: "v7", Rows: []report.Row{row}})
	for name, windows := range map[string]any{
		"of another row": []report.Raw{{Row: "another", Pairs: pairs}}, "of none": []report.Raw{}, "broken": "x",
	} {
		if err := refill(from, file("windows.json", windows), io.Discard); err == nil {
			t.Errorf("windows %s were taken", name)
		}
	}
	if err := refill(from, file("windows.json", []report.Raw{{Row: row.Name(), Pairs: pairs}}), io.Discard); err != nil {
		t.Fatal(err)
	}
	result, err := stored(from)
	if err != nil || result.Version != "v7" || result.Rows[0].Ratio != 1.03 {
		t.Errorf("%+v, %v, want the same result with ratio 1.03", result, err)
	}
}
