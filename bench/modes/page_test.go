// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/refbench"
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

// What the page says in words holds of the figures beside them: with others it says
// other things, or nothing.
func TestWords(t *testing.T) {
	of := func(way string, share, lo, hi float64) measurement {
		return measurement{
			Load: "tcp_rr", LoadTitle: "TCP, 1 byte", Way: way, Share: &result.Share{Share: share, Lo: lo, Hi: hi},
			Explained: &result.Explained{Client: &result.Estimate{Ns: 80_000}},
		}
	}
	overlap := measurement{LoadTitle: "HTTP", Way: refbench.WayPublished, Reason: "they overlap", Explained: &result.Explained{}}
	const within, less, more = "what the hops took longer, to within", "The client waits longer than the hops tell", "The hops took longer by more"
	const between, proxy, none = "Between two containers the share is above 100%", "docker-proxy costs by being woken", "No share is given"
	every := []string{within, less, more, between, proxy, none}
	for name, tt := range map[string]struct {
		all  []measurement
		want []string
	}{
		"nothing":                {nil, nil},
		"explained":              {[]measurement{of(refbench.WayPublished, 0.99, 0.95, 1.03)}, []string{within, "published port (DNAT) 99.0%"}},
		"a part":                 {[]measurement{of(refbench.WayPublished, 0.9, 0.85, 0.97)}, []string{less, "90.0%"}},
		"more":                   {[]measurement{of(refbench.WayAddress, 1.1, 1.05, 1.2)}, []string{more, "110.0%"}},
		"containers, above":      {[]measurement{of(refbench.WayContainer, 1.14, 1.03, 1.26)}, []string{between, "114.0%"}},
		"containers, explained":  {[]measurement{of(refbench.WayContainer, 1.04, 0.97, 1.1)}, []string{within}},
		"containers, below":      {[]measurement{of(refbench.WayContainer, 0.8, 0.7, 0.9)}, []string{less}},
		"docker-proxy":           {[]measurement{of(refbench.WayProxy, 0.09, 0.06, 0.13)}, []string{proxy, "9.0% of 80.0 µs"}},
		"docker-proxy, all hops": {[]measurement{of(refbench.WayProxy, 0.99, 0.9, 1.1)}, []string{within}},
		"overlapping":            {[]measurement{overlap}, []string{none, "HTTP: published port (DNAT) (they overlap)"}},
	} {
		text := words(tt.all)
		for _, sentence := range every {
			if got, want := strings.Contains(text, sentence), slices.Contains(tt.want, sentence); got != want {
				t.Errorf("%s: %q is said: %t, want %t, in %q", name, sentence, got, want, text)
			}
		}
		for _, figure := range tt.want {
			if !strings.Contains(text, figure) {
				t.Errorf("%s: %q has not %q", name, text, figure)
			}
		}
	}
	if text := groups(measurement{Layers: []result.Layer{{Layer: "routing"}}}); text != "" {
		t.Errorf("of layers without shares it says %q", text)
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
