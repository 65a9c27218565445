// SPDX-License-Identifier: Apache-2.0

// Package report is what a run of the benchmark found, what that means, and
// how it is shown. It is pure: the same result gives the same bytes.
package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/vethtrace/vethtrace/bench/benchbpf"
	"github.com/vethtrace/vethtrace/bench/stats"
)

// Result is one run, as it is stored.
type Result struct {
	Version string        `json:"version"` // of vethtrace
	Date    string        `json:"date"`    // 2006-01-02
	Machine Machine       `json:"machine"`
	Scheme  Scheme        `json:"scheme"`
	Busy    float64       `json:"busy"`  // share of one CPU that other work took before and after the run, the larger
	Modes   []string      `json:"modes"` // where untraced round trips fell into two groups, in words
	Rows    []Row         `json:"rows"`
	Body    benchbpf.Body `json:"body"`
}

// Machine is where a run took place. It names no host.
type Machine struct {
	Kernel  string `json:"kernel"`
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Virtual bool   `json:"virtual"`
}

// Scheme is how a run was made.
type Scheme struct {
	Quick    bool    `json:"quick"` // a trial, not a measurement
	Pairs    int     `json:"pairs"`
	Seed     uint64  `json:"seed"`
	WindowMs float64 `json:"window_ms"`
	Without  int     `json:"without"` // windows on either side of a traced span
	With     int     `json:"with"`    // windows of a traced span
	SettleMs float64 `json:"settle_ms"`
	Wire     string  `json:"wire"` // between client and host: WireNIC or WireVeth; empty in results from before there was a choice: WireVeth
}

// The wires, as package lab calls them.
const (
	WireNIC  = "nic"  // receives by NAPI
	WireVeth = "veth" // receives by netif_rx
)

// Kind is what an arm is compared for.
type Kind string

// The kinds of arms.
const (
	KindSame      Kind = "a/a"       // untraced against untraced
	KindTraced    Kind = "traced"    // the traffic belongs to the target
	KindBystander Kind = "bystander" // it does not
)

// Row is one arm of a run.
type Row struct {
	Name       string         `json:"name"`
	Kind       Kind           `json:"kind"`
	WithoutNs  float64        `json:"without_ns"` // median round trip
	WithNs     float64        `json:"with_ns"`
	Ratios     []float64      `json:"ratios"` // of each pair, in order
	Ratio      float64        `json:"ratio"`  // their median
	Interval   stats.Interval `json:"interval"`
	MeanRatio  float64        `json:"mean_ratio"` // of all round trips instead of the median window; median over the pairs
	Goal       float64        `json:"goal"`       // most that Ratio may be; 0: none
	Runs       float64        `json:"runs"`       // program runs per round trip
	RunsGoal   float64        `json:"runs_goal"`  // most that Runs may be; 0: none
	Stamps     [2]float64     `json:"stamps"`     // per packet, in and out
	PathLength [2]int         `json:"path_length"`
	Completed  float64        `json:"completed"` // least share of journeys in any run of the arm
	Evicted    uint64         `json:"evicted"`   // in all runs of the arm together
	Void       []string       `json:"void"`      // why the row does not count
}

// Fill computes what follows from the pairs.
func (r *Row) Fill(pairs []stats.Pair, seed uint64) {
	var without, with, means []float64
	r.Ratios = nil
	for _, pair := range pairs {
		r.Ratios = append(r.Ratios, pair.Ratio())
		means = append(means, pair.MeanRatio())
		without = append(without, pair.Without()...)
		with = append(with, pair.With.RTTs()...)
	}
	r.WithoutNs, r.WithNs = stats.Median(without), stats.Median(with)
	r.Ratio, r.MeanRatio = stats.Median(r.Ratios), stats.Median(means)
	r.Interval = stats.Bootstrap(r.Ratios, seed)
}

// leastCompleted is the share of journeys that must complete for a row to count.
const leastCompleted = 0.999

// Check voids a row whose packets were not all followed.
func (r *Row) Check() {
	if r.Kind != KindTraced {
		return
	}
	if !(r.Completed >= leastCompleted) {
		r.AddVoid(fmt.Sprintf("%.3f%% of the journeys completed, not 99.9%%", r.Completed*100))
	}
	if r.Evicted > 0 {
		r.AddVoid(fmt.Sprintf("%d journeys were evicted", r.Evicted))
	}
	for direction, name := range []string{"in", "out"} {
		length, stamps := r.PathLength[direction], r.Stamps[direction]
		if length == 0 {
			r.AddVoid("no path " + name + " was seen")
		} else if math.Abs(stamps-float64(length)) > 0.001*float64(length) {
			r.AddVoid(fmt.Sprintf("%.3f stamps per packet %s, the path has %d", stamps, name, length))
		}
	}
}

// AddVoid adds a reason why the row does not count, once.
func (r *Row) AddVoid(reason string) {
	for _, have := range r.Void {
		if have == reason {
			return
		}
	}
	r.Void = append(r.Void, reason)
}

// widest is the most that an A/A interval may reach to either side.
const widest = 0.01

// Holds tells whether untraced against untraced is 1.000, and known well enough.
// Figures are taken as they are printed, with three decimals.
func (r Row) Holds() bool {
	rounded := stats.Interval{Lo: round3(r.Interval.Lo), Hi: round3(r.Interval.Hi)}
	return rounded.Contains(1) && rounded.HalfWidth() <= widest
}

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }

// Verdict says in words what the row means. In a run that is too noisy, times
// mean nothing; how often programs ran still does.
func (r Row) Verdict(noisy bool) string {
	if len(r.Void) > 0 {
		return "void: " + strings.Join(r.Void, "; ")
	}
	if r.Kind == KindSame {
		if r.Holds() {
			return "holds"
		}
		return "does not hold"
	}
	var parts []string
	switch {
	case r.Goal > 0 && noisy:
		parts = append(parts, "too noisy")
	case r.Goal > 0:
		parts = append(parts, met(round3(r.Ratio) <= r.Goal))
		if r.Interval.Contains(r.Goal) {
			parts[0] += ", within the error"
		}
	}
	if r.RunsGoal > 0 {
		parts = append(parts, "runs "+met(r.Runs <= r.RunsGoal))
	}
	return strings.Join(parts, "; ")
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "not met"
}

// busiest is how much of a CPU other work may take.
const busiest = 0.10

// TooNoisy says why nothing of the run counts; empty when it does.
func (r Result) TooNoisy() []string {
	var why []string
	same := 0
	for _, row := range r.Rows {
		if row.Kind != KindSame {
			continue
		}
		same++
		if !row.Holds() {
			why = append(why, fmt.Sprintf("%s is %.3f [%.3f, %.3f]", row.Name, row.Ratio, row.Interval.Lo, row.Interval.Hi))
		}
	}
	if same == 0 {
		why = append(why, "there is no A/A arm")
	}
	if r.Busy > busiest {
		why = append(why, fmt.Sprintf("other work took %.0f%% of a CPU", r.Busy*100))
	}
	return append(why, r.Modes...)
}

// Failed tells whether the run or one of its rows does not count.
func (r Result) Failed() bool {
	for _, row := range r.Rows {
		if len(row.Void) > 0 {
			return true
		}
	}
	return r.Body.Void() != "" || len(r.TooNoisy()) > 0
}

// BodyGoal is the most, in nanoseconds, that a stamp may cost beside its clock read.
const BodyGoal = 15.0

// BodyVerdict says what the body's figures mean.
func (r Result) BodyVerdict() string {
	if void := r.Body.Void(); void != "" {
		return "void: " + void
	}
	return met(r.Body.OverClock() <= BodyGoal)
}
