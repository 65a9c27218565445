package page

import (
	"fmt"
	"slices"

	"github.com/vethtrace/vethtrace/internal/result"
)

// Result lays out a whole result: what it was measured in where that differs,
// a table per load, and the comparisons.
func Result(d result.Document, o Options) []string {
	st := o.styles()
	var lines []string
	if d.Kind == result.KindCompare && d.Environment == nil {
		lines = append(append(lines, circumstances(d, o)...), "")
	}
	if d.Bench != nil {
		lines = append(append(lines, benchTables(*d.Bench, o)...), "")
	}
	swapped := len(d.Sides) == 2 && len(d.Comparisons) > 0 && d.Sides[0].Name == d.Comparisons[0].Against
	load := ""
	for _, c := range d.Comparisons {
		if d.Bench != nil && c.Load != load {
			load = c.Load
			lines = append(lines, Rule(o), st.heading.Render(o.cut(loadTitle(*d.Bench, load))))
		}
		if d.Bench != nil {
			lines = append(lines, "")
		}
		lines = append(lines, Comparison(c, swapped, o)...)
	}
	if d.Environment != nil && d.Caution != "" { // of saved ones it stands where their environments do
		lines = append(lines, o.prose("caution: ", Escape(d.Caution)+".", st.warn)...)
	}
	for _, note := range d.Notes {
		lines = append(lines, o.prose("note: ", Escape(note), st.warn)...)
	}
	if d.Bench != nil {
		lines = append(append(lines, Rule(o)), o.prose("", Escape(d.Answer)+".", st.bold)...)
	}
	return lines
}

// circumstances are what differs in the environments of two saved documents.
func circumstances(d result.Document, o Options) []string {
	st := o.styles()
	lines := []string{st.heading.Render("what differs in the environments")}
	if len(d.Differences) == 0 {
		text := "nothing that is recorded"
		if slices.ContainsFunc(d.Sides, func(s result.Side) bool { return s.Environment == nil }) {
			text = "not known: a document has no environment"
		}
		lines = append(lines, indent+text)
	}
	if len(d.Differences) > 0 {
		g := &grid{columns: []column{{head: "key"}, {head: "first"}, {head: "second"}}}
		var rows []row
		for _, x := range d.Differences {
			rows = append(rows, row{cells: []string{Escape(x.Key), Escape(x.Against), Escape(x.Of)}})
		}
		g.fit(o.width(), rows)
		lines = append(lines, g.header(st.dim))
		for _, r := range rows {
			lines = append(lines, g.line(r))
		}
	}
	if d.Caution != "" {
		lines = append(lines, o.prose("", Escape(d.Caution)+".", st.warn)...)
	}
	return lines
}

func loadTitle(b result.Bench, name string) string {
	for _, l := range b.Loads {
		if l.Name == name {
			return Escape(l.Title)
		}
	}
	return Escape(name)
}

// benchTables has a table per load: what the client saw by each way.
func benchTables(b result.Bench, o Options) []string {
	st := o.styles()
	upTo := ""
	if b.Cut {
		upTo = "up to "
	}
	lines := o.prose("", fmt.Sprintf("%s world, %s%d rounds of %.0f ms for each way and load, and as many without tracing",
		Escape(b.World), upTo, b.Rounds, b.RoundS*1e3), st.dim)
	for _, l := range b.Loads {
		lines = append(lines, "", st.heading.Render(o.cut(Escape(l.Title))))
		g := &grid{columns: []column{
			{head: "way"},
			{head: "mean", right: true},
			{head: "p50", right: true, drop: 3},
			{head: "p99", right: true, drop: 2},
			{head: "a second", right: true, drop: 1},
			{head: "tracing added", right: true, drop: 4},
			{head: "failed", right: true, drop: 5},
		}}
		var rows []row
		for _, c := range b.Cells {
			if c.Load == l.Name {
				rows = append(rows, row{cells: benchCells(c)})
			}
		}
		g.fit(o.width(), rows)
		lines = append(lines, g.header(st.dim))
		for _, r := range rows {
			lines = append(lines, g.line(r))
		}
	}
	for _, left := range b.LeftOut {
		lines = append(lines, o.prose("left out: ", Escape(left), st.warn)...)
	}
	if b.Others.Caution != "" {
		lines = append(lines, o.prose("caution: ", Escape(b.Others.Caution)+".", st.warn)...)
	}
	return lines
}

func benchCells(c result.Cell) []string {
	l := c.Untraced.Latency
	quantile := func(q *float64) string {
		if q == nil {
			return "-"
		}
		return Duration(*q)
	}
	rate := "-"
	if c.Untraced.BusyS > 0 {
		rate = Quantity(float64(c.Untraced.Requests)/c.Untraced.BusyS, "")
	}
	return []string{
		Escape(c.Way), Duration(l.MeanNs), quantile(l.P50Ns), quantile(l.P99Ns), rate, signed(c.TracingAdded),
		Count(c.Traced.Errors + c.Untraced.Errors),
	}
}
