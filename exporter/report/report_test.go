// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/exporter/report"
	"github.com/vethtrace/vethtrace/internal/golden"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

var update = golden.Update("the golden files")

// saved are results of real runs, kept as older versions wrote them.
var saved = []string{"bench-schema-1", "compare-schema-1"}

func load(t *testing.T, name string) result.Document {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "internal", "result", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := result.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func options() report.Options { return report.Options{Decode: json.DecodeLine} }

func html(t *testing.T, d result.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, d, options()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func markdown(t *testing.T, d result.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Markdown(&b, d, options()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdownGolden(t *testing.T) {
	for _, name := range saved {
		t.Run(name, func(t *testing.T) {
			got := markdown(t, load(t, name))
			golden.Compare(t, *update, filepath.Join("testdata", name+".md"), got)
		})
	}
}

// TestMarkdownTables checks that each row has as many cells as its head.
func TestMarkdownTables(t *testing.T) {
	for _, name := range saved {
		d := load(t, name)
		d.Comparisons[0].Of = "a|b" // a name that would make a cell of its own
		if d.Bench == nil {
			d.Sides[1].Name = "a|b"
		} else {
			rename(d, "published", "a|b")
		}
		cells, tables := 0, 0
		for i, line := range strings.Split(markdown(t, d), "\n") {
			if !strings.HasPrefix(line, "|") {
				cells = 0
				continue
			}
			n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
			if cells == 0 {
				cells = n
				tables++
			}
			if n != cells {
				t.Errorf("%s:%d: %d cells, the head has %d: %s", name, i+1, n-1, cells-1, line)
			}
		}
		if tables < 6 {
			t.Errorf("%s: %d tables", name, tables)
		}
	}
}

// rename gives a way another name, wherever it stands.
func rename(d result.Document, from, to string) {
	swap := func(s *string) {
		if *s == from {
			*s = to
		}
	}
	for i := range d.Bench.Ways {
		swap(&d.Bench.Ways[i].Name)
	}
	for i := range d.Bench.Cells {
		swap(&d.Bench.Cells[i].Way)
	}
	for i := range d.Comparisons {
		swap(&d.Comparisons[i].Of)
		swap(&d.Comparisons[i].Against)
	}
}

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>'` + "\u202e"

// vandalised has hostile text wherever text from outside can stand.
func vandalised(t *testing.T) result.Document {
	t.Helper()
	d := load(t, "bench-schema-1")
	rename(d, "published", hostile)
	d.Answer, d.Caution, d.Version, d.Start = hostile, hostile, hostile, hostile
	d.Notes = []string{hostile}
	d.Environment.Host.Name, d.Environment.Kernel.Release = hostile, hostile
	d.Environment.Sysctls[hostile] = hostile
	d.Differences = []result.Difference{{Key: hostile, Of: hostile, Against: hostile}}
	d.Bench.LeftOut, d.Bench.Image, d.Bench.Wire = []string{hostile}, hostile, hostile
	for i := range d.Bench.Ways {
		d.Bench.Ways[i].Title += hostile
	}
	old := d.Bench.Loads[0].Name
	d.Bench.Loads[0].Name, d.Bench.Loads[0].Title = hostile, hostile
	for i := range d.Bench.Cells {
		c := &d.Bench.Cells[i]
		c.Load = hostile
		for _, word := range []string{"eth0", "docker0", "bridge-mode", "host-mode", "netif_rx"} {
			quoted, err := stdjson.Marshal(word + hostile)
			if err != nil {
				t.Fatal(err)
			}
			c.Trace = bytes.ReplaceAll(c.Trace, []byte(`"`+word+`"`), quoted)
		}
	}
	for i := range d.Comparisons {
		c := &d.Comparisons[i]
		if c.Load == old {
			c.Load = hostile
		}
		c.Verdict, c.ExplainedReason, c.Class = hostile, hostile, hostile
		for k := range c.Rows {
			c.Rows[k].Words, c.Rows[k].Layer = hostile, c.Rows[k].Layer+hostile
		}
		for k := range c.Layers {
			c.Layers[k].Layer += hostile
		}
	}
	return d
}

func TestNothingFromOutsideIsMarkup(t *testing.T) {
	d := vandalised(t)
	for name, page := range map[string]string{"HTML": html(t, d), "Markdown": markdown(t, d)} {
		for _, wrong := range []string{"<script>alert", "<img", "\u202e"} {
			if at := strings.Index(page, wrong); at >= 0 {
				t.Errorf("%s: %q, in %q", name, wrong, page[max(at-200, 0):min(at+100, len(page))])
			}
		}
	}
}

func TestSelfContained(t *testing.T) {
	page := html(t, load(t, "bench-schema-1"))
	for _, outside := range []string{"http:", "https:", "src=", "@import", "url(", "<link"} {
		if at := strings.Index(strings.ReplaceAll(page, `"http://www.w3.org/2000/svg"`, ""), outside); at >= 0 {
			t.Errorf("%q is in the page", outside)
		}
	}
	if !strings.Contains(page, "default-src &#39;none&#39;") {
		t.Error("the page has no policy")
	}
}

func TestErrors(t *testing.T) {
	broken := errors.New("broken trace")
	one := load(t, "bench-schema-1")
	lost := load(t, "bench-schema-1")
	lost.Comparisons[0].Against = "nowhere"
	alone := load(t, "compare-schema-1")
	alone.Sides = alone.Sides[:1]
	tests := []struct {
		name string
		d    result.Document
		o    report.Options
		want string
	}{
		{"trace", one, report.Options{Decode: func([]byte) (tracer.Snapshot, error) { return tracer.Snapshot{}, broken }}, "/bench/cells/0/trace: broken trace"},
		{"way", lost, options(), `comparisons[0]: no way "published" or "nowhere" under load "tcp_rr"`},
		{"side", alone, options(), "1 sides and 1 comparisons, want 2 and 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, write := range []func() (string, error){
				func() (string, error) { var b bytes.Buffer; err := report.HTML(&b, tt.d, tt.o); return b.String(), err },
				func() (string, error) {
					var b bytes.Buffer
					err := report.Markdown(&b, tt.d, tt.o)
					return b.String(), err
				},
			} {
				out, err := write()
				if err == nil || !strings.Contains(err.Error(), tt.want) || out != "" {
					t.Errorf("error %v, wrote %d bytes", err, len(out))
				}
			}
		})
	}
}

// TestBudgetIsTold checks that what tracing was allowed, and measured to add, stands beside what it cost.
func TestBudgetIsTold(t *testing.T) {
	o := report.Options{Decode: func(data []byte) (tracer.Snapshot, error) {
		s, err := json.DecodeLine(data)
		s.Observer.Budget = &tracer.Budget{MaxShare: 0.01, State: tracer.BudgetEnded, Windows: 7}
		s.Observer.SelfCheck = &tracer.SelfCheck{CPU: tracer.Ratio{Value: 1.05, Low: 1.02, High: 1.08}}
		return s, err
	}}
	var b bytes.Buffer
	if err := report.Markdown(&b, load(t, "compare-schema-1"), o); err != nil {
		t.Fatal(err)
	}
	const want = "budget of 1.0% of one CPU, attached 7 times (ended); self-check: processor time per packet ×1.050 [1.020, 1.080]"
	if n := strings.Count(b.String(), want); n != 2 {
		t.Errorf("%d times %q", n, want)
	}
}

// TestNothingCompared is a document whose ways saw no packet at all.
func TestNothingCompared(t *testing.T) {
	d := load(t, "bench-schema-1")
	for i := range d.Bench.Cells {
		c := &d.Bench.Cells[i]
		trace := map[string]any{}
		if err := stdjson.Unmarshal(c.Trace, &trace); err != nil {
			t.Fatal(err)
		}
		trace["targets"], trace["journeys"] = []any{}, []any{}
		var err error
		if c.Trace, err = stdjson.Marshal(trace); err != nil {
			t.Fatal(err)
		}
		c.Ingress, c.Egress, c.TracingAdded = "", "", nil
		c.Untraced.Latency = result.Latency{}
		c.Traced.Latency = result.Latency{}
	}
	c := &d.Comparisons[0]
	*c = result.Comparison{Load: c.Load, Of: c.Of, Against: c.Against, Verdict: "nothing to compare", Explained: &result.Explained{}, Whole: c.Whole}
	page := html(t, d)
	for _, wrong := range []string{"NaN", "Inf", "&lt;nil&gt;"} {
		if strings.Contains(page, wrong) {
			t.Errorf("%s in the page", wrong)
		}
	}
	if out := markdown(t, d); !strings.Contains(out, "Nothing to compare.") {
		t.Errorf("no verdict in %s", out)
	}
}
