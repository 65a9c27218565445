// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"github.com/vethtrace/vethtrace/internal/pace"
)

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

// QuietShare is the share of quiet windows in these pairs, 0 of nothing.
func QuietShare(pairs []Pair, limit float64) float64 {
	kept, all := 0, 0
	for _, pair := range pairs {
		for _, span := range []Span{pair.Before, pair.With, pair.After} {
			kept += len(span.Quiet(limit).Trips)
			all += len(span.Trips)
		}
	}
	return share(kept, all)
}

// Worth is how many pairs' windows are quiet, on the side that has fewer: a pair
// of which half of the windows with and a third of those without are is a third of a pair.
func Worth(pairs []Pair, limit float64) float64 {
	var with, without float64
	for _, pair := range pairs {
		windows := pair.Windows(limit)
		with += share(len(windows.With), len(pair.With.Trips))
		without += share(len(windows.Without), len(pair.Before.Trips)+len(pair.After.Trips))
	}
	return min(with, without)
}

func share(kept, all int) float64 { return float64(kept) / max(1, float64(all)) }
