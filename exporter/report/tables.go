// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"html/template"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// table is rows of cells below a head. Its cells are HTML for one page and text
// for the other: both are made of the same rows.
type table struct {
	head []string
	rows [][]template.HTML
	left int // columns of words, before those of figures
}

func (t *table) add(cells ...template.HTML) { t.rows = append(t.rows, cells) }

// Head is the row above all others.
func (t table) Head() []string { return t.head }

// Rows are those of cells.
func (t table) Rows() [][]template.HTML { return t.rows }

// Left is how many columns, before those of figures, are words.
func (t table) Left() int { return t.left }

// Words tells whether there is no figure in it: its cells may be long.
func (t table) Words() bool { return t.left >= len(t.head) }

// text is a cell of words from outside.
func text(s string) template.HTML { return template.HTML(template.HTMLEscapeString(page.Escape(s))) }

// link is a cell that leads to a place of the page.
func link(s, id string) template.HTML {
	var d drawing
	d.text("a", s, "href", "#"+id)
	return d.html()
}

// overview has what clients wait, by load and way.
func overview(r *reading) table {
	t := table{head: []string{"Load", "Way", "Against", "Client waits", "Longer by", "", "Of it in the hops", "Explained share"}, left: 3}
	for _, s := range r.sections {
		for _, c := range s.comparisons {
			e := c.Explained
			if e == nil || c.against.cell == nil {
				continue
			}
			base, at := c.base()
			t.add(link(s.load.Name, s.id), text(c.Of), text(c.Against), nanos(base, at),
				estimate(e.Client, c.at+"/explained/client"), text(relative(e.Client, base)),
				estimate(e.Hops, c.at+"/explained/hops"), part(c.ExplainedShare, c.at+"/explained_share"))
		}
	}
	return t
}

// clients has what the clients of a load saw.
func clients(s *section) table {
	t := table{head: []string{"Way", "Requests", "Failed", "Mean", "p50", "p90", "p99", "Max", "Mean while traced", "Tracing added"}, left: 1}
	for _, one := range s.sides {
		if one.cell == nil {
			continue
		}
		u, at := one.cell.Untraced, one.cellAt+"/untraced"
		t.add(text(one.title), count(u.Requests, at+"/requests"), count(u.Errors, at+"/errors"),
			nanos(u.Latency.MeanNs, at+"/latency/mean_ns"), quantile(u.Latency.P50Ns, at+"/latency/p50_ns"),
			quantile(u.Latency.P90Ns, at+"/latency/p90_ns"), quantile(u.Latency.P99Ns, at+"/latency/p99_ns"),
			nanos(float64(u.Latency.MaxNs), at+"/latency/max_ns"),
			nanos(one.cell.Traced.Latency.MeanNs, one.cellAt+"/traced/latency/mean_ns"),
			estimate(one.cell.TracingAdded, one.cellAt+"/tracing_added"))
	}
	return t
}

// tripTable has the quantiles of what the clients of ways waited.
func tripTable(sides []*side) table {
	t := table{head: []string{"Way", "", "Requests", "Mean", "p50", "p90", "p99", "p99.9", "Max"}, left: 2}
	for _, s := range sides {
		for _, m := range []struct {
			key, words string
			of         result.Latency
		}{
			{"untraced", "nothing attached", s.cell.Untraced.Latency},
			{"traced", "while traced", s.cell.Traced.Latency},
		} {
			at := s.cellAt + "/" + m.key + "/latency"
			t.add(text(s.title), text(m.words), count(m.of.Count, at+"/count"), nanos(m.of.MeanNs, at+"/mean_ns"),
				quantile(m.of.P50Ns, at+"/p50_ns"), quantile(m.of.P90Ns, at+"/p90_ns"), quantile(m.of.P99Ns, at+"/p99_ns"),
				quantile(m.of.P999Ns, at+"/p999_ns"), nanos(float64(m.of.MaxNs), at+"/max_ns"))
		}
	}
	return t
}

// hops has the hops of a side's paths.
func hops(sides []*side) table {
	t := table{head: []string{"", "Direction", "Hop", "Side", "Device", "Packets", "Mean", "p50", "p90", "p99", "Max"}, left: 5}
	for _, s := range sides {
		for d, p := range s.paths {
			if p == nil {
				continue
			}
			direction := tracer.Direction(d).String()
			for i, h := range p.Hops {
				t.addLatency(s, h.Latency, fmt.Sprintf("%s/hops/%d/latency", s.pathAt[d], i), direction, h.Name, h.Side.String(), h.Device)
			}
			t.addLatency(s, p.Latency, s.pathAt[d]+"/latency", direction, "whole path", "", "")
		}
	}
	return t
}

func (t *table) addLatency(s *side, l tracer.Latency, at string, words ...string) {
	sum, key := s.summary(l)
	cells := []template.HTML{text(s.name)}
	for _, w := range words {
		cells = append(cells, text(w))
	}
	at += "/"
	cells = append(cells, count(sum.Count, at+"count"))
	at += key
	t.add(append(cells, nanos(sum.MeanNs, at+"/mean_ns"), quantile(sum.P50Ns, at+"/p50_ns"), quantile(sum.P90Ns, at+"/p90_ns"),
		quantile(sum.P99Ns, at+"/p99_ns"), nanos(float64(sum.MaxNs), at+"/max_ns"))...)
}

// layerTable has the layers of a comparison.
func layerTable(c *comparison) table {
	t := table{head: []string{"Layer", page.Escape(c.Of), page.Escape(c.Against), "Difference", "Share"}, left: 1}
	for i, l := range c.Layers {
		at := fmt.Sprintf("%s/layers/%d", c.at, i)
		var of, against template.HTML // empty where a side has none of its hops
		for _, r := range c.Rows {
			if r.Layer == l.Layer && r.Of != nil {
				of = nanos(l.Of, at+"/of_ns")
			}
			if r.Layer == l.Layer && r.Against != nil {
				against = nanos(l.Against, at+"/against_ns")
			}
		}
		t.add(text(l.Layer), of, against,
			estimate(l.Mean, at+"/difference_mean"), part(l.Share, at+"/share"))
	}
	return t
}

// rowTable has the hops of a comparison, aligned.
func rowTable(c *comparison) table {
	of, against := page.Escape(c.Of), page.Escape(c.Against)
	t := table{head: []string{
		"Direction", "Hop", of + " mean", "p50", "p99", against + " mean", "p50", "p99",
		"Difference of means", "Of p50", "Of p99", "Share", "",
	}, left: 2}
	for i, r := range c.Rows {
		t.addRow(r, fmt.Sprintf("%s/rows/%d", c.at, i))
	}
	for i, r := range c.Paths {
		t.addRow(r, fmt.Sprintf("%s/paths/%d", c.at, i))
	}
	t.addRow(c.Whole, c.at+"/whole")
	return t
}

func (t *table) addRow(r result.Row, at string) {
	name := r.Hop
	if name == "path" {
		name = "whole path"
	}
	if r.Side == "target" {
		name += " (target)"
	}
	cells := []template.HTML{text(r.Direction), text(name)}
	for i, f := range []*result.Figures{r.Of, r.Against} {
		if f == nil {
			cells = append(cells, "", "", "")
			continue
		}
		key := at + "/" + []string{"of", "against"}[i]
		cells = append(cells, nanos(f.MeanNs, key+"/mean_ns"), quantile(f.P50Ns, key+"/p50_ns"), quantile(f.P99Ns, key+"/p99_ns"))
	}
	t.add(append(cells, estimate(r.Mean, at+"/difference_mean"), estimate(r.P50, at+"/difference_p50"),
		estimate(r.P99, at+"/difference_p99"), part(r.Share, at+"/share"), text(r.Words))...)
}

// explainedTable sets what the client saw against what the hops say.
func explainedTable(c *comparison) table {
	t := table{head: []string{"The client's mean", "Difference"}, left: 1}
	e, at := c.Explained, c.at+"/explained"
	if e == nil {
		return t
	}
	t.add("longer, with nothing attached", estimate(e.Client, at+"/client"))
	t.add("of it: hops of a request", estimate(e.Hops, at+"/hops"))
	for i, p := range e.Parts {
		t.add("of it: "+text(p.Name), estimate(&p.Mean, fmt.Sprintf("%s/parts/%d/difference_mean", at, i)))
	}
	if e.NotSeen != nil {
		t.add("of it: "+text(e.NotSeen.Name), estimate(&e.NotSeen.Mean, at+"/not_seen/difference_mean"))
	}
	t.add("longer, while traced", estimate(e.ClientTraced, at+"/client_traced"))
	t.add("of it: hops as measured", estimate(e.HopsRaw, at+"/hops_raw"))
	if e.Tracing != nil {
		t.add("of it: "+text(e.Tracing.Name), estimate(&e.Tracing.Mean, at+"/tracing/difference_mean"))
	}
	return t
}
