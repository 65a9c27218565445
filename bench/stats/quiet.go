// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"slices"

	"github.com/vethtrace/vethtrace/internal/pace"
)

// leastQuiet is the share of a span's windows that must be quiet for it to count.
const leastQuiet = 0.25

// QuietLimit is the longest that a probe may take beside a quiet window, in
// nanoseconds; 0 when nothing was probed. Only what no tracing touches is asked,
// so leaving windows out by it favours neither side.
func QuietLimit(pairs []Pair) float64 {
	var probes []float64
	for _, pair := range pairs {
		for _, span := range []Span{pair.Before, pair.With, pair.After} {
			for _, probe := range span.Probes {
				probes = append(probes, float64(probe))
			}
		}
	}
	return pace.Slow * pace.Quick(probes)
}

// Quiet returns the windows with a quick probe on both sides; all of them without a limit or probes.
func (s Span) Quiet(limit float64) Span {
	if limit == 0 || len(s.Probes) != len(s.Trips)+1 {
		return s
	}
	var quiet Span
	for i := range s.Trips {
		if float64(max(s.Probes[i], s.Probes[i+1])) <= limit {
			quiet.Trips = append(quiet.Trips, s.Trips[i])
			quiet.Ns = append(quiet.Ns, s.Ns[i])
		}
	}
	return quiet
}

// Quiet returns the pair with its quiet windows only, and whether enough are
// left on each side for it to count. Where what is measured keeps other CPUs
// busy by itself, as tools do that handle each event there, all of its own
// windows are its cost and stay.
func (p Pair) Quiet(limit float64, ownWork bool) (Pair, bool) {
	quiet := Pair{Before: p.Before.Quiet(limit), With: p.With, After: p.After.Quiet(limit)}
	if !ownWork {
		quiet.With = p.With.Quiet(limit)
	}
	enough := func(kept, all int) bool { return kept > 0 && float64(kept) >= leastQuiet*float64(all) }
	return quiet, enough(len(quiet.Before.Trips)+len(quiet.After.Trips), len(p.Before.Trips)+len(p.After.Trips)) &&
		enough(len(quiet.With.Trips), len(p.With.Trips))
}

// QuietShare is the share of quiet windows in these pairs, 0 of nothing.
func QuietShare(pairs []Pair, limit float64) float64 {
	kept, all := 0, 0
	for _, pair := range pairs {
		for _, span := range []Span{pair.Before, pair.With, pair.After} {
			kept += len(span.Quiet(limit).Trips)
			all += len(span.Trips)
		}
	}
	if all == 0 {
		return 0
	}
	return float64(kept) / float64(all)
}

// Settled returns the pairs that count, by their quiet windows.
func Settled(pairs []Pair, limit float64, ownWork bool) []Pair {
	var settled []Pair
	for _, pair := range pairs {
		if quiet, ok := pair.Quiet(limit, ownWork); ok {
			settled = append(settled, quiet)
		}
	}
	return slices.Clip(settled)
}
