// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
)

// longest is the delay whose other hops are told apart.
const longest = 2 * time.Millisecond

// group is a line of the table: a place in one direction, all families and protocols.
type group struct {
	matrix.Block // without family and protocol
	Direction    string
	Hop          string
	hits         []string // by delay
	short, long  string
}

// groups are the table's lines, in its order. A place appears in each direction
// that passes it, Outside in both.
func (r Result) groups() []group {
	var all []group
	type key struct {
		matrix.Block
		direction string
	}
	index := map[key]int{}
	var members [][]Row
	for _, row := range r.Rows {
		if row.Hop == "" && row.Place != matrix.Outside {
			continue
		}
		k := key{row.Block, row.Direction}
		k.Family, k.Protocol = "", ""
		at, ok := index[k]
		if !ok {
			at = len(all)
			index[k] = at
			all = append(all, group{Block: k.Block, Direction: row.Direction, Hop: row.Hop})
			members = append(members, nil)
		}
		members[at] = append(members[at], row)
	}
	for i := range all {
		all[i].fill(members[i])
	}
	var sections []string // details and modes, as they come
	order := func(g group) int {
		section := g.Detail + " " + g.Mode
		if !slices.Contains(sections, section) {
			sections = append(sections, section)
		}
		return 2*slices.Index(sections, section) + slices.Index(matrix.Directions(), g.Direction)
	}
	for _, g := range all {
		order(g)
	}
	slices.SortStableFunc(all, func(a, b group) int { return order(a) - order(b) })
	return all
}

// fill finds the worst of the rows.
func (g *group) fill(rows []Row) {
	for _, delay := range matrix.Delays() {
		var hit worst
		for _, cell := range cellsOf(rows, delay) {
			want := float64(0)
			if g.Hop != "" {
				want = float64(delay)
			}
			hit.add(cell, cell.Hit, want)
		}
		if g.Hop == "" {
			g.hits = append(g.hits, "-")
		} else {
			g.hits = append(g.hits, hit.String())
		}
	}
	var short, long worst
	for _, delay := range matrix.Delays() {
		to := &short
		if delay >= longest {
			to = &long
		}
		for _, cell := range cellsOf(rows, delay) {
			to.add(cell, cell.Other, 0)
		}
	}
	g.short, g.long = short.String(), long.String()
}

func cellsOf(rows []Row, delay time.Duration) []Cell {
	var cells []Cell
	for _, row := range rows {
		for _, cell := range row.Cells {
			if cell.Delay == int64(delay) {
				cells = append(cells, cell)
			}
		}
	}
	return cells
}

// worst is the movement farthest from where it should be.
type worst struct {
	off   float64
	wrong bool
	any   bool
}

func (w *worst) add(cell Cell, m Moved, want float64) {
	off := float64(m.By) - want
	if !w.any || max(off, -off) > max(w.off, -w.off) {
		w.off = off
	}
	w.any = true
	w.wrong = w.wrong || cell.Wrong > 0 && !matrix.Right(off, want, float64(m.Half), time.Duration(cell.Delay))
}

// String renders it, bold where it is not right.
func (w worst) String() string {
	switch {
	case !w.any:
		return ""
	case w.wrong:
		return fmt.Sprintf("**%+.0f**", w.off)
	}
	return fmt.Sprintf("%+.0f", w.off)
}
