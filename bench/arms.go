// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/tracer"
)

// arm is what is switched on and off, and the load beside it.
type arm struct {
	way      int
	name     string
	kind     report.Kind
	subject  subject // nil: nothing is switched on
	goal     float64 // most that the interval of the ratio may reach to; 0: none
	runsGoal float64 // most program runs per round trip; 0: none
	major    bool    // takes many pairs: has a narrow goal, or is A/A, to which others are held
	quick    bool    // part of a quick trial
	inAll    bool    // judged by the mean window of long spans: for what is attached for a part of the time
}

// Goals of the project: what may be reached by the upper end of the interval.
const (
	goalHooks            = 1.10
	goalDevices          = 1.05
	goalHostHooks        = 1.05
	goalHostDevices      = 1.02
	goalBystanderHooks   = 1.03
	goalBystanderDevices = 1.02
	goalFlood            = 1 / 0.93 // packets per second kept
	goalBudget           = 1.010    // of --max-overhead 1%
	goalRuns             = 22       // program runs per round trip
	goalBystanderRuns    = 12
	timesRing            = 8 // less added time than the ring buffer's
	timesBpftrace        = 4
)

// Names of arms that are compared with one another.
const (
	armSame     = "A/A"
	armBpftrace = "peer: bpftrace script, the hops of devices"
	armRing     = "peer: an event per stamp, the hops of hooks"
	armTcpdump  = "peer: three tcpdumps to files"
)

// arms of a run. The A/A arm of a way comes first.
func arms() []arm {
	var all []arm
	same := func(way int) *arm {
		all = append(all, arm{way: way, name: armSame, kind: report.KindSame, major: true})
		return &all[len(all)-1]
	}
	traced := func(way int, detail tracer.Detail, target func(*world) tracer.TargetSpec, goal float64) *arm {
		all = append(all, arm{
			way: way, name: string(detail), kind: report.KindTraced, goal: goal,
			subject: tracing{detail: detail, target: target},
		})
		return &all[len(all)-1]
	}
	bystander := func(detail tracer.Detail, goal float64) *arm {
		a := traced(wayPublished, detail, (*world).bystanding, goal)
		a.name, a.kind, a.runsGoal = "bystander, "+string(detail), report.KindBystander, goalBystanderRuns
		return a
	}
	peer := func(name string, start startPeer, least float64) *arm {
		all = append(all, arm{way: wayPublished, name: name, kind: report.KindPeer, subject: peering{start, least}})
		return &all[len(all)-1]
	}
	same(wayPublished).mark(true, true)
	traced(wayPublished, tracer.DetailDevices, (*world).measured, goalDevices).mark(true, true)
	hooks := traced(wayPublished, tracer.DetailHooks, (*world).measured, goalHooks).mark(true, true)
	hooks.runsGoal = goalRuns
	traced(wayPublished, tracer.DetailTables, (*world).measured, 0)
	bystander(tracer.DetailDevices, goalBystanderDevices).mark(true, false)
	bystander(tracer.DetailHooks, goalBystanderHooks).mark(true, true)
	peer(armBpftrace, startBpftrace, 8).mark(false, true)
	peer(armRing, startRing, 18).mark(false, true)
	peer(armTcpdump, startTcpdumps, 6).mark(false, true)
	same(wayHostMode).mark(true, true)
	traced(wayHostMode, tracer.DetailDevices, (*world).hostMode, goalHostDevices).mark(true, false)
	traced(wayHostMode, tracer.DetailHooks, (*world).hostMode, goalHostHooks).mark(true, true)
	same(wayContainers)
	traced(wayContainers, tracer.DetailHooks, (*world).measured, 0)
	same(wayUDP)
	traced(wayUDP, tracer.DetailHooks, (*world).measured, 0)
	same(wayFlood).mark(true, true)
	traced(wayFlood, tracer.DetailHooks, (*world).measured, goalFlood).mark(false, true)
	same(wayHTTP).mark(true, true)
	traced(wayHTTP, tracer.DetailHooks, (*world).measured, 0).mark(false, true)
	same(wayHTTPHostMode)
	traced(wayHTTPHostMode, tracer.DetailHooks, (*world).hostMode, 0)
	same(wayConnections)
	traced(wayConnections, tracer.DetailHooks, (*world).measured, 0)
	all = withBudget(all, func(c *tracer.Config) { c.MaxOverhead = 0.01 })
	return all
}

// withBudget adds the row of vethtrace held to a budget by change, and its A/A arm.
func withBudget(all []arm, change func(*tracer.Config)) []arm {
	same := arm{way: wayPublished, name: armSame, kind: report.KindSame, major: true}
	budget := arm{
		way: wayPublished, name: "--max-overhead 1%", kind: report.KindTraced, goal: goalBudget, major: true,
		subject: tracing{tracer.DetailHooks, (*world).measured, change},
	}
	return append(all, *same.long(), *budget.long())
}

// mark says whether the arm takes many pairs, and is part of a quick trial.
func (a *arm) mark(major, quick bool) *arm {
	a.major, a.quick = major, quick
	return a
}

// row is the arm's row, still without figures.
func (a arm) row() report.Row {
	way := ways()[a.way]
	row := report.Row{
		Load: way.load, Way: way.name, Arm: a.name, Unit: way.kind.Unit(), Kind: a.kind, InAll: a.inAll,
		Goal: a.goal, RunsGoal: a.runsGoal,
	}
	if a.kind == report.KindTraced {
		row.Completed = 1 // lowered by each run
	}
	return row
}

// long makes the arm one that is judged by the mean window of long spans: what
// is attached for a part of the time only may be missed by the median one.
func (a *arm) long() *arm {
	a.inAll = true
	a.name += ", mean of long spans"
	return a
}

// pick returns the arms whose rows' names match, in a quick trial only those
// of it if there is no pattern, and the A/A arms of their groups.
func pick(all []arm, rows *regexp.Regexp, quick bool) ([]arm, error) {
	chosen := map[string]bool{} // groups
	wanted := func(a arm) bool {
		if rows == nil {
			return a.quick || !quick
		}
		return rows.MatchString(a.row().Name())
	}
	for _, a := range all {
		if wanted(a) {
			chosen[a.row().Group()] = true
		}
	}
	var picked []arm
	for _, a := range all {
		if wanted(a) || chosen[a.row().Group()] && a.kind == report.KindSame {
			picked = append(picked, a)
		}
	}
	if len(picked) == 0 {
		return nil, fmt.Errorf("no row's name matches %s; -list tells them", rows)
	}
	return picked, nil
}

// comparisons of peers with ourselves, for the same hops. The bpftrace script
// also runs at the two devices of the lab's client, which is no part of any
// host: that share of its events is left out.
func comparisons(filled []report.Arm) []report.Comparison {
	group := arm{way: wayPublished}.row().Group()
	find := func(name string) (report.Arm, bool) {
		at := slices.IndexFunc(filled, func(a report.Arm) bool { return a.Group() == group && a.Arm == name })
		if at < 0 {
			return report.Arm{}, false
		}
		return filled[at], true
	}
	var found []report.Comparison
	for _, c := range []struct {
		peer, ours  string
		share, goal float64
	}{
		{armRing, string(tracer.DetailHooks), 1, timesRing},
		{armBpftrace, string(tracer.DetailDevices), 8. / 10, timesBpftrace},
		{armTcpdump, string(tracer.DetailHooks), 1, 0},
	} {
		peer, ok := find(c.peer)
		ours, both := find(c.ours)
		if ok && both {
			found = append(found, report.Compare(peer, ours, c.share, c.goal))
		}
	}
	return found
}
