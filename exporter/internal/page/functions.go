package page

import (
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// functions are the rows of a hop's functions, beneath it: what each took with
// the functions that it called (in the columns of hops) and without (behind
// them), and what is left of the hop.
func (o Options) functions(h tracer.Hop) []row {
	if len(h.Functions) == 0 {
		return nil
	}
	st := o.styles()
	rows := make([]row, 0, len(h.Functions)+1)
	for _, f := range h.Functions {
		name := "  " + strings.Repeat("  ", f.Depth) + Escape(f.Name)
		rows = append(rows, o.function(name, h, f.Inclusive, f.Exclusive))
	}
	if h.Own == nil { // of a document that leaves it out
		return rows
	}
	own := o.function("  (own)", h, *h.Own, *h.Own)
	own.style = st.dim
	return append(rows, own)
}

// function is one such row; its share is that of the hop, exclusive.
func (o Options) function(name string, h tracer.Hop, inclusive, exclusive tracer.Latency) row {
	s, own := o.summary(inclusive), o.summary(exclusive)
	r := row{cells: cells(name, "", "", s), style: o.styles().dim, inner: true}
	if whole := h.Latency.Raw().SumNs; whole > 0 {
		r.cells[8] = Percent(own.SumNs/whole) + " of hop"
	}
	if own.Count > 0 {
		r.note = "alone " + Duration(own.MeanNs)
	}
	return r
}
