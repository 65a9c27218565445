package tracer

import (
	"time"

	"github.com/vethtrace/vethtrace/bpf"
)

// In budget mode hooks come and go: they are attached until the budget of the
// last seconds is used up, and away until there is enough for another window.
// What is used is counted by the programs themselves, each run at its price.
const (
	// kept is the part of a budget that is never used: programs are not all that
	// tracing costs (interrupts for changed code, this process itself).
	kept = 0.1
	// saved is for how long a budget is saved up for one window, and worth is how
	// many times what attaching and detaching takes it must be at least. Where that
	// takes long, no longer than longest: windows that are too rare show nobody
	// anything, and are only given up where least would not be left.
	saved   = 500 * time.Millisecond
	longest = 4 * time.Second
	worth   = 5
	least   = 2
	// windowPause is how long hooks stay away before that is looked at again
	windowPause = 500 * time.Millisecond
	// how often the runs are looked at while hooks are attached
	shortestLook = time.Millisecond
	longestLook  = 20 * time.Millisecond
	// a window that goes on like this lasts so many looks more: a load that
	// grows tenfold meanwhile uses up half of what is left
	looksAhead = 20
	// windows wait no longer than this for journeys under way: what takes longer is cut
	windowDrain      = 10 * time.Millisecond
	windowDrainQueue = drainTime // where an NFQUEUE is bound: its verdicts take their time
)

// Prices of a run, in ns. To the null hop, which is a stamp in place, comes what
// a journey's start and end and colder caches cost, spread over its stamps: see
// docs/decisions/0005-budget.md for the measurements.
const (
	runBeside  = 30
	runUnknown = 100 // without a null hop yet
)

// spending keeps the account of a budget. It is pure: time and runs are given.
type spending struct {
	limit  float64 // share of one CPU that may be used
	most   float64 // ns that may be saved up
	left   float64 // ns; at most that, below 0 after a window that was too long
	used   float64 // ns, since the beginning
	rate   float64 // share of one CPU between the last two looks
	looked time.Time
	ran    runs
	before time.Duration // what attaching and detaching took the time before, 0: not known
}

type runs [bpf.KernelVtTypeVT_TYPE_MAX]uint64

func newSpending(budget float64, now time.Time, ran runs) *spending {
	s := &spending{limit: budget * (1 - kept), looked: now, ran: ran}
	s.most = s.limit * float64(saved)
	s.left = s.most
	return s
}

// begin begins a window: what it will cost is not known yet, so the first look comes soon.
func (s *spending) begin() { s.rate = 1 }

// switched notes what attaching and detaching have taken this time. A machine that
// was busy with something else once says nothing of the next window: the smaller
// one of the last two counts.
func (s *spending) switched(took time.Duration) {
	usual := took
	if s.before > 0 {
		usual = min(s.before, took)
	}
	s.before = took
	s.most = max(s.limit*float64(saved), least*float64(usual), min(worth*float64(usual), s.limit*float64(longest)))
}

// look brings the account up to date; beside is what else was used, in ns.
func (s *spending) look(now time.Time, ran runs, prices [len(runs{})]float64, beside time.Duration) {
	cost := float64(beside)
	for i := range ran {
		cost += float64(ran[i]-s.ran[i]) * prices[i]
	}
	since := now.Sub(s.looked)
	s.ran, s.looked = ran, now
	if since > 0 {
		s.rate = cost / float64(since)
	}
	s.used += cost
	s.left = min(s.most, s.left+s.limit*float64(since)-cost)
}

// empty tells whether a window must end.
func (s *spending) empty() bool { return s.left <= 0 }

// next is when to look again while hooks are attached.
func (s *spending) next() time.Duration {
	if s.rate <= 0 {
		return longestLook
	}
	return min(longestLook, max(shortestLook, time.Duration(s.left/s.rate/looksAhead)))
}

// wait is how long hooks stay away until a whole window is saved up.
func (s *spending) wait() time.Duration {
	return time.Duration((s.most - s.left) / s.limit)
}
