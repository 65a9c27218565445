// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/internal/result"
)

// scarce says, in words, that there is too little for any interval; "" when there is enough.
func (c *comparer) scarce(rounds int) string {
	var words []string
	for _, side := range []struct {
		name string
		of   bool
	}{{c.Of, true}, {c.Against, false}} {
		least := uint64(math.MaxUint64)
		for _, l := range c.paths {
			cell := l.Against
			if side.of {
				cell = l.Of
			}
			least = min(least, cell.Count)
		}
		if least < MinPackets {
			words = append(words, fmt.Sprintf("%s has too few packets: %d, %d are needed", side.name, least, MinPackets))
		}
	}
	if rounds < MinRounds {
		words = append(words, fmt.Sprintf("too few rounds: %d, %d are needed: measure longer", rounds, MinRounds))
	}
	return strings.Join(words, "; ")
}

// wordsOf is what the figures of a row do not say by themselves.
func wordsOf(r result.Row, scarce string) string {
	switch {
	case scarce != "":
		return "too few packets"
	case !r.Distinct:
		return "not distinguishable from zero"
	}
	return ""
}

// verdict is the whole difference in a sentence.
func verdict(r result.Comparison, scarce string) string {
	if scarce != "" {
		return fmt.Sprintf("%s against %s: no difference can be told: %s", r.Of, r.Against, scarce)
	}
	w := r.Whole.Mean
	trip := "one way"
	if len(r.Paths) == 2 {
		trip = "in and out together"
	}
	if !r.Distinct {
		return fmt.Sprintf("%s and %s are not distinguishable: the difference, %s, is %s", r.Of, r.Against, trip, Interval(*w, true))
	}
	more, sign := "longer", 1.0
	if w.Ns < 0 {
		more, sign = "less long", -1
	}
	size := result.Estimate{Ns: w.Ns * sign, Lo: w.Lo, Hi: w.Hi}
	if sign < 0 {
		size.Lo, size.Hi = -w.Hi, -w.Lo
	}
	text := fmt.Sprintf("packets of %s take %s %s than those of %s, %s", r.Of, Interval(size, false), more, r.Against, trip)
	if parts := largest(r.Layers); parts != "" {
		text += ": " + parts
	}
	return text
}

// largest names the layers that make up most of the difference.
func largest(layers []result.Layer) string {
	const most, least = 3, 0.05
	sorted := slices.Clone(layers)
	slices.SortStableFunc(sorted, func(a, b result.Layer) int { return cmp.Compare(shareOf(b), shareOf(a)) })
	var words []string
	for _, l := range sorted[:min(most, len(sorted))] {
		if shareOf(l) >= least {
			words = append(words, fmt.Sprintf("%s %s", l.Layer, Percent(shareOf(l))))
		}
	}
	return strings.Join(words, ", ")
}

func shareOf(l result.Layer) float64 {
	if l.Share == nil {
		return 0
	}
	return l.Share.Share
}

// Percent writes a share.
func Percent(share float64) string { return fmt.Sprintf("%.0f%%", share*100) }

// Interval writes an estimate with its interval, in the unit of its size: 4.21
// µs [4.15, 4.27]. signed puts a plus before what is not negative.
func Interval(e result.Estimate, signed bool) string {
	unit, name := unitOf(max(math.Abs(e.Ns), math.Abs(e.Lo), math.Abs(e.Hi)))
	return fmt.Sprintf("%s %s [%s, %s]", figure(e.Ns/unit, signed), name, figure(e.Lo/unit, signed), figure(e.Hi/unit, signed))
}

// figure writes three significant digits, at most two of them behind the point.
func figure(v float64, signed bool) string {
	digits := 2
	switch size := math.Abs(v); {
	case size >= 99.95:
		digits = 0
	case size >= 9.995:
		digits = 1
	}
	if v = math.Round(v*100) / 100; v == 0 {
		v = 0 // no -0.00
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if signed && v >= 0 {
		return "+" + text
	}
	return text
}

func unitOf(ns float64) (float64, string) {
	switch {
	case ns >= 1e9:
		return 1e9, "s"
	case ns >= 1e6:
		return 1e6, "ms"
	case ns >= 1e3:
		return 1e3, "µs"
	}
	return 1, "ns"
}
