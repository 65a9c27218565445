// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/accuracy/report"
)

// outcome is a block, judged.
type outcome struct {
	block  matrix.Block
	tries  int
	rounds int // the most of them that a try took
	cells  []cellOutcome
	// always are the hops that each try refuted, by cellOutcome.hopKey.
	always map[string]bool
}

// cellOutcome is one delay in one direction.
type cellOutcome struct {
	direction string
	delay     time.Duration
	hit       int // the hop that packets waited in
	hops      []matrix.Hop
}

// hits are the hops, by direction, that the block's packets wait in.
func (a *arms) hits(b matrix.Block) (map[string]int, error) {
	hit := map[string]int{}
	for _, direction := range matrix.Directions() {
		var ends []matrix.Ends
		for _, hop := range a.hops[direction] {
			ends = append(ends, matrix.Ends{From: hop.From, To: hop.To})
		}
		at, err := b.Hop(direction, ends)
		if err != nil {
			return nil, err
		}
		hit[direction] = at
	}
	return hit, nil
}

// settled tells whether more rounds would tell no more of any hop.
func (a *arms) settled(b matrix.Block, delays []time.Duration) (bool, error) {
	hit, err := a.hits(b)
	if err != nil {
		return false, err
	}
	for i, delay := range delays {
		for _, direction := range matrix.Directions() {
			for hop := range a.hops[direction] {
				want := 0.0
				if hop == hit[direction] {
					want = float64(delay)
				}
				if !matrix.Settled(delay, want, a.of(direction, hop, i+2)) {
					return false, nil
				}
			}
		}
	}
	return true, nil
}

// of are the rounds of one hop in one arm.
func (a *arms) of(direction string, hop, arm int) matrix.Rounds {
	medians := func(arm int) (all []float64) {
		for _, window := range a.windows[arm] {
			all = append(all, window[direction][hop])
		}
		return all
	}
	return matrix.Rounds{Off: medians(0), Same: medians(1), On: medians(arm)}
}

// judge compares the arms.
func (a *arms) judge(b matrix.Block, delays []time.Duration) (outcome, error) {
	o := outcome{block: b, rounds: a.rounds}
	hit, err := a.hits(b)
	if err != nil {
		return o, err
	}
	for i, delay := range delays {
		for _, direction := range matrix.Directions() {
			o.cells = append(o.cells, cellOutcome{direction, delay, hit[direction], a.hopsOf(direction, i+2, hit[direction], delay)})
		}
	}
	return o, nil
}

// take puts what was measured once more in the place of what was measured before.
func (o *outcome) take(once outcome) {
	o.block, o.always, o.rounds = once.block, once.always, max(o.rounds, once.rounds)
	for _, c := range once.cells {
		i := slices.IndexFunc(o.cells, func(old cellOutcome) bool { return old.direction == c.direction && old.delay == c.delay })
		if i < 0 {
			o.cells = append(o.cells, c)
		} else {
			o.cells[i] = c
		}
	}
}

// again are the delays in which something is not right yet.
func (o outcome) again() (delays []time.Duration) {
	for _, c := range o.cells {
		if c.wrong() > 0 && !slices.Contains(delays, c.delay) {
			delays = append(delays, c.delay)
		}
	}
	return delays
}

// wrong counts the hops that are not where they may be, or that nothing is known of.
func (c cellOutcome) wrong() (n int) {
	for _, hop := range c.hops {
		if hop.Noisy() || !hop.Right() {
			n++
		}
	}
	return n
}

// hopsOf judges all hops of one direction in one arm.
func (a *arms) hopsOf(direction string, arm, hit int, delay time.Duration) []matrix.Hop {
	var hops []matrix.Hop
	for i, hop := range a.hops[direction] {
		want := 0.0
		if i == hit {
			want = float64(delay)
		}
		hops = append(hops, matrix.Judge(hop.Name, delay, want, a.of(direction, i, arm)))
	}
	return hops
}

// rows are the outcome as it is stored.
func (o outcome) rows() []report.Row {
	var rows []report.Row
	for _, direction := range matrix.Directions() {
		row := report.Row{Block: o.block, Direction: direction, Tries: o.tries, Rounds: o.rounds}
		for _, c := range o.cells {
			if c.direction == direction {
				row.Hop = c.hitName()
				row.Cells = append(row.Cells, c.stored())
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func (c cellOutcome) hitName() string {
	if c.hit < 0 {
		return ""
	}
	return c.hops[c.hit].Name
}

func (c cellOutcome) stored() report.Cell {
	cell := report.Cell{Delay: int64(c.delay), Wrong: c.wrong()}
	farthest := -1.0
	for i, hop := range c.hops {
		moved := report.Moved{
			By: int64(math.Round(hop.Moved)), Same: int64(math.Round(hop.Same)), Half: int64(math.Round(hop.Range.HalfWidth())),
		}
		if i == c.hit {
			cell.Hit = moved
		} else if share := math.Abs(hop.Moved) / hop.Tolerance(); share > farthest {
			farthest, cell.Other, cell.Name = share, moved, hop.Name
		}
	}
	return cell
}

// hopKey names a hop of a cell, the same in each try.
func (c cellOutcome) hopKey(i int) string { return fmt.Sprint(c.direction, c.delay, i) }

// refute notes which hops this try refutes and, if there was one, the try before it too.
func (o *outcome) refute(before map[string]bool) {
	o.always = map[string]bool{}
	for _, c := range o.cells {
		for i, hop := range c.hops {
			if key := c.hopKey(i); hop.Refuted() && (before == nil || before[key]) {
				o.always[key] = true
			}
		}
	}
}

// refuted says, in words, what each try refuted: no noise of the machine does that.
func (o outcome) refuted() (all []string) {
	for _, c := range o.cells {
		for i, hop := range c.hops {
			if o.always[c.hopKey(i)] {
				all = append(all, fmt.Sprintf("%v +%v: %s hop %d %s: moved by %.0f ns [%.0f, %.0f], want %.0f +-%.0f, %d times measured",
					o.block, c.delay, c.direction, i, hop.Name, hop.Moved, hop.Known.Lo, hop.Known.Hi, hop.Want, hop.Tolerance(), o.tries))
			}
		}
	}
	return all
}

// wrong says, in words, what did not move as it had to.
func (o outcome) wrong() (all []string) {
	for _, c := range o.cells {
		for i, hop := range c.hops {
			var what string
			switch {
			case hop.Noisy():
				what = fmt.Sprintf("by itself it moves by %.0f ns [%.0f, %.0f], %d times measured", hop.Same, hop.Range.Lo, hop.Range.Hi, o.tries)
			case !hop.Right():
				what = fmt.Sprintf("moved by %.0f ns, want %.0f +-%.0f", hop.Moved, hop.Want, hop.Tolerance())
			default:
				continue
			}
			all = append(all, fmt.Sprintf("%v +%v: %s hop %d %s: %s", o.block, c.delay, c.direction, i, hop.Name, what))
		}
	}
	return all
}
