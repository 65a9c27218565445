// SPDX-License-Identifier: Apache-2.0

package report

import (
	"html/template"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAxes checks, for many ranges, that an axis holds its range, rises, and has
// ticks that can be told apart.
func TestAxes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		lo := math.Pow(10, random.Float64()*9)
		hi := lo * (1 + math.Pow(10, random.Float64()*6-2))
		for _, a := range []axis{linear(0, hi), linear(-lo, hi), logarithmic(lo, hi)} {
			if n := len(a.ticks); n < 2 || n > 12 {
				t.Fatalf("%v to %v: %d ticks of %+v", lo, hi, n, a)
			}
			before, texts := -1.0, map[string]bool{}
			for _, v := range a.ticks {
				if v < a.lo*(1-1e-9)-1e-9 && a.lo >= 0 || v > a.hi*(1+1e-9) || a.at(v) <= before || texts[tickText(v)] {
					t.Fatalf("%v to %v: tick %v (%s) of %+v", lo, hi, v, tickText(v), a)
				}
				before, texts[tickText(v)] = a.at(v), true
			}
			if a.at(hi) > 100 || a.at(hi) <= 0 || a.at(math.Inf(1)) != 100 || a.at(math.Inf(-1)) != 0 {
				t.Fatalf("%v to %v: its end is at %v of %+v", lo, hi, a.at(hi), a)
			}
		}
	}
}

func TestAxisOfNothing(t *testing.T) {
	for _, a := range []axis{linear(0, 0), logarithmic(0, 0), domain(nil)} {
		if math.IsNaN(a.at(0)) || !(a.hi > a.lo) {
			t.Errorf("%+v", a)
		}
	}
}

// TestCurve checks that a curve is the buckets' cumulative shares, and that what
// is left out of its points cannot be seen.
func TestCurve(t *testing.T) {
	buckets := [][2]uint64{{100, 50}, {200, 25}, {400, 25}}
	c := curveOf(buckets, 407, 10)
	if want := []float64{90, 94, 198, 398}; !slices.Equal(c.upper, want) { // the last ends with the greatest value
		t.Errorf("upper bounds %v, want %v", c.upper, want)
	}
	if want := []float64{0, 0.5, 0.75, 1}; !slices.Equal(c.below, want) {
		t.Errorf("shares %v, want %v", c.below, want)
	}
	random := rand.New(rand.NewPCG(3, 4))
	buckets = nil
	for i := range uint64(300) {
		buckets = append(buckets, [2]uint64{1 << 10 << (i / 16) / 16 * (16 + i%16), random.Uint64N(1 + 100000/(i*i+1))})
	}
	buckets = slices.DeleteFunc(buckets, func(b [2]uint64) bool { return b[1] == 0 })
	c = curveOf(buckets, buckets[len(buckets)-1][0], 0)
	a := logarithmic(c.upper[0], c.upper[len(c.upper)-1])
	x, y, n := -1.0, 101.0, 0
	for point := range strings.FieldsSeq(c.points(a)) {
		left, right, _ := strings.Cut(point, ",")
		px, errX := strconv.ParseFloat(left, 64)
		py, errY := strconv.ParseFloat(right, 64)
		if errX != nil || errY != nil || px < x || py > y {
			t.Fatalf("point %s after %v,%v", point, x, y)
		}
		x, y, n = px, py, n+1
	}
	if y != 0 || n < 10 || n >= len(c.upper) {
		t.Errorf("ends at %v, %d points of %d", y, n, len(c.upper))
	}
}

func TestLayers(t *testing.T) {
	for layer, want := range map[string][2]string{
		"netfilter/forward":            {"l-forward", "Forward"},
		"netfilter/prerouting/nat":     {"l-prerouting", "Nat"},
		"netfilter/input":              {"l-netfilter", "Input"},
		"softirq":                      {"l-softirq", "Softirq"},
		"uplink":                       {"l-device", "Uplink"},
		"":                             {"l-device", ""},
		`"><script>`:                   {"l-device", `"><script>`},
		"netfilter/forward/raw+mangle": {"l-forward", "Raw+mangle"},
	} {
		if got := [2]string{layerClass(layer), layerWord(layer)}; got != want {
			t.Errorf("%q: %q, want %q", layer, got, want)
		}
	}
}

func TestMarkdownCells(t *testing.T) {
	for in, want := range map[string]string{
		"ip_forward":     "ip_forward",
		"_bold_":         `\_bold\_`,
		"a|b":            `a\|b`,
		"<b>&":           `&lt;b\>&amp;`,
		"+1 [0, 2]":      "+1 [0, 2]",
		"[x](y)":         `\[x](y)`,
		"*a* `b` ~c~ #d": "\\*a\\* \\`b\\` \\~c\\~ \\#d",
	} {
		if got := (markdown{}).cell(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzDrawing(f *testing.F) {
	f.Add("x", `"><script>alert(1)</script>`)
	f.Fuzz(func(t *testing.T, word, value string) {
		var d drawing
		d.text("text", word, "data-tip", value)
		out := string(d.html())
		if strings.Count(out, "<") != 2 || strings.Count(out, ">") != 2 || strings.Count(out, `"`) != 2 {
			t.Errorf("%q, %q: %s", word, value, out)
		}
		if got := bare(template.HTML(out)); strings.ContainsAny(got, "\n\u202e") {
			t.Errorf("%q is written as %q", word, got)
		}
	})
}
