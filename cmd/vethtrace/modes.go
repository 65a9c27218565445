// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/tracer"
)

// compareModes puts the demo's two targets side by side, hop by hop, and says in
// one line what the first adds over the second. Figures are medians of each
// one's busiest path of established flows with the uplink.
func compareModes(w io.Writer, s tracer.Snapshot, raw bool) error {
	if len(s.Targets) != 2 {
		return nil
	}
	a, b := s.Targets[0], s.Targets[1]
	var table strings.Builder
	var words []string
	for direction, word := range []string{tracer.Ingress: "in", tracer.Egress: "out"} {
		left, right := busiest(a, tracer.Direction(direction)), busiest(b, tracer.Direction(direction))
		if left == nil || right == nil {
			return nil // the sentences say what is missing
		}
		line(&table, "", word+", median", text.Escape(a.Name), text.Escape(b.Name), "difference")
		for _, row := range pair(left.Hops, right.Hops) {
			row.write(&table, raw)
		}
		whole := row{"whole path", cell{&left.Latency}, cell{&right.Latency}}
		whole.write(&table, raw)
		table.WriteByte('\n')
		words = append(words, word+" "+whole.words(raw))
	}
	_, err := fmt.Fprintf(w, "\n%s%s against %s: %s\n", table.String(), text.Escape(a.Name), text.Escape(b.Name), strings.Join(words, "; "))
	return err
}

// line writes one line of the table.
func line(w io.Writer, indent, name, left, right, difference string) {
	fmt.Fprintf(w, "%-30s %12s %12s %12s\n", indent+name, left, right, difference)
}

// busiest is the path of established flows with the uplink that most packets took.
func busiest(t tracer.Target, d tracer.Direction) *tracer.Path {
	var most *tracer.Path
	for i := range t.Paths {
		p := &t.Paths[i]
		if p.Direction == d && p.Peer == "uplink" && p.Flow == "established" && (most == nil || p.Packets > most.Packets) {
			most = p
		}
	}
	return most
}

// row is a hop of either path, or of both.
type row struct {
	name        string
	left, right cell
}

// pair lines up two lists of hops by name and side: in the order of the left
// one, which is the longer way; what only the right one has comes behind.
func pair(left, right []tracer.Hop) []row {
	var rows []row
	used := map[int]bool{}
	for i := range left {
		l := row{name: left[i].Name, left: cell{&left[i].Latency}}
		if left[i].Side == tracer.SideTarget {
			l.name += " (target)"
		}
		for j := range right {
			if !used[j] && right[j].Name == left[i].Name && (right[j].Side == left[i].Side || lastOf(left, i)) {
				used[j] = true
				l.right = cell{&right[j].Latency}
				break
			}
		}
		rows = append(rows, l)
	}
	for j := range right {
		if !used[j] {
			rows = append(rows, row{name: right[j].Name, right: cell{&right[j].Latency}})
		}
	}
	return rows
}

// lastOf tells whether no later hop has the name of that one: a hop of the
// container's own namespace is then compared with the host's.
func lastOf(hops []tracer.Hop, i int) bool {
	for _, h := range hops[i+1:] {
		if h.Name == hops[i].Name {
			return false
		}
	}
	return true
}

// cell is a latency, or none.
type cell struct{ *tracer.Latency }

func (c cell) median(raw bool) (float64, bool) {
	if c.Latency == nil {
		return 0, false
	}
	summary := c.Corrected()
	if raw {
		summary = c.Raw()
	}
	if summary.P50Ns == nil {
		return 0, false
	}
	return *summary.P50Ns, true
}

// write writes a row of the table. A hop that only one side has is its own difference.
func (r row) write(w io.Writer, raw bool) {
	a, okA := r.left.median(raw)
	b, okB := r.right.median(raw)
	gap := "-"
	if (okA || r.left.Latency == nil) && (okB || r.right.Latency == nil) {
		gap = difference(a - b)
	}
	line(w, "  ", r.name, shown(a, okA), shown(b, okB), gap)
}

// words says the same in a sentence.
func (r row) words(raw bool) string {
	a, okA := r.left.median(raw)
	b, okB := r.right.median(raw)
	if !okA || !okB {
		return "too few packets"
	}
	return fmt.Sprintf("%s against %s (%s)", text.Duration(a), text.Duration(b), difference(a-b))
}

func shown(ns float64, ok bool) string {
	if !ok {
		return "-"
	}
	return text.Duration(ns)
}

func difference(ns float64) string {
	if ns < 0 {
		return "-" + text.Duration(-ns)
	}
	return "+" + text.Duration(ns)
}
