// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"slices"
	"testing"

	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/tracer"
)

func TestArms(t *testing.T) {
	names := map[string]bool{}
	same := map[string]bool{}
	for _, a := range arms() {
		row := a.row()
		if names[row.Name()] {
			t.Errorf("two rows are called %s", row.Name())
		}
		names[row.Name()] = true
		if a.kind == report.KindSame {
			same[row.Group()] = true
		} else if !same[row.Group()] {
			t.Errorf("%s comes before an A/A arm of its group", row.Name())
		}
		if (a.subject == nil) != (a.kind == report.KindSame) {
			t.Errorf("%s: switches something on where there should be nothing, or nothing", row.Name())
		}
		if a.goal > 1 && a.goal < 1.05 && !a.major && !a.inAll { // long spans are many windows
			t.Errorf("%s: so narrow a goal takes many pairs", row.Name())
		}
	}
	for _, y := range ways() {
		if !same[y.load+", "+y.name] {
			t.Errorf("%s, %s has no A/A arm", y.load, y.name)
		}
	}
}

func TestPick(t *testing.T) {
	all := arms()
	for _, c := range []struct {
		rows  string
		quick bool
		want  func(arm) bool
	}{
		{"", false, func(arm) bool { return true }},
		{"", true, func(a arm) bool { return a.quick }},
		{"^UDP flood", true, func(a arm) bool { return a.way == wayFlood }},
		{"host mode: devices$", false, func(a arm) bool {
			return a.way == wayHostMode && (a.kind == report.KindSame || a.name == "devices")
		}},
	} {
		var pattern *regexp.Regexp
		if c.rows != "" {
			pattern = regexp.MustCompile(c.rows)
		}
		picked, err := pick(all, pattern, c.quick)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, a := range picked {
			got[a.row().Name()] = true
		}
		for _, a := range all {
			if name := a.row().Name(); got[name] != c.want(a) {
				t.Errorf("%q, quick %v: %s is picked: %v", c.rows, c.quick, name, got[name])
			}
		}
	}
	// a quick trial is whole: each row of it has its A/A arm
	quick, err := pick(all, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	same := map[string]bool{}
	for _, a := range quick {
		if a.kind == report.KindSame {
			same[a.row().Group()] = true
		}
	}
	for _, a := range quick {
		if !same[a.row().Group()] {
			t.Errorf("%s has no A/A arm in a quick trial", a.row().Name())
		}
	}
}

// A budget is judged beside an A/A arm of its own, by mean windows.
func TestWithBudget(t *testing.T) {
	picked, err := pick(arms(), regexp.MustCompile("max-overhead"), false)
	if err != nil || len(picked) != 2 || picked[0].kind != report.KindSame {
		t.Fatalf("%+v, %v: want the row and its A/A arm", picked, err)
	}
	var config tracer.Config
	picked[1].subject.(tracing).change(&config)
	if row := picked[1].row(); config.MaxOverhead != 0.01 || !row.InAll || row.Goal != goalBudget {
		t.Errorf("%+v, %+v", row, config)
	}
}

// Arms with few pairs have them evenly spread over the rounds.
func TestTakes(t *testing.T) {
	for _, s := range []report.Scheme{{Pairs: 12, Few: 6}, {Pairs: 3, Few: 2}, {Pairs: 1, Few: 1}, {Pairs: 14, Few: 5}} {
		few, major, gap, longest := 0, 0, 0, 0
		for n := range s.Pairs {
			gap++
			if (arm{}).takes(n, s) {
				few++
				gap = 0
			}
			longest = max(longest, gap)
			if (arm{major: true}).takes(n, s) {
				major++
			}
		}
		if few != s.Few || major != s.Pairs {
			t.Errorf("%+v: %d and %d pairs", s, few, major)
		}
		if longest > s.Pairs/s.Few {
			t.Errorf("%+v: %d rounds without one", s, longest)
		}
	}
}

// Behind the planned rounds those arms go on that were disturbed.
func TestTurn(t *testing.T) {
	span := func(probe uint64) stats.Span {
		return stats.Span{Trips: []uint64{1}, Ns: []uint64{100}, Probes: []uint64{probe, probe}}
	}
	calm := stats.Pair{Before: span(10), With: span(10), After: span(10)}
	busy := stats.Pair{Before: span(10), With: span(20), After: span(10)}
	b := bench{arms: []arm{{major: true}, {major: true}, {}, {major: true, kind: report.KindPeer}}, scheme: report.Scheme{Pairs: 2, Few: 1}}
	pairs := [][]stats.Pair{{calm, calm}, {busy, busy}, {calm}, {busy, busy}}
	if got := b.turn(2, pairs); !slices.Equal(got, []int{1}) {
		t.Errorf("arms %v go on, want [1]: a peer's own work is its cost", got)
	}
	pairs[1] = append(pairs[1], calm)
	if got := b.turn(3, pairs); len(got) != 0 {
		t.Errorf("arms %v go on, all have their pairs", got)
	}
	if got := b.turn(0, make([][]stats.Pair, 4)); len(got) < 3 {
		t.Errorf("arms %v take part in the first round", got)
	}
}

// Only peers and details of the same hops are compared.
func TestComparisons(t *testing.T) {
	var filled []report.Arm
	for _, a := range arms() {
		filled = append(filled, report.Arm{Row: a.row()})
	}
	goals := map[string]float64{}
	for _, c := range comparisons(filled) {
		goals[c.Peer+" / "+c.Ours] = c.Goal
	}
	want := map[string]float64{armRing + " / hooks": 8, armBpftrace + " / devices": 4, armTcpdump + " / hooks": 0}
	if len(goals) != len(want) {
		t.Errorf("%v, want %v", goals, want)
	}
	for name, goal := range want {
		if goals[name] != goal {
			t.Errorf("%v, want %v", goals, want)
		}
	}
	if none := comparisons(filled[:2]); len(none) != 0 {
		t.Errorf("without peers: %+v", none)
	}
}
