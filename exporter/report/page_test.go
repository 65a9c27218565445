// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vethtrace/vethtrace/internal/result"
)

// written puts a document's page into a file.
func written(t *testing.T, d result.Document) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(html(t, d)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// marks are how many marks each plot must have at least.
func marks(d result.Document) map[string]int {
	c := d.Comparisons[0]
	both := 0
	for _, r := range append(append([]result.Row(nil), c.Rows...), c.Paths...) {
		if r.Of != nil {
			both++
		}
		if r.Against != nil {
			both++
		}
	}
	hops := both - 2*len(c.Paths)
	want := map[string]int{"bars": hops, "curves": both, "paths": hops}
	if c.Whole.Mean != nil {
		want["layers"], want["rows"] = len(c.Layers), len(c.Rows)
	}
	if d.Bench != nil {
		want["roundtrip"], want["clients"], want["timelines"] = 4, 1, 10
	}
	return want
}

// TestPageInABrowser opens pages as people do: wide and narrow, light and dark.
func TestPageInABrowser(t *testing.T) {
	b := newBrowser(t)
	for _, name := range saved {
		d := load(t, name)
		file := written(t, d)
		for _, l := range []look{{1280, "light"}, {1280, "dark"}, {400, "light"}, {400, "dark"}} {
			t.Run(fmt.Sprintf("%s/%d/%s", name, l.width, l.scheme), func(t *testing.T) {
				o := b.open(t, file, l)
				wantDrawn(t, o, marks(d))
				if over := evaluate[int](t, o, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("the page is %d pixels wider than the window", over)
				}
				dark := evaluate[string](t, o, "getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
				if dark != (l.scheme == "dark") {
					t.Errorf("the page is dark: %t, in scheme %s", dark, l.scheme)
				}
				o.keep(t, fmt.Sprintf("%s-%d-%s", name, l.width, l.scheme))
				o.wantQuiet(t)
			})
		}
	}
}

// wantDrawn checks that plots have their marks, that these have an extent, and
// that they lie within their plots.
func wantDrawn(t *testing.T, o *opened, want map[string]int) {
	t.Helper()
	type plot struct{ Marks, Drawn, Outside int }
	got := evaluate[map[string]plot](t, o, `Object.fromEntries([...document.querySelectorAll("[data-plot]")].map((s) => {
		const marks = [...s.querySelectorAll(".mark")];
		const drawn = marks.filter((m) => { const b = m.getBoundingClientRect(); return b.width + b.height > 1; });
		const outside = drawn.filter((m) => { const b = m.getBoundingClientRect(); return b.left < -8 || b.right > innerWidth + 8; });
		return [s.dataset.plot, {Marks: marks.length, Drawn: drawn.length, Outside: outside.length}];
	}))`)
	for name, n := range want {
		p := got[name]
		if p.Marks < n || p.Outside > 0 {
			t.Errorf("plot %s: %d marks, want %d; %d lie outside of the window", name, p.Marks, n, p.Outside)
		}
		if p.Drawn*10 < p.Marks*9 { // a hop of no time is a bar of no width
			t.Errorf("plot %s: %d of %d marks are drawn", name, p.Drawn, p.Marks)
		}
	}
}

// figure is one that the page takes from the document.
type figure struct{ Text, Value, At string }

// TestFiguresAreTheDocumentsInABrowser follows each figure of the page back to the
// document: the pointer, the value, and what is written.
func TestFiguresAreTheDocumentsInABrowser(t *testing.T) {
	b := newBrowser(t)
	for _, name := range saved {
		t.Run(name, func(t *testing.T) {
			d := load(t, name)
			var raw bytes.Buffer
			if err := result.Encode(&raw, d); err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := stdjson.Unmarshal(raw.Bytes(), &tree); err != nil {
				t.Fatal(err)
			}
			o := b.open(t, written(t, d), look{1280, "light"})
			figures := o.figures(t)
			if len(figures) < 400 {
				t.Errorf("%d figures in the page", len(figures))
			}
			for _, f := range figures {
				if err := f.check(tree); err != nil {
					t.Errorf("%s: %q: %v", f.At, f.Text, err)
				}
			}
			answer := evaluate[string](t, o, `document.getElementById("answer").textContent`)
			if !strings.EqualFold(answer, d.Answer+".") { // a sentence begins with a capital
				t.Errorf("answer %q, want %q", answer, d.Answer)
			}
			o.wantQuiet(t)
		})
	}
}

// figures are all of the page, those of closed parts too.
func (o *opened) figures(t *testing.T) []figure {
	t.Helper()
	return evaluate[[]figure](t, o, `[...document.querySelectorAll("[data-at]")].map((e) =>
		({Text: e.textContent, Value: e.getAttribute("value") ?? e.dataset.ns, At: e.dataset.at}))`)
}

// check compares with what stands at the pointer: a number, an estimate or a share.
func (f figure) check(tree any) error {
	at := tree
	for _, key := range strings.Split(f.At, "/")[1:] {
		switch node := at.(type) {
		case map[string]any:
			at = node[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(node) {
				return fmt.Errorf("no element %q", key)
			}
			at = node[i]
		default:
			return fmt.Errorf("nothing at %q", key)
		}
	}
	var want []float64
	switch node := at.(type) {
	case float64:
		want = []float64{node}
	case map[string]any:
		for _, keys := range [][]string{{"ns", "lo_ns", "hi_ns"}, {"share", "lo", "hi"}} {
			for _, key := range keys {
				if v, ok := node[key].(float64); ok {
					want = append(want, v)
				}
			}
		}
	}
	if len(want) == 0 {
		return fmt.Errorf("no figure but %v", at)
	}
	if value, err := strconv.ParseFloat(f.Value, 64); err != nil || !near(value, want[0], 1e-9) {
		return fmt.Errorf("value %s, want %v", f.Value, want[0])
	}
	return wantWritten(f.Text, want)
}

var numbers = regexp.MustCompile(`[+-]?[0-9][0-9,]*(?:\.[0-9]+)?`)

// wantWritten reads text as a person does: figures, and one unit for all.
func wantWritten(text string, want []float64) error {
	written := numbers.FindAllString(strings.ReplaceAll(text, ", ", " "), -1)
	if len(written) != len(want) {
		return fmt.Errorf("%d figures are written, want %d", len(written), len(want))
	}
	unit := 1.0
	for _, u := range []struct {
		name string
		size float64
	}{{"ns", 1}, {"µs", 1e3}, {"ms", 1e6}, {" s", 1e9}, {"%", 0.01}} {
		if strings.Contains(text, u.name) {
			unit = u.size
		}
	}
	for i, w := range written {
		digits := 0
		if _, behind, ok := strings.Cut(w, "."); ok {
			digits = len(behind)
		}
		value, err := strconv.ParseFloat(strings.ReplaceAll(w, ",", ""), 64)
		if err != nil {
			return err
		}
		// Half of the last digit, and a little more: intervals are rounded twice.
		if off := math.Abs(value - want[i]/unit); off > 0.56*math.Pow(10, -float64(digits)) {
			return fmt.Errorf("%s is written for %v", w, want[i])
		}
	}
	return nil
}

func near(a, b, relative float64) bool {
	return math.Abs(a-b) <= relative*max(math.Abs(a), math.Abs(b), 1)
}

// TestHoverInABrowser checks what the page's own script says at a mark and on a curve.
func TestHoverInABrowser(t *testing.T) {
	b := newBrowser(t)
	d := load(t, "bench-schema-1")
	o := b.open(t, written(t, d), look{1280, "light"})
	hover := func(selector string) string {
		t.Helper()
		type point struct{ X, Y float64 }
		p := evaluate[point](t, o, `(() => { const e = document.querySelector('`+selector+`'); e.scrollIntoView({block: "center"});
			return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
				const b = e.getBoundingClientRect();
				done({X: b.left + b.width / 2, Y: b.top + b.height / 2});
			}))); })()`)
		if err := chromedp.Do(o.ctx, chromedp.MouseEvent("mouseMoved", p.X, p.Y)); err != nil {
			t.Fatal(err)
		}
		return evaluate[string](t, o, `(() => { const t = document.getElementById("tip"); return t.hidden ? "" : t.textContent; })()`)
	}
	if got, want := hover("[data-plot=bars] .mark rect"), regexp.MustCompile(`^netfilter/prerouting: mean \d+ ns, median \d+ ns$`); !want.MatchString(got) {
		t.Errorf("a bar says %q", got)
	}
	if got, want := hover("[data-plot=roundtrip] .ecdf"), regexp.MustCompile(`^within [\d.]+ .s: bridge mode, published port \(DNAT\) \d+\.\d%, host mode \d+\.\d%$`); !want.MatchString(got) {
		t.Errorf("a curve says %q", got)
	}
	if got := hover("h1"); got != "" {
		t.Errorf("beside all plots it says %q", got)
	}
	o.wantQuiet(t)
}

// TestAddressOpensInABrowser checks that what an address names is opened.
func TestAddressOpensInABrowser(t *testing.T) {
	b := newBrowser(t)
	o := b.open(t, written(t, load(t, "bench-schema-1")), look{1280, "light"})
	const id = "c-comparisons-0-rows"
	if evaluate[bool](t, o, `document.getElementById("`+id+`").open`) {
		t.Fatal("it is open before")
	}
	if err := chromedp.Do(o.ctx, chromedp.Click("[data-plot=curves] a")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(o.ctx, chromedp.Poll[bool](`document.getElementById("`+id+`").open`)); err != nil {
		t.Errorf("it stays closed: %v", err)
	}
	o.wantQuiet(t)
}

// TestHostileNamesInABrowser opens a page of hostile names: none of them runs.
func TestHostileNamesInABrowser(t *testing.T) {
	b := newBrowser(t)
	d := vandalised(t)
	o := b.open(t, written(t, d), look{400, "light"})
	if n := evaluate[int](t, o, `document.querySelectorAll("img, script:not(:last-of-type)").length`); n > 0 {
		t.Errorf("%d elements of hostile names", n)
	}
	wantDrawn(t, o, marks(d))
	o.wantQuiet(t)
}

// TestPrintInABrowser checks that a printed page has its plots, and no table that is closed.
func TestPrintInABrowser(t *testing.T) {
	b := newBrowser(t)
	o := b.open(t, written(t, load(t, "bench-schema-1")), look{1280, "light"})
	pdf, err := chromedp.Run(o.ctx, chromedp.PrintToPDF())
	if err != nil {
		t.Fatal(err)
	}
	pages := len(regexp.MustCompile(`/Type\s*/Page\b`).FindAll(pdf, -1))
	if pages < 2 || pages > 9 {
		t.Errorf("printed on %d pages", pages)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "report.pdf"), pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	o.wantQuiet(t)
}
