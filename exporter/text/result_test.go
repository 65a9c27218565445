package text

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/result"
)

func savedResult(t *testing.T, name string) result.Document {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "internal", "result", "testdata", name))
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

func wroteResult(t *testing.T, d result.Document, o Options) string {
	t.Helper()
	var b strings.Builder
	if err := WriteResult(&b, d, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Lines keep to the width, with and without colors, and say the same.
func TestResultKeepsToItsWidth(t *testing.T) {
	for _, name := range []string{"bench-schema-1.json", "compare-schema-1.json"} {
		d := savedResult(t, name)
		for _, width := range []int{40, 80, 132} {
			for _, color := range []bool{false, true} {
				for line := range strings.Lines(wroteResult(t, d, Options{Width: width, Color: color})) {
					if w := lipgloss.Width(strings.TrimRight(line, "\n")); w > width {
						t.Errorf("%s at %d: %d columns: %q", name, width, w, line)
					}
				}
			}
		}
	}
}

func TestBenchText(t *testing.T) {
	d := savedResult(t, "bench-schema-1.json")
	text := wroteResult(t, d, Options{})
	for _, want := range []string{
		"TCP request-response, 1 byte, one connection", "  host  ", "  published  ", "published - host  ipv4, tcp, uplink, established",
		"in (towards the socket)", "netfilter/forward", "whole path", "layer (means)", "hops of a request", "explained: ", d.Answer + ".",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Of two that were traced at once, what a reader must know stands below the table.
func TestCompareCaution(t *testing.T) {
	d := savedResult(t, "compare-schema-1.json")
	d.Environment, d.Caution = d.Sides[0].Environment, "nginx ended meanwhile"
	if d.Environment == nil {
		d.Environment = &environment.Environment{}
	}
	text := wroteResult(t, d, Options{})
	if caution := strings.Index(text, "caution: nginx ended meanwhile."); caution < strings.Index(text, d.Comparisons[0].Class) {
		t.Errorf("caution at %d:\n%s", caution, text)
	}
	d.Caution = ""
	if text := wroteResult(t, d, Options{}); strings.Contains(text, "caution") {
		t.Errorf("a caution of nothing:\n%s", text)
	}
}

// Two saved documents: what differs in their environments comes first, then the
// table with the document that was named first in front.
func TestCompareText(t *testing.T) {
	d := savedResult(t, "compare-schema-1.json")
	d.Differences = []result.Difference{{Key: "kernel.release", Of: "6.19", Against: "6.18"}}
	d.Caution = "the two were measured on different days: no cause can be named for the difference"
	text := wroteResult(t, d, Options{})
	environment, caution, table := strings.Index(text, "what differs in the environments"), strings.Index(text, d.Caution), strings.Index(text, d.Comparisons[0].Class)
	if environment != 0 || caution < environment || table < caution {
		t.Errorf("environments at %d, caution at %d, table at %d:\n%s", environment, caution, table, text)
	}
	if !strings.Contains(text, "kernel.release  6.18   6.19") {
		t.Errorf("first and second in another order:\n%s", text)
	}
	if !strings.Contains(text, "too few") {
		t.Errorf("a comparison of two rounds does not say so:\n%s", text)
	}
	d.Differences = nil
	if text := wroteResult(t, d, Options{}); !strings.Contains(text, "nothing that is recorded") {
		t.Errorf("no differences:\n%s", text)
	}
}
