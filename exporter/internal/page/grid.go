package page

import (
	"math"
	"strings"

	"charm.land/lipgloss/v2"
)

// column is one column of a grid.
type column struct {
	head  string
	right bool // align right
	drop  int  // order of leaving when there is no room, 0 for never
	// overBar tells that the bars show the same, and take the head over.
	overBar bool
}

// row is a line of a grid: a cell per column, and a bar behind them.
type row struct {
	cells []string
	style lipgloss.Style
	bar   float64 // 0 to 1
	note  string  // in place of the bar, where it fits
	bars  lipgloss.Style
	inner bool // belongs to the row above
}

// grid is a table with bars. Several blocks of rows may share its columns, so
// that all tables of a target line up.
type grid struct {
	columns []column
	bar     bool
	widths  []int // 0: left out
	bars    int   // width of the bar
}

const (
	gap     = 2
	minBar  = 5
	maxBar  = 24
	minCell = 3
)

// fit sets the widths for the rows: it leaves columns out, in their order,
// until the rest and a bar fit into limit, and cuts the widest ones when even
// that is too much. Without a limit (0) everything is shown.
func (g *grid) fit(limit int, rows []row) {
	g.widths = make([]int, len(g.columns))
	for i, c := range g.columns {
		g.widths[i] = lipgloss.Width(c.head)
		for _, r := range rows {
			g.widths[i] = max(g.widths[i], lipgloss.Width(r.cells[i]))
		}
	}
	least := 0
	if g.bar {
		least, g.bars = gap+minBar, maxBar
	}
	if limit == 0 {
		return
	}
	for g.total()+least > limit && g.dropNext() {
	}
	for g.total() > limit && g.narrow() {
	}
	if room := limit - g.total() - gap; g.bar && room >= minBar {
		g.bars = min(room, maxBar)
	} else {
		g.bars = 0
	}
}

// total is the width of all columns, without the bar.
func (g *grid) total() int {
	n := len(indent) - gap
	for _, w := range g.widths {
		if w > 0 {
			n += w + gap
		}
	}
	return n
}

// dropNext leaves out the next column, and tells whether there was one.
func (g *grid) dropNext() bool {
	next := -1
	for i, c := range g.columns {
		if g.widths[i] > 0 && c.drop > 0 && (next < 0 || c.drop < g.columns[next].drop) {
			next = i
		}
	}
	if next < 0 {
		return false
	}
	g.widths[next] = 0
	return true
}

// narrow takes a column from the widest cell, and tells whether it could.
func (g *grid) narrow() bool {
	widest := 0
	for i, w := range g.widths {
		if w > g.widths[widest] {
			widest = i
		}
	}
	if g.widths[widest] <= minCell {
		return false
	}
	g.widths[widest]--
	return true
}

// header is the line of the columns' heads.
func (g *grid) header(style lipgloss.Style) string {
	r := row{cells: make([]string, len(g.columns)), style: style}
	for i, c := range g.columns {
		r.cells[i] = c.head
		if g.widths[i] == 0 && c.overBar {
			r.note = c.head
		}
	}
	return g.line(r)
}

func (g *grid) line(r row) string {
	var b strings.Builder
	for i, w := range g.widths {
		if w == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		text := shorten(r.cells[i], w)
		pad := strings.Repeat(" ", max(w-lipgloss.Width(text), 0))
		if g.columns[i].right {
			text = pad + text
		} else {
			text += pad
		}
		b.WriteString(text)
	}
	tail := bar(r.bar, g.bars)
	switch {
	case r.note != "" && lipgloss.Width(r.note) <= g.bars:
		tail = r.style.Render(r.note)
	case tail != "":
		tail = r.bars.Render(tail)
	}
	text := b.String()
	if tail == "" {
		return indent + r.style.Render(strings.TrimRight(text, " "))
	}
	return indent + r.style.Render(text) + strings.Repeat(" ", gap) + tail
}

// bar draws a share of width columns in eighths of one. A share above 0 is
// never drawn as nothing.
func bar(share float64, width int) string {
	if math.IsNaN(share) || share <= 0 || width <= 0 {
		return ""
	}
	eighths := max(int(math.Round(min(share, 1)*float64(width)*8)), 1)
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}
