// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"math"
	"slices"
	"testing"

	"github.com/vethtrace/vethtrace/internal/pace"
)

// probed makes a span whose windows have these round trips, and these probes around them.
func probed(rtts, probes []uint64) Span {
	s := windows(rtts...)
	s.Probes = probes
	return s
}

func TestQuietLimit(t *testing.T) {
	if got := QuietLimit([]Pair{{With: windows(1, 2)}}); got != 0 {
		t.Errorf("limit without probes = %v, want 0", got)
	}
	var probes []uint64
	for i := range uint64(101) {
		probes = append(probes, 1000+i*10)
	}
	pair := Pair{Before: probed(nil, probes[:50]), With: probed(nil, probes[50:60]), After: probed(nil, probes[60:])}
	if got, want := QuietLimit([]Pair{pair}), 1050*pace.Slow; math.Abs(got-want) > 1e-9 {
		t.Errorf("limit = %v, want %v", got, want)
	}
}

func TestQuietWindows(t *testing.T) {
	s := probed([]uint64{1, 2, 3, 4}, []uint64{10, 10, 15, 10, 11})
	if got := s.Quiet(11).RTTs(); !slices.Equal(got, []float64{1, 4}) {
		t.Errorf("quiet windows %v, want [1 4]: a slow probe on either side tells of both", got)
	}
	if got := s.Quiet(0).RTTs(); len(got) != 4 {
		t.Errorf("without a limit %d windows, want all 4", len(got))
	}
	if got := windows(1, 2).Quiet(11).RTTs(); len(got) != 2 {
		t.Errorf("without probes %d windows, want both", len(got))
	}
}

func TestQuietPair(t *testing.T) {
	quick, slow := []uint64{10, 10, 10}, []uint64{15, 15, 15}
	calm := probed([]uint64{1, 1}, quick)
	busy := probed([]uint64{2, 2}, slow)
	for _, c := range []struct {
		name    string
		pair    Pair
		limit   float64
		with    int
		without int
		worth   float64
	}{
		{"quiet", Pair{calm, calm, calm}, 11, 2, 4, 1},
		{"half of the windows without", Pair{busy, calm, calm}, 11, 2, 2, 0.5},
		{"none with", Pair{calm, busy, calm}, 11, 0, 4, 0},
		{"none without", Pair{busy, calm, busy}, 11, 2, 0, 0},
		{"no limit on a busy machine", Pair{busy, busy, calm}, 0, 2, 4, 1},
	} {
		got := c.pair.Windows(c.limit)
		if len(got.With) != c.with || len(got.Without) != c.without {
			t.Errorf("%s: %d windows with and %d without, want %d and %d", c.name, len(got.With), len(got.Without), c.with, c.without)
		}
		if got := Worth([]Pair{c.pair}, c.limit); got != c.worth {
			t.Errorf("%s: worth %v of a pair, want %v", c.name, got, c.worth)
		}
	}
	pairs := []Pair{{calm, calm, calm}, {calm, busy, calm}}
	if got := Worth(pairs, 11); got != 1 {
		t.Errorf("two pairs, one of them disturbed, are worth %v, want 1", got)
	}
	if got, disturbed := Settled(pairs, 11); disturbed || len(got) != 2 || len(got[1].With) != 0 {
		t.Errorf("settled %v, disturbed %v, want the second pair without windows with", got, disturbed)
	}
	if got, disturbed := Settled(pairs[1:], 11); !disturbed || len(got[0].With) != 2 {
		t.Errorf("settled %v, disturbed %v, want all windows where none is quiet, and it said", got, disturbed)
	}
	if got := QuietShare(pairs, 11); math.Abs(got-10./12) > 1e-9 {
		t.Errorf("quiet share %v, want 10 of 12", got)
	}
	if got := QuietShare(nil, 11); got != 0 {
		t.Errorf("quiet share of nothing %v, want 0", got)
	}
}
