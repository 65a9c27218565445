// SPDX-License-Identifier: Apache-2.0

package report

import "slices"

// How much the same hop may vary with more stamps beside it.
const (
	flatShare = 0.03
	flatNs    = 15.0
)

// Varies is how far apart, in ns, the corrected medians lie.
func (f Flat) Varies() float64 { return slices.Max(f.Ns) - slices.Min(f.Ns) }

// Allowed is how far they may.
func (f Flat) Allowed() float64 { return max(flatNs, flatShare*slices.Min(f.Ns)) }

// Right tells whether the correction takes out what the stamps cost.
func (f Flat) Right() bool { return f.Varies() <= f.Allowed() }

// WrongFlat counts the hops that vary by more than they may.
func (r Result) WrongFlat() (n int) {
	for _, f := range r.Flat {
		if !f.Right() {
			n++
		}
	}
	return n
}

// flatGoes is how often flatness was measured; 0: never.
func (r Result) flatGoes() int {
	if len(r.Flat) == 0 {
		return 0
	}
	return max(1, r.Flat[0].Goes)
}

// TakeFlat stores flatness, in the place of that of an earlier go if there is
// one: how much the first go had found to vary too much stays told.
func (r *Result) TakeFlat(flat []Flat) {
	goes := r.flatGoes()
	if goes == 1 {
		r.Header.FirstWrongFlat = r.WrongFlat()
	}
	r.Flat = slices.Clone(flat)
	for i := range r.Flat {
		if goes > 0 {
			r.Flat[i].Goes = goes + 1
		}
	}
}
