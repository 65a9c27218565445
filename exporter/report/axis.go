// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"strconv"
)

// axis maps nanoseconds to percents of a plot's width.
type axis struct {
	lo, hi float64
	log    bool
	ticks  []float64
}

// linear has room for lo, at most 0, to hi, and about five ticks at round values.
func linear(lo, hi float64) axis {
	if !(hi > lo) {
		hi = lo + 1
	}
	step, pad := round125((hi-lo)/5), (hi-lo)*0.02
	a := axis{lo: lo, hi: hi + pad}
	if lo < 0 {
		a.lo -= pad
	}
	for i := math.Ceil(a.lo / step); i*step <= a.hi; i++ {
		a.ticks = append(a.ticks, i*step+0)
	}
	return a
}

// logarithmic goes from a round value at or below lo to one at or above hi.
func logarithmic(lo, hi float64) axis {
	lo = max(lo, 1)
	hi = max(hi, lo*2)
	a := axis{lo: below125(lo), hi: above125(hi), log: true}
	for v := a.lo; v <= a.hi*1.001; v = above125(v * 1.1) {
		a.ticks = append(a.ticks, v)
	}
	const most = 6
	if len(a.ticks) > most { // decades alone
		var decades []float64
		for _, v := range a.ticks {
			if e := math.Log10(v); math.Abs(e-math.Round(e)) < 1e-6 {
				decades = append(decades, v)
			}
		}
		a.ticks = decades
	}
	return a
}

// at is where v lies, 0 to 100; what is outside is at the edge.
func (a axis) at(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		v, lo, hi = math.Log(max(v, a.lo)), math.Log(lo), math.Log(hi)
	}
	return min(max((v-lo)/(hi-lo), 0), 1) * 100
}

// round125 is the least of 1, 2 and 5 times a power of ten that is not below v.
func round125(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*decade >= v*(1-1e-9) {
			return m * decade
		}
	}
	return 10 * decade
}

func above125(v float64) float64 { return round125(v) }

func below125(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{5, 2} {
		if m*decade <= v*(1+1e-9) {
			return m * decade
		}
	}
	return decade
}

// tickText is short: 500 ns, 2 µs.
func tickText(ns float64) string {
	unit, name := 1.0, " ns"
	switch size := math.Abs(ns); {
	case size >= 1e9:
		unit, name = 1e9, " s"
	case size >= 1e6:
		unit, name = 1e6, " ms"
	case size >= 1e3:
		unit, name = 1e3, " µs"
	case size == 0:
		return "0"
	}
	return strconv.FormatFloat(math.Round(ns/unit*100)/100, 'g', -1, 64) + name
}

// scale draws the ticks of an axis as a lane of its own.
func (a axis) scale(d *drawing) {
	d.open("svg", "class", "lane scale", "height", "20", "aria-hidden", "true")
	for i, v := range a.ticks {
		anchor := "middle"
		switch p := a.at(v); {
		case p < 5:
			anchor = "start"
		case p > 95:
			anchor = "end"
		}
		class := "tick"
		if i%2 == 1 && len(a.ticks) > 4 {
			class = "tick odd" // hidden where there is no room
		}
		d.text("text", tickText(v), "x", percent(a.at(v)), "y", "14", "text-anchor", anchor, "class", class)
	}
	d.close("svg")
}

// grid draws the ticks' lines behind a lane.
func (a axis) grid(d *drawing) {
	for _, v := range a.ticks {
		class := "grid"
		if v == 0 && a.lo < 0 {
			class = "grid zero"
		}
		d.mark("line", "x1", percent(a.at(v)), "x2", percent(a.at(v)), "y1", "0", "y2", "100%", "class", class)
	}
}
