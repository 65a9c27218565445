// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// curve is a cumulative distribution: which share of all values lies below.
type curve struct {
	upper, below []float64
}

// curveOf reads buckets: lower bound and count of each.
func curveOf(buckets [][2]uint64, greatest uint64, null float64) curve {
	var total, seen float64
	for _, b := range buckets {
		total += float64(b[1])
	}
	var c curve
	for i, b := range buckets {
		if i == 0 {
			c.upper, c.below = append(c.upper, float64(b[0])-null), append(c.below, 0)
		}
		seen += float64(b[1])
		upper := min(float64(histogram.Upper(histogram.Index(b[0]))), float64(greatest)+1)
		c.upper, c.below = append(c.upper, upper-null), append(c.below, seen/total)
	}
	return c
}

func curveOfLatency(l tracer.Latency, raw bool) curve {
	var buckets [][2]uint64
	l.Hist.Each(func(lower, count uint64) { buckets = append(buckets, [2]uint64{lower, count}) })
	null := l.Null.MedianNs
	if raw {
		null = 0
	}
	return curveOf(buckets, l.Hist.Max, null)
}

// reach is the upper bound below which a share lies.
func (c curve) reach(share float64) float64 {
	for i, b := range c.below {
		if b >= share {
			return c.upper[i]
		}
	}
	return 0
}

// panel is a small plot of one or two distributions.
type panel struct {
	title       string
	class       string
	of, against curve
	figures     [2]*result.Figures // of, against; nil for none
	at          string             // of the row that has them
	medians     [2]string          // where the medians stand, if not there
}

// width of the drawing within a panel, which is stretched to its place.
const panelWidth, panelHeight = 1000, 100

// domain has room for all but the last thousandth of every curve.
func domain(panels []panel) axis {
	lo, hi := math.Inf(1), 0.0
	for _, p := range panels {
		for _, c := range []curve{p.of, p.against} {
			if len(c.upper) > 0 {
				lo, hi = min(lo, c.reach(0.001)), max(hi, c.reach(0.999))
			}
		}
	}
	const shortest = 10 // ns: below it the clock and the stamps are all there is
	return logarithmic(max(min(lo, hi), shortest), max(hi, shortest))
}

// curves draws panels on one axis.
func curves(panels []panel, of, against string) template.HTML {
	a := domain(panels)
	var d drawing
	d.open("p", "class", "legend")
	for _, k := range [][2]string{{"of", of}, {"against", against}} {
		d.open("span")
		d.open("svg", "width", "26", "height", "10", "aria-hidden", "true")
		d.mark("line", "x1", "0", "x2", "26", "y1", "5", "y2", "5", "class", "curve "+k[0])
		d.close("svg")
		d.text("span", k[1])
		d.close("span")
	}
	d.close("p")
	d.open("div", "class", "panels")
	for _, p := range panels {
		p.draw(&d, a, of, against)
	}
	d.close("div")
	return d.html()
}

func (p panel) draw(d *drawing, a axis, of, against string) {
	d.open("figure", "class", "panel "+p.class)
	d.open("figcaption")
	d.text("span", p.title)
	d.open("small")
	for i, key := range []string{"of", "against"} {
		if i == 1 {
			d.b.WriteString(" / ")
		}
		if p.figures[i] == nil {
			d.b.WriteString(none)
			continue
		}
		d.b.WriteString(string(quantile(p.figures[i].P50Ns, cmp.Or(p.medians[i], p.at+"/"+key+"/p50_ns"))))
	}
	d.close("small")
	d.close("figcaption")
	d.open("svg", "class", "ecdf", "role", "img", "aria-label", "cumulative distribution, "+p.title,
		"data-lo", strconv.FormatFloat(a.lo, 'g', -1, 64), "data-hi", strconv.FormatFloat(a.hi, 'g', -1, 64))
	for _, share := range []string{"0%", "50%", "100%"} {
		d.mark("line", "x1", "0", "x2", "100%", "y1", share, "y2", share, "class", "grid")
	}
	a.grid(d)
	d.text("text", "50%", "x", "3", "y", "50%", "dy", "-3", "class", "share")
	d.text("text", "100%", "x", "3", "y", "0", "dy", "11", "class", "share")
	d.open("svg", "viewBox", fmt.Sprintf("0 0 %d %d", panelWidth, panelHeight), "preserveAspectRatio", "none")
	for _, c := range []struct {
		class, name string
		curve       curve
	}{{"against", against, p.against}, {"of", of, p.of}} {
		if len(c.curve.upper) > 0 {
			d.mark("polyline", "class", "mark curve "+c.class, "points", c.curve.points(a), "data-name", c.name)
		}
	}
	d.close("svg")
	d.close("svg")
	a.scale(d)
	d.close("figure")
}

// points are those of the curve within the axis, and where it enters and leaves it.
func (c curve) points(a axis) string {
	var b strings.Builder
	last := 0.0
	for i, v := range c.upper {
		outside := v < a.lo && i+1 < len(c.upper) && c.upper[i+1] < a.lo || v > a.hi && i > 0 && c.upper[i-1] > a.hi
		if outside {
			continue
		}
		const fine = 0.0005 // of all values: no eye sees it
		if i > 0 && i+1 < len(c.upper) && c.upper[i+1] <= a.hi && c.below[i]-last < fine && c.below[i+1]-c.below[i] < fine {
			continue
		}
		last = c.below[i]
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(int(math.Round(a.at(v) * panelWidth / 100)))) // about a pixel
		b.WriteByte(',')
		b.WriteString(short((1 - c.below[i]) * panelHeight))
	}
	return b.String()
}

// short has a tenth of a unit: of a share, a thousandth.
func short(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// hopPanels has the whole path of each direction, and each hop.
func hopPanels(c *comparison) []panel {
	var panels []panel
	for i, r := range c.Paths {
		d := directionOf(r.Direction)
		p := panel{title: prefix(r.Direction) + "whole path", class: "l-whole", figures: [2]*result.Figures{r.Of, r.Against}, at: fmt.Sprintf("%s/paths/%d", c.at, i)}
		if path := c.of.paths[d]; path != nil && r.Of != nil {
			p.of = curveOfLatency(path.Latency, c.Raw)
		}
		if path := c.against.paths[d]; path != nil && r.Against != nil {
			p.against = curveOfLatency(path.Latency, c.Raw)
		}
		panels = append(panels, p)
	}
	var next [2]map[tracer.Direction]int // a side's hops stand in the rows in their order
	next[0], next[1] = map[tracer.Direction]int{}, map[tracer.Direction]int{}
	for i, r := range c.Rows {
		p := panel{
			title: prefix(r.Direction) + r.Hop, class: layerClass(r.Layer),
			figures: [2]*result.Figures{r.Of, r.Against}, at: fmt.Sprintf("%s/rows/%d", c.at, i),
		}
		for k, s := range []*side{c.of, c.against} {
			if p.figures[k] == nil {
				continue
			}
			l, ok := s.latency(r, next[k])
			if !ok {
				continue
			}
			if k == 0 {
				p.of = curveOfLatency(l, c.Raw)
			} else {
				p.against = curveOfLatency(l, c.Raw)
			}
		}
		panels = append(panels, p)
	}
	return panels
}

// prefix says the direction before a hop's name.
func prefix(direction string) string {
	switch direction {
	case tracer.Ingress.String():
		return "in: "
	case tracer.Egress.String():
		return "out: "
	}
	return ""
}

// latency is a row's, of the hop that comes next in its direction.
func (s *side) latency(r result.Row, next map[tracer.Direction]int) (tracer.Latency, bool) {
	if r.Direction == "" { // the socket
		if s.target == nil {
			return tracer.Latency{}, false
		}
		return s.target.Waiting.Transport, true
	}
	d := directionOf(r.Direction)
	p := s.paths[d]
	if p == nil || next[d] >= len(p.Hops) {
		return tracer.Latency{}, false
	}
	next[d]++
	return p.Hops[next[d]-1].Latency, true
}

func directionOf(name string) tracer.Direction {
	if name == tracer.Egress.String() {
		return tracer.Egress
	}
	return tracer.Ingress
}
