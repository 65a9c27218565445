// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	stdjson "encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/vethtrace/vethtrace/internal/result"
)

// grown is a result with as many loads and pairs of ways as a whole bench has.
func grown(t *testing.T, loads, pairs int) result.Document {
	t.Helper()
	d := load(t, "bench-schema-1")
	cells, comparison := d.Bench.Cells, d.Comparisons[0]
	first := d.Bench.Loads[0]
	d.Bench.Loads, d.Bench.Cells, d.Comparisons = nil, nil, nil
	for l := range loads {
		one := first
		one.Name, one.Title = fmt.Sprintf("%s_%d", first.Name, l), fmt.Sprintf("%s, once more (%d)", first.Title, l)
		d.Bench.Loads = append(d.Bench.Loads, one)
		for p := range pairs {
			for _, c := range cells {
				if c.Load != first.Name || p > 0 && c.Way != comparison.Of {
					continue
				}
				c.Load = one.Name
				if c.Way == comparison.Of {
					c.Way = fmt.Sprintf("%s-%d", c.Way, p)
				}
				// each cell's figures are its own, as they are in a real one
				c.Untraced.Latency.MeanNs += float64(l) + float64(p)/7
				d.Bench.Cells = append(d.Bench.Cells, c)
			}
			c := comparison
			c.Load, c.Of = one.Name, fmt.Sprintf("%s-%d", c.Of, p)
			d.Comparisons = append(d.Comparisons, c)
		}
	}
	return d
}

var packedPart = regexp.MustCompile(`<template class="packed">([^<]*)</template>`)

// TestPacked checks that what is packed can be unpacked, holds nothing hostile,
// and makes the page small.
func TestPacked(t *testing.T) {
	d := grown(t, 3, 3)
	page := html(t, d)
	parts := packedPart.FindAllStringSubmatch(page, -1)
	if len(parts) != 2+2 {
		t.Fatalf("%d packed parts, want two loads, and two pairs of the first", len(parts))
	}
	whole := len(page)
	var all strings.Builder
	for _, part := range parts {
		data, err := base64.StdEncoding.DecodeString(part[1])
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
		whole += len(text) - len(part[1])
	}
	for i := range d.Comparisons[1:] {
		if at := fmt.Sprintf(`data-at="/comparisons/%d/explained/client"`, i+1); !strings.Contains(all.String(), at) {
			t.Errorf("%s is not in what is packed", at)
		}
	}
	if len(page)*3 > whole {
		t.Errorf("the page has %d bytes, and %d unpacked", len(page), whole)
	}
}

// TestPackedInABrowser follows all figures of a page of many loads back to the
// document, and opens what an address names within a packed part.
func TestPackedInABrowser(t *testing.T) {
	b := newBrowser(t)
	d := grown(t, 3, 2)
	file := written(t, d)
	o := b.open(t, file, look{1280, "light"})
	if n := evaluate[int](t, o, `document.querySelectorAll("template").length`); n > 0 {
		t.Errorf("%d parts stay packed", n)
	}
	var raw bytes.Buffer
	if err := result.Encode(&raw, d); err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := stdjson.Unmarshal(raw.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	figures := o.figures(t)
	for _, f := range figures {
		if err := f.check(tree); err != nil {
			t.Errorf("%s: %q: %v", f.At, f.Text, err)
		}
	}
	for i := range d.Comparisons {
		at := fmt.Sprintf("/comparisons/%d/explained/client", i)
		if !slices.ContainsFunc(figures, func(f figure) bool { return f.At == at }) {
			t.Errorf("no figure of %s", at)
		}
	}
	const id = "c-comparisons-5-rows"
	evaluate[string](t, o, `location.hash = "`+id+`"`)
	if _, err := chromedp.Run(o.ctx, chromedp.Poll[bool](`document.getElementById("`+id+`").checkVisibility()`)); err != nil {
		t.Errorf("what the address names stays closed: %v", err)
	}
	o.keep(t, "packed-1280-light")
	o.wantQuiet(t)
}
