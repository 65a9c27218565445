// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/result"
)

// saved is a bench that an older version has written.
func saved(t *testing.T) result.Document {
	t.Helper()
	file, err := os.Open("../../internal/result/testdata/bench-schema-1.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d, err := result.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// withBase has what an older version did not write.
func withBase(d result.Document) result.Document {
	for i := range d.Comparisons {
		if e := d.Comparisons[i].Explained; e != nil {
			e.Base = &result.Estimate{Ns: 16_000, Lo: 15_900, Hi: 16_100}
		}
	}
	return d
}

// The page has the figures of what is stored, and what is stored is small and
// names no machine.
func TestPage(t *testing.T) {
	d := withBase(saved(t))
	d.Environment.Host.Name = "the-host"
	d.Bench.Others.Caution = "other work took up to 12%"
	raw, err := json.Marshal(store(d, d))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 200_000 || bytes.Contains(raw, []byte("the-host")) || bytes.Contains(raw, []byte("buckets")) {
		t.Errorf("%d bytes are stored: %.300s", len(raw), raw)
	}
	dir := t.TempDir()
	from, to := filepath.Join(dir, "modes.json"), filepath.Join(dir, "page.md")
	if err := os.WriteFile(from, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-from", from, "-docs", to}, t.Output(), t.Output()); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	c := d.Comparisons[0]
	for _, want := range []string{
		"**Not a quiet machine**: other work took up to 12%.", "## By IPv6", "RC25482",
		"| 16.0 | " + interval(c.Explained.Client), interval(c.Explained.Hops), share(c.ExplainedShare),
		interval(c.Layers[0].Mean), reasons()["routing"], "Netfilter is ", d.Environment.Kernel.Release,
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has not %q", want)
		}
	}
	if strings.Contains(string(page), "<no value>") || strings.Contains(string(page), "| 0.00 |") {
		t.Errorf("%s", page)
	}
}

// Without a stored result the page stays; one that is broken is told.
func TestWithoutAResult(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "modes.json"), filepath.Join(dir, "page.md")
	if err := os.WriteFile(to, []byte("as it was\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeDocs(from, to, t.Output()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "as it was\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := os.WriteFile(from, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeDocs(from, to, t.Output()); err == nil {
		t.Error("half an object is a result")
	}
}

func TestMicros(t *testing.T) {
	for ns, want := range map[float64]string{0: "0.00", 1234: "1.23", -1234: "-1.23", 56_789: "56.8", 312_345: "312", -170: "-0.17"} {
		if got := micros(ns); got != want {
			t.Errorf("%f ns: %s, want %s", ns, got, want)
		}
	}
}
