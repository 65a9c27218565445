// SPDX-License-Identifier: Apache-2.0

// Package report is what a run of the benchmark found, what that means, and
// how it is shown. It is pure: the same result gives the same bytes.
package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/bench/benchbpf"
	"github.com/vethtrace/vethtrace/bench/stats"
)

// Result is one run, as it is stored.
type Result struct {
	Version     string        `json:"version"` // of vethtrace
	Date        string        `json:"date"`    // 2006-01-02
	Machine     Machine       `json:"machine"`
	Scheme      Scheme        `json:"scheme"`
	Busy        float64       `json:"busy"`     // share of one CPU that other work took before and after the run, the larger
	QuietNs     float64       `json:"quiet_ns"` // longest probe beside a quiet window; 0: all windows count
	Rows        []Row         `json:"rows"`
	Comparisons []Comparison  `json:"comparisons"`
	Body        benchbpf.Body `json:"body"`
}

// Raw is all windows of a row, those of a disturbed machine too: for arithmetic other than ours.
type Raw struct {
	Row   string       `json:"row"`
	Pairs []stats.Pair `json:"pairs"`
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
	Short    bool    `json:"short"` // only to test the benchmark
	Pairs    int     `json:"pairs"`
	Few      int     `json:"few"` // pairs of arms without a goal that needs many
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
	KindTraced    Kind = "traced"    // the load belongs to the target
	KindBystander Kind = "bystander" // it does not
	KindPeer      Kind = "peer"      // another tool instead of vethtrace
)

// Longer is how much longer the spans are of an arm that is judged by its mean window.
const Longer = 4

// Row is one arm of a run. Times are nanoseconds per unit of the load.
type Row struct {
	Load       string         `json:"load"`
	Way        string         `json:"way"`
	Arm        string         `json:"arm"`
	Unit       string         `json:"unit"` // round trip, packet, request, connection
	Kind       Kind           `json:"kind"`
	Pairs      int            `json:"pairs"`
	Windows    [2]int         `json:"windows"`    // of them that count, without and with
	Quiet      float64        `json:"quiet"`      // share of windows in which the machine was
	Disturbed  bool           `json:"disturbed"`  // it never was, and all windows count
	InAll      bool           `json:"in_all"`     // the mean windows are compared, not the quick ones, of long spans
	WithoutNs  float64        `json:"without_ns"` // the quick windows' (stats.Typical)
	WithNs     float64        `json:"with_ns"`
	Ratio      float64        `json:"ratio"`
	Interval   stats.Interval `json:"interval"`
	MeanRatio  float64        `json:"mean_ratio"`  // of all units of all windows; median over the pairs
	Goal       float64        `json:"goal"`        // most that Interval may reach to; 0: none
	Runs       float64        `json:"runs"`        // program runs per unit, of programs that are attached always
	WindowRuns float64        `json:"window_runs"` // of programs that are attached for a part of the time
	RunsGoal   float64        `json:"runs_goal"`   // most that Runs may be; 0: none
	Stamps     [2]float64     `json:"stamps"`      // per packet, in and out
	PathLength [2]int         `json:"path_length"`
	Completed  float64        `json:"completed"` // least share of journeys in any run of the arm
	Evicted    uint64         `json:"evicted"`   // in all runs of the arm together
	Events     float64        `json:"events"`    // that a peer saw per unit
	Lost       float64        `json:"lost"`      // largest share of them that it lost, in its own words
	Void       []string       `json:"void"`      // why the row does not count
}

// Group names the rows that share a load, its way and how they are judged, and so an A/A arm.
func (r Row) Group() string {
	if r.InAll {
		return r.Load + ", " + r.Way + ", mean of long spans"
	}
	return r.Load + ", " + r.Way
}

// Name names the row.
func (r Row) Name() string { return r.Group() + ": " + r.Arm }

// unitPacket is the unit of a load that goes one way only.
const unitPacket = "packet"

// Limit is the longest probe beside a window of this row that counts. Tools that
// handle each event on another CPU keep it busy, which is part of their cost: in
// their rows all windows count, on both sides, as a quick quantile of all is not
// one of quiet ones.
func (r Row) Limit(quiet float64) float64 {
	if r.Kind == KindPeer {
		return 0
	}
	return quiet
}

// Goes tells whether the load has packets in a direction (0 in, 1 out) of its target.
func (r Row) Goes(direction int) bool { return direction == 0 || r.Unit != unitPacket }

// Fill computes what follows from the pairs: of their windows with a quick probe
// (stats.QuietLimit), but for the mean of all units.
func (r *Row) Fill(pairs []stats.Pair, quiet float64, seed uint64) stats.Estimate {
	r.Quiet, r.Pairs = stats.QuietShare(pairs, quiet), len(pairs)
	var windows []stats.Windows
	windows, r.Disturbed = stats.Settled(pairs, r.Limit(quiet))
	r.Windows = [2]int{}
	for _, w := range windows {
		r.Windows[0] += len(w.Without)
		r.Windows[1] += len(w.With)
	}
	of := stats.Typical
	if r.InAll {
		of = stats.Mean
	}
	e := of(windows, seed)
	r.WithoutNs, r.WithNs, r.Ratio, r.Interval = e.Without, e.With, e.Ratio(), e.Interval
	var means []float64
	for _, pair := range pairs {
		means = append(means, pair.MeanRatio())
	}
	r.MeanRatio = stats.Median(means)
	return e
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
		if !r.Goes(direction) {
			continue
		}
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

// How well A/A must hold: its interval may reach so far to either side, and
// stop so short of 1. The latter is what is left of the machine's own drift
// between neighbouring spans; an arm of a few pairs misses 1 by that now and then.
const (
	widest  = 0.010
	nearest = 0.003
)

// Holds tells whether untraced against untraced is 1.000, and known well enough.
// Figures are taken as they are printed, with three decimals.
func (r Row) Holds() bool {
	rounded := stats.Interval{Lo: round3(r.Interval.Lo), Hi: round3(r.Interval.Hi)}
	near := stats.Interval{Lo: rounded.Lo - nearest, Hi: rounded.Hi + nearest}
	return near.Contains(1) && rounded.HalfWidth() <= widest
}

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }

// Verdict says in words what the row means. A goal is met when the interval's
// upper end is. In a group that is too noisy, times mean nothing; how often
// programs ran still does.
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
	case noisy:
		parts = append(parts, "too noisy")
	case r.Goal > 0:
		parts = append(parts, goalMet(round3(r.Ratio) <= round3(r.Goal), round3(r.Interval.Hi) <= round3(r.Goal)))
	}
	if r.RunsGoal > 0 {
		parts = append(parts, "runs "+met(r.runsMet()))
	}
	if r.Kind == KindPeer {
		parts = append(parts, fmt.Sprintf("%.2f events per %s, %.1f%% lost", r.Events, r.Unit, r.Lost*100))
	}
	return strings.Join(parts, "; ")
}

// runsMet compares with one decimal: the machine's own packets, some a second, pass the same hooks.
func (r Row) runsMet() bool { return math.Round(r.Runs*10)/10 <= r.RunsGoal }

// goalMet says what a goal means that the figure reaches, or its interval does.
func goalMet(figure, bound bool) string {
	if figure && !bound {
		return "not met (the figure is, its interval is not)"
	}
	return met(bound)
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "not met"
}

// quietLine says how much of the run the machine was quiet in; empty where that was not looked at.
func (r Result) quietLine() string {
	if r.QuietNs == 0 {
		return ""
	}
	least, which := 2.0, ""
	for _, row := range r.Rows {
		if row.Kind != KindPeer && row.Quiet < least {
			least, which = row.Quiet, row.Name()
		}
	}
	return fmt.Sprintf("the machine was quiet in at least %.0f%% of the windows of each row but peers' (least: %s)", least*100, which)
}

// busiest is how much of a CPU other work may take.
const busiest = 0.10

// TooNoisy says why a group of rows does not count; empty when it does.
func (r Result) TooNoisy(group string) []string {
	var why []string
	same := 0
	for _, row := range r.Rows {
		if row.Kind != KindSame || row.Group() != group {
			continue
		}
		same++
		if !row.Holds() {
			why = append(why, fmt.Sprintf("A/A is %.3f [%.3f, %.3f]", row.Ratio, row.Interval.Lo, row.Interval.Hi))
		}
	}
	for _, row := range r.Rows {
		if row.Disturbed && row.Group() == group {
			why = append(why, "the machine was never quiet: "+row.Arm)
		}
	}
	if same == 0 {
		why = append(why, "there is no A/A arm")
	}
	if r.Busy > busiest {
		why = append(why, fmt.Sprintf("other work took %.0f%% of a CPU", r.Busy*100))
	}
	return why
}

// Groups lists the groups of rows, in their order.
func (r Result) Groups() []string {
	var groups []string
	for _, row := range r.Rows {
		if !slices.Contains(groups, row.Group()) {
			groups = append(groups, row.Group())
		}
	}
	return groups
}

// Failed tells whether a part of the run does not count.
func (r Result) Failed() bool {
	for _, row := range r.Rows {
		if len(row.Void) > 0 {
			return true
		}
	}
	for _, group := range r.Groups() {
		if len(r.TooNoisy(group)) > 0 {
			return true
		}
	}
	return r.Body.Void() != ""
}

// BodyGoal is the most, in nanoseconds, that a stamp may cost beside its clock read.
const BodyGoal = 10.0

// BodyVerdict says what the body's figures mean.
func (r Result) BodyVerdict() string {
	if void := r.Body.Void(); void != "" {
		return "void: " + void
	}
	return met(r.Body.OverClock() <= BodyGoal)
}
