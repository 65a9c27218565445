package page

import (
	"fmt"
	"strconv"

	"github.com/vethtrace/vethtrace/tracer"
)

// Journey lays one packet's stamps out as a timeline. The bar of a line is the
// share of the whole journey that its hop took.
func Journey(j tracer.Journey, o Options) []string {
	st := o.styles()
	kind := "sampled"
	if j.Slow {
		kind = "slow"
	}
	to := "in from "
	if j.Direction == tracer.Egress {
		to = "out to "
	}
	parts := []string{
		kind + " journey " + strconv.FormatUint(j.ID, 10), Escape(j.Target), to + Escape(j.Peer),
		plural(uint64(j.Bytes), "byte"), Escape(j.End()), Duration(float64(j.Latency())),
	}
	if j.Path != "" {
		parts = append(parts, "path "+Escape(j.Path))
	}
	head := st.heading
	if j.Outcome == "dropped" {
		head = st.alarm
	}
	lines := paint(head, o.flow("", indent, "  ", parts))
	g := &grid{bar: true, columns: []column{
		{head: "since start", right: true},
		{head: "hop took", right: true},
		{head: "CPU", right: true, drop: 3},
		{head: "device", drop: 2},
		{head: "hop"},
		{head: "stamped at", drop: 1},
	}}
	rows := o.stamps(j)
	g.fit(o.width(), rows)
	lines = append(lines, g.header(st.dim))
	for _, r := range rows {
		lines = append(lines, g.line(r))
	}
	return lines
}

func (o Options) stamps(j tracer.Journey) []row {
	st := o.styles()
	whole := float64(j.Latency())
	rows := make([]row, len(j.Stamps))
	longest, at := 0.0, -1
	for i, s := range j.Stamps {
		since, took, hop, part := float64(s.T-j.Stamps[0].T), "", "start", 0.0
		if i > 0 {
			hop = Escape(s.Hop)
			ns := float64(s.T - j.Stamps[i-1].T)
			took = "+" + Duration(ns)
			if whole > 0 {
				part = ns / whole
			}
		}
		if part > longest {
			longest, at = part, i
		}
		rows[i] = row{
			cells: []string{
				Duration(since), took, strconv.Itoa(s.CPU),
				Escape(s.Device), hop, Escape(s.Hook),
			},
			bar: part, bars: st.host,
		}
	}
	if at >= 0 {
		rows[at].style = st.hot
	}
	return rows
}

// Recorded tells, where not all journeys that were recorded are there, how many
// are. Without Observer.Recorded, as in an older document, nobody knows.
func Recorded(s tracer.Snapshot) []string {
	kept, all := uint64(len(s.Journeys)), s.Observer.Recorded
	if kept >= all {
		return nil
	}
	return []string{"", fmt.Sprintf("the last %s of %s slow and sampled journeys:", Count(kept), Count(all))}
}
