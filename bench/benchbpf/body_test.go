// SPDX-License-Identifier: Apache-2.0

package benchbpf

import (
	"strings"
	"testing"
)

// The programs load, take the hit path in every run, and the figures are complete.
func TestMeasure(t *testing.T) {
	const runs, rounds = 2000, 3
	body, err := Measure(runs, rounds)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v, over the clock %.1f ns", body, body.OverClock())
	if void := body.Void(); void != "" {
		t.Error(void)
	}
	if body.Counted != runs*rounds {
		t.Errorf("counted %d, want %d", body.Counted, runs*rounds)
	}
	if body.EmptyNs <= 0 || body.ClockNs <= 0 || body.StampNs <= 0 || body.HookNs <= 0 || body.JourneyNs <= 0 {
		t.Errorf("a figure is missing: %+v", body)
	}
}

// Without the first stamp nothing is found, and the figures are refused.
func TestMissIsRefused(t *testing.T) {
	objects, err := load()
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	// No histograms are left: journeys complete, but cannot be counted.
	for range blocks {
		var block uint32
		if err := objects.VtFree.LookupAndDelete(nil, &block); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := once(objects.BenchJourneyShort, 100); err != nil {
		t.Fatal(err)
	}
	if n, err := counted(objects); err == nil {
		t.Errorf("counted %d journeys without histograms", n)
	}
}

func TestVoid(t *testing.T) {
	if void := (Body{Counted: 5, Expected: 5}).Void(); void != "" {
		t.Errorf("all counted, but void: %s", void)
	}
	if void := (Body{Counted: 4, Expected: 5}).Void(); !strings.Contains(void, "4 of 5") {
		t.Errorf("one missing: %q", void)
	}
}
