// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// Measures of the drawing, in pixels.
const (
	charWidth  = 7.3 // of a monospace font of 12 pixels
	lineHeight = 16
	padding    = 8
	gapX       = 190 // between layers: room for an edge's label
	gapY       = 18  // between boxes
	margin     = 20
)

// box is a vertex with its place.
type box struct{ x, y, w, h float64 }

// SVG writes the graph as a drawing: a column per layer, boxes in the order that
// lets few edges cross. It needs no other file and no script.
func SVG(w io.Writer, d wiring.Document) error {
	g := graphOf(d)
	boxes, width, height := g.layout()
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">`+"\n", width, height, width, height)
	b.WriteString("<title>vethtrace topology</title>\n<style>text{font:12px monospace;fill:#1b1f24}.name{font-weight:bold}.label{fill:#57606a}rect{stroke:#57606a;fill:#fff}" +
		".l0{fill:#ddf4ff}.l1{fill:#fff8c5}.l4{fill:#dafbe1}path{stroke:#57606a;fill:none}</style>\n")
	fmt.Fprintf(b, `<rect x="0" y="0" width="%.0f" height="%.0f" style="stroke:none"/>`+"\n", width, height)
	for _, e := range g.edges {
		from, to := boxes[e.from], boxes[e.to]
		x1, y1, x2, y2 := from.x+from.w, from.y+from.h/2, to.x, to.y+to.h/2
		middle := (x1 + x2) / 2
		fmt.Fprintf(b, `<path d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f"/>`+"\n", x1, y1, middle, y1, middle, y2, x2, y2)
		if e.label != "" && to.x-from.x-from.w < 2*gapX {
			fmt.Fprintf(b, `<text class="label" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", middle, (y1+y2)/2-4, quoteXML(e.label))
		}
	}
	for i, v := range g.vertices {
		at := boxes[i]
		fmt.Fprintf(b, `<g><rect class="l%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="4"/>`, v.layer, at.x, at.y, at.w, at.h)
		for j, line := range v.lines {
			class := ""
			if j == 0 {
				class = ` class="name"`
			}
			fmt.Fprintf(b, `<text%s x="%.1f" y="%.1f">%s</text>`, class, at.x+padding, at.y+padding+float64(j)*lineHeight+11, quoteXML(line))
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return flush(b)
}

// layout places the vertices: first by layer, then within it by the middle of
// what they hang on, from the wire to the container.
func (g *graph) layout() (boxes []box, width, height float64) {
	boxes = make([]box, len(g.vertices))
	columns := make([][]int, layers)
	for i, v := range g.vertices {
		longest := 0
		for _, l := range v.lines {
			longest = max(longest, utf8.RuneCountInString(l))
		}
		boxes[i].w = float64(longest)*charWidth + 2*padding
		boxes[i].h = float64(len(v.lines))*lineHeight + 2*padding
		columns[v.layer] = append(columns[v.layer], i)
	}
	rank := make([]float64, len(g.vertices))
	x := float64(margin)
	for _, column := range columns {
		if len(column) == 0 {
			continue
		}
		g.order(column, rank)
		y, widest := float64(margin), 0.0
		for place, i := range column {
			boxes[i].x, boxes[i].y = x, y
			rank[i] = float64(place)
			y += boxes[i].h + gapY
			widest = max(widest, boxes[i].w)
		}
		height = max(height, y-gapY+margin)
		x += widest + gapX
	}
	width = max(x-gapX, margin) + margin
	return boxes, width, max(height, 2*margin)
}

// order sorts a column by the mean place of what leads to each, which has been
// placed; what nothing leads to keeps its place at the end.
func (g *graph) order(column []int, rank []float64) {
	mean := map[int]float64{}
	for _, i := range column {
		sum, n := 0.0, 0.0
		for _, e := range g.edges {
			if e.to == i {
				sum, n = sum+rank[e.from], n+1
			}
		}
		mean[i] = float64(len(g.vertices))
		if n > 0 {
			mean[i] = sum / n
		}
	}
	slices.SortStableFunc(column, func(a, b int) int {
		switch {
		case mean[a] < mean[b]:
			return -1
		case mean[a] > mean[b]:
			return 1
		}
		return 0
	})
}

func quoteXML(s string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(s)) // a Builder does not fail
	return out.String()
}
