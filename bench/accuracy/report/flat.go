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
