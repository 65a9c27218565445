package page

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/vethtrace/vethtrace/internal/result"
)

// Comparison lays out one comparison: its rows, direction by direction, its
// layers and its verdict. swapped puts the side that the difference is taken
// against first, as that of a document that was named first.
func Comparison(c result.Comparison, swapped bool, o Options) []string {
	st := o.styles()
	lines := o.flow("", indent, "  ", []string{
		Escape(c.Of) + " - " + Escape(c.Against), Escape(c.Class), fmt.Sprintf("%d and %d rounds", c.Rounds[0], c.Rounds[1]),
	})
	paint(st.bold, lines)
	if len(c.Rows) > 0 {
		lines = append(lines, comparisonRows(c, swapped, o)...)
		lines = append(append(lines, ""), comparisonLayers(c, o)...)
	}
	if c.Explained != nil {
		lines = append(append(lines, ""), explained(c, o)...)
	}
	return append(append(lines, ""), o.prose("", Escape(c.Verdict)+".", st.bold)...)
}

// comparisonGrid has the columns of all rows. Names of the sides stand above two each.
func comparisonGrid(c result.Comparison, swapped bool) *grid {
	first, second := Escape(c.Of), Escape(c.Against)
	if swapped {
		first, second = second, first
	}
	return &grid{columns: []column{
		{head: "hop"},
		{head: shorten(first, 16) + " p50", right: true},
		{head: "p99", right: true, drop: 2},
		{head: shorten(second, 16) + " p50", right: true},
		{head: "p99", right: true, drop: 3},
		{head: "mean by", right: true},
		{head: "95% interval", right: true},
		{head: "p99 by", right: true, drop: 1},
		{head: "share", right: true},
		{head: "", drop: 4},
	}}
}

func comparisonRows(c result.Comparison, swapped bool, o Options) []string {
	st := o.styles()
	g := comparisonGrid(c, swapped)
	var rows []row
	at := map[int]string{} // titles, before the row of that index
	titles := map[string]string{"ingress": "in (towards the socket)", "egress": "out (from the socket)", "": "behind the way in"}
	last := "none"
	for _, r := range c.Rows {
		if r.Direction != last {
			at[len(rows)] = titles[r.Direction]
			last = r.Direction
		}
		rows = append(rows, comparisonRow(r, swapped, st))
		if path := pathOf(c, r); path != nil {
			rows = append(rows, comparisonRow(*path, swapped, st))
			rows[len(rows)-1].style = st.bold
		}
	}
	whole := comparisonRow(c.Whole, swapped, st)
	whole.cells[0], whole.style = "whole (means)", st.bold
	rows = append(rows, whole)
	g.fit(o.width(), rows)
	lines := []string{g.header(st.dim)}
	for i, r := range rows {
		if title, ok := at[i]; ok {
			lines = append(lines, indent+st.heading.Render(title))
		}
		lines = append(lines, g.line(r))
	}
	if slices.ContainsFunc(c.Rows, func(r result.Row) bool { return shortWords(r.Words) == nothing }) {
		lines = append(lines, o.prose(indent, nothing+": not distinguishable from zero, all rows taken together", st.dim)...)
	}
	return lines
}

// nothing stands in a row whose difference may be none.
const nothing = "~0"

// pathOf is the whole path's row, behind the last row of its direction.
func pathOf(c result.Comparison, r result.Row) *result.Row {
	last := -1
	for i := range c.Rows {
		if c.Rows[i].Direction == r.Direction {
			last = i
		}
	}
	if c.Rows[last] != r {
		return nil
	}
	i := slices.IndexFunc(c.Paths, func(p result.Row) bool { return p.Direction == r.Direction })
	if i < 0 {
		return nil
	}
	return &c.Paths[i]
}

func comparisonRow(r result.Row, swapped bool, st styles) row {
	first, second := r.Of, r.Against
	if swapped {
		first, second = second, first
	}
	name := Escape(r.Hop)
	if r.Side == "target" {
		name += " (target)"
	}
	if r.Hop == "path" {
		name = "whole path"
	}
	cells := []string{indent + name}
	if r.Hop == "whole" { // it has means only
		cells = append(cells, Duration(first.MeanNs), "", Duration(second.MeanNs), "")
	} else {
		cells = append(cells, figureCells(first)...)
		cells = append(cells, figureCells(second)...)
	}
	cells = append(cells, signed(r.Mean), interval(r.Mean), signed(r.P99), share(r.Share), shortWords(r.Words))
	style := lipgloss.NewStyle()
	if !r.Distinct {
		style = st.dim
	}
	return row{cells: cells, style: style}
}

func figureCells(f *result.Figures) []string {
	return []string{
		quantileCell(f, func(f *result.Figures) *float64 { return f.P50Ns }),
		quantileCell(f, func(f *result.Figures) *float64 { return f.P99Ns }),
	}
}

// quantileCell is empty where a side has no such hop, and - where its figure
// may not be told.
func quantileCell(f *result.Figures, of func(*result.Figures) *float64) string {
	switch {
	case f == nil:
		return ""
	case of(f) == nil:
		return "-"
	}
	return Duration(*of(f))
}

func signed(e *result.Estimate) string {
	if e == nil {
		return "-"
	}
	return plus(e.Ns)
}

func plus(ns float64) string {
	text := Duration(ns)
	if ns >= 0 {
		return "+" + text
	}
	return text
}

func interval(e *result.Estimate) string {
	if e == nil {
		return "-"
	}
	return "[" + plus(e.Lo) + ", " + plus(e.Hi) + "]"
}

func share(s *result.Share) string {
	if s == nil {
		return ""
	}
	return Percent(s.Share)
}

func shortWords(words string) string {
	if words == "not distinguishable from zero" {
		return nothing
	}
	return words
}

func comparisonLayers(c result.Comparison, o Options) []string {
	st := o.styles()
	g := &grid{columns: []column{
		{head: "layer (means)"}, {head: "difference", right: true}, {head: "95% interval", right: true}, {head: "share", right: true},
	}, bar: true}
	var rows []row
	for _, l := range c.Layers {
		r := row{cells: []string{indent + Escape(l.Layer), signed(l.Mean), interval(l.Mean), share(l.Share)}, bars: st.hot}
		if l.Share != nil {
			r.bar = l.Share.Share
		}
		rows = append(rows, r)
	}
	g.fit(o.width(), rows)
	lines := []string{g.header(st.dim)}
	for _, r := range rows {
		lines = append(lines, g.line(r))
	}
	return lines
}

// explained lays out what the client saw against what the hops say.
func explained(c result.Comparison, o Options) []string {
	st := o.styles()
	e := c.Explained
	g := &grid{columns: []column{{head: "the client's mean"}, {head: "difference", right: true}, {head: "95% interval", right: true}}}
	var rows []row
	add := func(name string, estimate *result.Estimate, style lipgloss.Style) {
		rows = append(rows, row{cells: []string{indent + name, signed(estimate), interval(estimate)}, style: style})
	}
	add("not traced", e.Client, st.bold)
	add("  hops of a request", e.Hops, lipgloss.NewStyle())
	for _, p := range e.Parts {
		add("  "+Escape(p.Name), &p.Mean, lipgloss.NewStyle())
	}
	if e.NotSeen != nil {
		add("  "+Escape(e.NotSeen.Name), &e.NotSeen.Mean, lipgloss.NewStyle())
	}
	add("traced", e.ClientTraced, st.dim)
	g.fit(o.width(), rows)
	lines := []string{g.header(st.dim)}
	for _, r := range rows {
		lines = append(lines, g.line(r))
	}
	if words := Disturbed(e); words != "" {
		lines = append(lines, o.prose(indent, words+".", st.dim)...)
	}
	if s := c.ExplainedShare; s != nil {
		return append(lines, o.prose(indent, fmt.Sprintf("explained: %.1f%% [%.1f%%, %.1f%%] of what the client waits longer is seen in the hops.",
			s.Share*100, s.Lo*100, s.Hi*100), st.bold)...)
	}
	return append(lines, o.prose(indent, "explained: no share, for "+Escape(c.ExplainedReason)+".", st.dim)...)
}

// Disturbed says which rounds what is explained is made of, and what other work
// took of them; "" where it took next to nothing.
func Disturbed(e *result.Explained) string {
	const worthWords = 0.02
	var parts []string
	if e.LeftOut > 0 {
		slowed := ""
		if e.Slow > e.SlowKept {
			slowed = ", or slowed it from another one of the same core"
		}
		parts = append(parts, fmt.Sprintf("%d of %d rounds are left out: other work took more than 2%% of the CPU in them%s", e.LeftOut, e.Rounds, slowed))
	}
	if s := e.OthersShare; s != nil && *s > worthWords {
		parts = append(parts, fmt.Sprintf("in what is left it took up to %s: the share is lower, by at least as much", Percent(*s)))
	}
	if float64(e.SlowKept) > worthWords*float64(e.Rounds) {
		parts = append(parts, fmt.Sprintf("%d of those that stay were slowed: figures are longer, and the share may be off to either side by more than its interval", e.SlowKept))
	}
	return strings.Join(parts, "; ")
}
