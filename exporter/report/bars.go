// SPDX-License-Identifier: Apache-2.0

package report

import (
	"html/template"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer"
)

// rowHead begins a row: what it is, in front of its lane.
func rowHead(d *drawing, class, label, note string) {
	d.open("div", "class", "row "+class)
	d.open("span", "class", "what")
	d.text("span", label)
	if note != "" {
		d.text("small", note)
	}
	d.close("span")
}

// rowEnd is the figure behind the lane.
func rowEnd(d *drawing, figure template.HTML) {
	d.open("span", "class", "figure")
	d.b.WriteString(string(figure))
	d.close("span")
	d.close("div")
}

// scaleRow is the axis below rows.
func scaleRow(d *drawing, a axis) {
	rowHead(d, "scale", "", "")
	a.scale(d)
	rowEnd(d, "")
}

// directionTitle says what a direction is.
func directionTitle(d tracer.Direction) string {
	if d == tracer.Egress {
		return "out (from the socket)"
	}
	return "in (towards the socket)"
}

// stacked draws a bar of hops for each side and direction, on one scale.
func stacked(sides []*side) template.HTML {
	longest := 0.0
	for _, s := range sides {
		for _, p := range s.paths {
			longest = max(longest, sumOf(s, p))
		}
	}
	a := linear(0, longest)
	var d drawing
	var names legend
	d.open("div", "class", "rows bars")
	for _, direction := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
		d.text("h5", upper(directionTitle(direction)))
		for _, s := range sides {
			stackedRow(&d, s, direction, a, &names)
		}
	}
	scaleRow(&d, a)
	d.close("div")
	names.draw(&d)
	return d.html()
}

// sumOf is the sum of a path's means that are drawn.
func sumOf(s *side, p *tracer.Path) (total float64) {
	if p == nil {
		return 0
	}
	for _, h := range p.Hops {
		sum, _ := s.summary(h.Latency)
		total += max(sum.MeanNs, 0)
	}
	return total
}

func stackedRow(d *drawing, s *side, direction tracer.Direction, a axis, names *legend) {
	rowHead(d, "", s.title, "")
	d.open("svg", "class", "lane", "height", "26", "role", "img", "aria-label", "hops of "+s.title)
	a.grid(d)
	p := s.paths[direction]
	if p == nil {
		d.close("svg")
		rowEnd(d, none)
		return
	}
	at := 0.0
	for _, h := range p.Hops {
		sum, _ := s.summary(h.Latency)
		layer := s.layer(direction, h.Name)
		names.add(layer)
		tip := h.Name + ": mean " + page.Duration(sum.MeanNs) + ", median " + quantileText(sum.P50Ns)
		segment(d, a, at, at+max(sum.MeanNs, 0), layer, tip)
		at += max(sum.MeanNs, 0)
	}
	d.close("svg")
	whole, key := s.summary(p.Latency)
	rowEnd(d, nanos(whole.MeanNs, s.pathAt[direction]+"/latency/"+key+"/mean_ns"))
}

// segment is a piece of a bar, with its name in it where there is room.
func segment(d *drawing, a axis, from, to float64, layer, tip string) {
	x, w := a.at(from), a.at(to)-a.at(from)
	d.open("g", "class", "mark "+layerClass(layer), "data-tip", tip)
	d.mark("rect", "x", percent(x), "width", percent(w), "y", "2", "height", "22")
	word := layerWord(layer)
	if w >= float64(len(word)+1) { // a letter needs a percent of the narrowest lane that has words
		d.text("text", word, "x", percent(x+w/2), "y", "17", "text-anchor", "middle")
	}
	d.close("g")
}
