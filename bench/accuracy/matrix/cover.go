// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"math/rand/v2"
)

// MostCells is how many cells Cover may need.
const MostCells = 60

// pairs are what a cell covers: its place in its mode, and each two values that
// it has of the factors mode, direction, family, protocol, detail and delay.
func (c Cell) pairs() []string {
	covered := []string{c.Mode + " " + c.Place}
	for _, direction := range c.Directions() {
		values := []string{
			"mode " + c.Mode, "direction " + direction, "family " + c.Family,
			"protocol " + c.Protocol, "detail " + c.Detail, fmt.Sprint("delay ", c.Delay),
		}
		for i, a := range values {
			for _, b := range values[:i] {
				covered = append(covered, a+", "+b)
			}
		}
	}
	return covered
}

// everyCell is the whole matrix, cell by cell.
func everyCell() []Cell {
	var all []Cell
	for _, block := range Blocks() {
		for _, delay := range Delays() {
			all = append(all, Cell{block, delay})
		}
	}
	return all
}

// Cover chooses cells so that each place of each mode, each delay, and each
// pair of values of two factors is in one of them: always the cell that covers
// most of what is still missing, by lot where several do. The same seed gives
// the same cells, in the order of the matrix.
func Cover(seed uint64) []Cell {
	all := everyCell()
	pairs := make([][]string, len(all))
	missing := map[string]bool{}
	for i, cell := range all {
		pairs[i] = cell.pairs()
		for _, pair := range pairs[i] {
			missing[pair] = true
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	chosen := map[int]bool{}
	for len(missing) > 0 {
		best, most := -1, 0
		for _, i := range random.Perm(len(all)) {
			gain := 0
			for _, pair := range pairs[i] {
				if missing[pair] {
					gain++
				}
			}
			if gain > most {
				best, most = i, gain
			}
		}
		chosen[best] = true
		for _, pair := range pairs[best] {
			delete(missing, pair)
		}
	}
	var cells []Cell
	for i, cell := range all {
		if chosen[i] {
			cells = append(cells, cell)
		}
	}
	return cells
}
