// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"html/template"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// effect is a difference that is drawn as a point with its interval.
type effect struct {
	label, note string
	class       string
	mean        *result.Estimate
	distinct    bool
	figure      template.HTML
	heading     string // above it; empty for none
}

// effects draws differences on one axis, around zero; where none can be told
// there is nothing to draw.
func effects(all []effect) template.HTML {
	var d drawing
	lo, hi, told := 0.0, 0.0, false
	for _, e := range all {
		if e.mean != nil {
			lo, hi, told = min(lo, e.mean.Lo), max(hi, e.mean.Hi), true
		}
	}
	if !told {
		d.text("p", "No difference can be told: there are too few packets or rounds.", "class", "fine")
		return d.html()
	}
	a := linear(lo, hi)
	d.open("div", "class", "rows effects")
	for _, e := range all {
		if e.heading != "" {
			d.text("h5", e.heading)
		}
		rowHead(&d, "", e.label, e.note)
		d.open("svg", "class", "lane", "height", "22", "role", "img", "aria-label", "difference of "+e.label)
		a.grid(&d)
		if e.mean != nil {
			e.draw(&d, a)
		}
		d.close("svg")
		rowEnd(&d, e.figure)
	}
	scaleRow(&d, a)
	d.close("div")
	return d.html()
}

func (e effect) draw(d *drawing, a axis) {
	class := "mark effect " + e.class
	if !e.distinct {
		class += " zero"
	}
	d.open("g", "class", class, "data-tip", e.label+": "+compare.Interval(*e.mean, true))
	zero, at := a.at(0), a.at(e.mean.Ns)
	d.mark("line", "class", "stem", "x1", percent(zero), "x2", percent(at), "y1", "11", "y2", "11")
	d.mark("line", "class", "interval", "x1", percent(a.at(e.mean.Lo)), "x2", percent(a.at(e.mean.Hi)), "y1", "11", "y2", "11")
	for _, end := range []float64{e.mean.Lo, e.mean.Hi} {
		d.mark("line", "class", "interval", "x1", percent(a.at(end)), "x2", percent(a.at(end)), "y1", "6", "y2", "16")
	}
	d.mark("circle", "cx", percent(at), "cy", "11", "r", "4.5")
	d.close("g")
}

// layerEffects are the layers of a comparison.
func layerEffects(c *comparison) []effect {
	var all []effect
	for i, l := range c.Layers {
		at := fmt.Sprintf("%s/layers/%d", c.at, i)
		e := effect{
			label: l.Layer, class: layerClass(l.Layer), mean: l.Mean,
			distinct: l.Mean != nil && (l.Mean.Lo > 0 || l.Mean.Hi < 0),
			figure:   estimate(l.Mean, at+"/difference_mean"),
		}
		if l.Share != nil {
			e.figure += " <b>" + data(page.Percent(l.Share.Share), l.Share.Share, at+"/share/share") + "</b>"
		}
		all = append(all, e)
	}
	return all
}

// rowEffects are the hops of a comparison.
func rowEffects(c *comparison) []effect {
	var all []effect
	last := "none"
	for i, r := range c.Rows {
		e := effect{
			label: r.Hop, class: layerClass(r.Layer), mean: r.Mean, distinct: r.Distinct,
			figure: estimate(r.Mean, fmt.Sprintf("%s/rows/%d/difference_mean", c.at, i)), note: onlyOne(c, r),
		}
		if r.Words != "" {
			e.figure += " <small>" + text(r.Words) + "</small>"
		}
		if r.Direction != last {
			e.heading = map[string]string{"ingress": upper(directionTitle(tracer.Ingress)), "egress": upper(directionTitle(tracer.Egress)), "": "Behind the way in"}[r.Direction]
			last = r.Direction
		}
		all = append(all, e)
	}
	return all
}

// onlyOne names the side that alone has a hop.
func onlyOne(c *comparison, r result.Row) string {
	switch {
	case r.Against == nil:
		return "only " + c.Of
	case r.Of == nil:
		return "only " + c.Against
	}
	return ""
}

// clientEffects draws what clients wait longer, way by way; those that are compared
// with the same way on one axis: docker-proxy's would make dots of all others.
func clientEffects(s *section) template.HTML {
	var bases []string
	groups := map[string][]effect{}
	for _, c := range s.comparisons {
		if c.Explained == nil {
			continue
		}
		if groups[c.Against] == nil {
			bases = append(bases, c.Against)
		}
		e := effect{
			label: c.of.title, note: "over " + c.against.title, class: "l-whole", mean: c.Explained.Client,
			figure: estimate(c.Explained.Client, c.at+"/explained/client"),
		}
		if m := c.Explained.Client; m != nil {
			base, _ := c.base()
			e.distinct = m.Lo > 0 || m.Hi < 0
			e.figure += template.HTML(" <b>" + relative(m, base) + "</b>")
		}
		groups[c.Against] = append(groups[c.Against], e)
	}
	var drawn template.HTML
	for _, base := range bases {
		drawn += effects(groups[base])
	}
	return drawn
}
