// SPDX-License-Identifier: Apache-2.0

package compare

import "math"

// A machine is not the same from one minute to the next: clocks, caches and
// neighbours move means slowly, by more than the spread of rounds beside each
// other shows. Two sides that were measured round by round meet it alike. Two runs
// one after the other do not: how far the parts of either run lie apart is the
// least that the runs themselves may.

// eras are the parts that a run is divided into.
const eras = 4

// certainDrift is how many times the variance that rounds alone give to the means
// of eras theirs must be, for a drift: by chance it is in one of twenty runs
// (chi-squared of 3 degrees of freedom, divided by them).
const certainDrift = 2.6

// drift is the part of the eras' spread that rounds do not explain.
type drift struct {
	part float64 // 0: none
	ns   float64 // standard deviation of eras, of that part
}

// driftOf reads it from a run's rounds, in their order.
func driftOf(s Series) drift {
	n := len(s)
	if n < eras*2 {
		return drift{}
	}
	var steps float64 // variance of rounds, from neighbours: drift is hardly in it
	var pairs int
	for i := 1; i < n; i++ {
		if s[i].Count > 0 && s[i-1].Count > 0 {
			d := s[i].Sum/s[i].Count - s[i-1].Sum/s[i-1].Count
			steps, pairs = steps+d*d/2, pairs+1
		}
	}
	if pairs == 0 {
		return drift{}
	}
	whole := s.mean(nil)
	var spread float64
	for q := range eras {
		d := s.mean(era(n, q)) - whole
		spread += d * d / eras
	}
	byRounds := steps / float64(pairs) * (eras - 1) / float64(n)
	if spread <= certainDrift*byRounds || spread == 0 {
		return drift{}
	}
	part := 1 - byRounds/spread
	return drift{part: math.Sqrt(part), ns: math.Sqrt(part * spread)}
}

// era is the q-th part of so many rounds.
func era(rounds, q int) []int {
	from, to := q*rounds/eras, (q+1)*rounds/eras
	all := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// drifting is which era each resample lies in, by side.
type drifting struct {
	of, against         drift
	ofEra, againstEra   []int // by resample
	ofRounds, agsRounds int
}

// moved is what a figure is by eras instead of the whole run, less the whole: what
// drift makes of it in each resample.
func (d *drifting) moved(f Statistic) func(resample int) float64 {
	point := f(nil, nil)
	var of, against [eras]float64
	for q := range eras {
		if d.of.part > 0 {
			of[q] = d.of.part * (f(era(d.ofRounds, q), nil) - point)
		}
		if d.against.part > 0 {
			against[q] = d.against.part * (f(nil, era(d.agsRounds, q)) - point)
		}
	}
	return func(resample int) float64 { return of[d.ofEra[resample]] + against[d.againstEra[resample]] }
}
