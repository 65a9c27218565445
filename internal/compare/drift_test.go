// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Two runs of the same thing, one after the other, on a machine that drifts: their
// rounds tell it, and mostly they are not called different. What is really longer
// by more than the drift still is.
func TestTwoRunsDrift(t *testing.T) {
	const runs, wave = 40, 0.05
	distinct, told, longer := 0, 0, 0
	for seed := range uint64(runs) {
		m := newMade(3000 + seed)
		m.rounds, m.packets, m.mood, m.drift = 40, 30, 0.01, wave
		m.phase = m.random.Float64() * 2 * math.Pi
		before := m.target("before", bridgeIn(), bridgeOut())
		slow := bridgeIn()
		slow[2].mean += 6000 // of 7 µs both ways
		m.phase = m.random.Float64() * 2 * math.Pi
		after := m.target("after", bridgeIn(), bridgeOut())
		much := m.target("much", slow, bridgeOut())
		c := compared(t, after, before, Options{Seed: seed})
		if c.Distinct {
			distinct++
		}
		if c.DriftNs[0] > 0 && c.DriftNs[1] > 0 {
			told++
		}
		if compared(t, much, before, Options{Seed: seed}).Distinct {
			longer++
		}
	}
	if distinct > runs/4 || told < runs*3/4 || longer < runs*9/10 {
		t.Errorf("of %d runs %d are called different, %d tell of a drift, %d of a great difference", runs, distinct, told, longer)
	}
}

// Rounds that only scatter tell of no drift, but for one in twenty; a steady rise
// is one, of the size that it has.
func TestDriftOf(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	const runs, rounds = 400, 40
	wrong := 0
	for range runs {
		var s Series
		for range rounds {
			s = append(s, Sample{Count: 1, Sum: 1000 + 50*random.NormFloat64()})
		}
		if driftOf(s).part > 0 {
			wrong++
		}
	}
	if wrong > runs/10 {
		t.Errorf("%d of %d runs without a drift have one", wrong, runs)
	}
	var rise Series
	for i := range rounds {
		rise = append(rise, Sample{Count: 1, Sum: 1000 + 10*float64(i) + 5*random.NormFloat64()})
	}
	d := driftOf(rise)
	if want := 10.0 * rounds * math.Sqrt(5.0/4) / eras; math.Abs(d.ns-want) > 0.1*want || d.part < 0.9 {
		t.Errorf("a rise of %d ns: %+v, want %.0f", 10*rounds, d, want)
	}
	if d := driftOf(rise[:eras*2-1]); d.part != 0 {
		t.Errorf("of %d rounds: %+v", eras*2-1, d)
	}
}
