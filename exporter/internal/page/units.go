package page

import (
	"math"
	"strconv"
)

// Duration writes ns nanoseconds with three significant digits (whole
// nanoseconds below 1 µs) and the largest unit that leaves at least 1.
func Duration(ns float64) string { return duration(ns, 3) }

// short is Duration for a sentence: two digits.
func short(ns float64) string { return duration(ns, 2) }

func duration(ns float64, digits int) string {
	if math.Abs(math.Round(ns)) < 1000 {
		return strconv.FormatFloat(math.Round(ns)+0, 'f', 0, 64) + " ns" // +0: no "-0"
	}
	v := ns / 1e3
	for _, unit := range []string{" µs", " ms"} {
		if text := significant(v, digits); math.Abs(rounded(v, digits)) < 1000 {
			return text + unit
		}
		v /= 1e3
	}
	return significant(v, digits) + " s"
}

// rounded is v with that many significant digits.
func rounded(v float64, digits int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', digits-1, 64), 64)
	if err != nil {
		return v // infinite or not a number
	}
	return r
}

// significant writes v with that many significant digits and without an
// exponent; whole digits are always all told.
func significant(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	whole := 1
	for a := math.Abs(rounded(v, digits)); a >= 10; a /= 10 {
		whole++
	}
	return strconv.FormatFloat(v, 'f', max(digits-whole, 0), 64)
}

// Count writes n in full with thin groups: 18,214.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Quantity writes v with three significant digits, k, M, G or T and a unit:
// "9.11k", "3.75 MB/s".
func Quantity(v float64, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T"}
	i := 0
	for ; i < len(prefixes)-1 && math.Abs(rounded(v, 3)) >= 1000; i++ {
		v /= 1e3
	}
	text := significant(v, 3)
	if i == 0 && v == math.Trunc(v) {
		text = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if unit == "" {
		return text + prefixes[i]
	}
	return text + " " + prefixes[i] + unit
}

// Percent writes a share of 0 to 1: a digit behind the point below 10%, and
// close to the whole, which only the whole is called.
func Percent(share float64) string {
	p := share * 100
	switch {
	case math.Abs(p) < 9.95:
		return strconv.FormatFloat(math.Round(p*10)/10+0, 'f', 1, 64) + "%"
	case p >= 99.5 && p < 100:
		return strconv.FormatFloat(math.Floor(p*10)/10, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}

// plural is "1 packet", "18,214 packets".
func plural(n uint64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return Count(n) + " " + word + "s"
}
