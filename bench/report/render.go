// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"strings"
)

// columns of the table, in both renderings.
func columns() []string {
	return []string{
		"load", "way", "arm", "without", "with", "ratio", "95% interval", "all units", "goal",
		"runs", "goal", "stamps in + out", "completed", "evicted", "verdict",
	}
}

// cells of one row.
func (r Row) cells(noisy bool) []string {
	cells := []string{
		r.Load, r.Way, r.Arm, r.cost(r.WithoutNs), r.cost(r.WithNs), fmt.Sprintf("x%.3f", r.Ratio),
		fmt.Sprintf("[%.3f, %.3f]", r.Interval.Lo, r.Interval.Hi), fmt.Sprintf("x%.3f", r.MeanRatio),
	}
	switch {
	case r.Kind == KindSame:
		cells = append(cells, "1.000")
	case r.Goal > 0:
		cells = append(cells, fmt.Sprintf("<= %.3f", r.Goal))
	default:
		cells = append(cells, "-")
	}
	if r.Kind == KindSame || r.Kind == KindPeer {
		return append(cells, "-", "-", "-", "-", "-", r.Verdict(noisy))
	}
	cells = append(cells, fmt.Sprintf("%.2f + %.2f", r.Runs, r.WindowRuns))
	if r.RunsGoal > 0 {
		cells = append(cells, fmt.Sprintf("<= %.0f", r.RunsGoal))
	} else {
		cells = append(cells, "-")
	}
	if r.Kind == KindBystander {
		return append(cells, "-", "-", "-", r.Verdict(noisy))
	}
	return append(cells, fmt.Sprintf("%.2f + %.2f", r.Stamps[0], r.Stamps[1]),
		fmt.Sprintf("%.3f%%", r.Completed*100), fmt.Sprint(r.Evicted), r.Verdict(noisy))
}

// cost is what a unit takes; where many are under way or nobody waits for one, also how many there are in a second.
func (r Row) cost(ns float64) string {
	if r.Unit == "round trip" {
		return us(ns)
	}
	return fmt.Sprintf("%s (%.1f k/s)", us(ns), 1e6/ns)
}

func us(ns float64) string { return fmt.Sprintf("%.2f us", ns/1e3) }

// Text renders the result for a terminal.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "vethtrace %s, %s, %s\n%s\n\n", r.Version, r.Date, r.Machine.line(), r.Scheme.line())
	writeAligned(&b, r.table(), 3)
	if comparisons := r.comparisonTable(); len(comparisons) > 1 {
		b.WriteByte('\n')
		writeAligned(&b, comparisons, 1)
	}
	fmt.Fprintf(&b, "\n%s\n%s\n", r.bodyLine(), r.noiseLines())
	return b.String()
}

func (r Result) table() [][]string {
	table := [][]string{columns()}
	for _, row := range r.Rows {
		table = append(table, row.cells(len(r.TooNoisy(row.Group())) > 0))
	}
	return table
}

func (r Result) comparisonTable() [][]string {
	table := [][]string{comparisonColumns()}
	for _, c := range r.Comparisons {
		table = append(table, c.cells(len(r.TooNoisy(c.Group)) > 0))
	}
	return table
}

// writeAligned writes a table whose first columns are words and whose others, but the last, are figures.
func writeAligned(b *strings.Builder, table [][]string, words int) {
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range table {
		for i, cell := range row {
			switch {
			case i == len(row)-1:
				b.WriteString(cell)
			case i < words:
				fmt.Fprintf(b, "%-*s  ", widths[i], cell)
			default:
				fmt.Fprintf(b, "%*s  ", widths[i], cell)
			}
		}
		b.WriteByte('\n')
	}
}

func (m Machine) line() string {
	kind := "cores"
	if m.Virtual {
		kind = "cores of a virtual machine"
	}
	return fmt.Sprintf("kernel %s, %s, %d %s", m.Kernel, m.CPU, m.Cores, kind)
}

func (s Scheme) line() string {
	return fmt.Sprintf("%d pairs per arm with a narrow goal, %d per other arm, in random order (seed %d); each span of %d windows of %.0f ms with, between %d and %d without; wire: %s",
		s.Pairs, s.Few, s.Seed, s.With, s.WindowMs, s.Without, s.Without, cmp.Or(s.Wire, WireVeth))
}

func (r Result) bodyLine() string {
	return fmt.Sprintf("body of a stamp: %.1f ns, of which the clock read %.1f ns: clock + %.1f ns (goal: clock + %.0f ns), %s; "+
		"at the hook %.1f ns, the histogram at the end %.1f ns; a whole journey of 9 stamps, start and end included: %.1f ns per stamp; counted %d of %d runs",
		r.Body.StampNs, r.Body.ClockNs, r.Body.OverClock(), BodyGoal, r.BodyVerdict(),
		r.Body.HookNs, r.Body.StampNs-r.Body.HookNs, r.Body.JourneyNs, r.Body.Counted, r.Body.Expected)
}

// noiseLines says what of the run does not count, a line each.
func (r Result) noiseLines() string {
	var lines []string
	for _, group := range r.Groups() {
		if why := r.TooNoisy(group); len(why) > 0 {
			lines = append(lines, fmt.Sprintf("TOO NOISY, these rows do not count: %s: %s", group, strings.Join(why, "; ")))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, fmt.Sprintf("A/A holds everywhere; other work took %.1f%% of a CPU before and after the run", r.Busy*100))
	}
	if quiet := r.quietLine(); quiet != "" {
		lines = append(lines, quiet)
	}
	return strings.Join(lines, "\n")
}
