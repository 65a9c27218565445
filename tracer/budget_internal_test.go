package tracer

import (
	"math"
	"testing"
	"time"
)

// play runs a budget against a load (share of one CPU that tracing takes while
// attached, by second) and returns what is used in each second, and of all.
func play(budget float64, switching time.Duration, load func(second float64) float64, seconds int) (each []float64, whole float64) {
	begin := time.Unix(0, 0)
	now := begin
	s := newSpending(budget, now, runs{})
	prices := [len(runs{})]float64{1, 1, 1}
	var ran runs
	fraction := 0.0
	each = make([]float64, seconds)
	pass := func(d time.Duration, attached bool) {
		at := now.Sub(begin).Seconds()
		if attached {
			fraction += load(at) * float64(d)
			ran[0] += uint64(fraction)
			fraction -= math.Floor(fraction)
		}
		before := s.used
		now = now.Add(d)
		s.look(now, ran, prices, 0)
		if second := int(at); second < seconds {
			each[second] += (s.used - before) / 1e9
		}
	}
	end := begin.Add(time.Duration(seconds) * time.Second)
	for now.Before(end) {
		s.begin()
		for !s.empty() && now.Before(end) {
			pass(s.next(), true)
		}
		if !now.Before(end) {
			break
		}
		s.switched(switching)
		s.look(now, ran, prices, switching)
		for s.wait() > 0 && now.Before(end) {
			pass(min(s.wait(), windowPause), false)
		}
	}
	return each, s.used / float64(end.Sub(begin))
}

// A machine that is slow at attaching, or was once, still has windows.
func TestSpendingKeepsWindowsComing(t *testing.T) {
	const budget = 0.004
	now := time.Now()
	for name, c := range map[string]struct {
		took []time.Duration
		most time.Duration // between two windows
	}{
		"as usual":      {[]time.Duration{time.Millisecond, time.Millisecond}, 1500 * time.Millisecond},
		"slow":          {[]time.Duration{6 * time.Millisecond, 6 * time.Millisecond}, longest},
		"slow once":     {[]time.Duration{time.Millisecond, time.Minute}, 1500 * time.Millisecond},
		"was slow once": {[]time.Duration{time.Minute, time.Millisecond}, 1500 * time.Millisecond},
		// what is left for the window itself must be as much as its price
		"too slow": {[]time.Duration{20 * time.Millisecond, 20 * time.Millisecond}, 12 * time.Second},
	} {
		s := newSpending(budget, now, runs{})
		for _, took := range c.took {
			s.switched(took)
		}
		s.left = 0
		if wait := s.wait(); wait > c.most {
			t.Errorf("%s: %v until the next window, want %v at most", name, wait, c.most)
		}
		if last := c.took[len(c.took)-1]; last == c.took[0] && s.most < least*float64(last) {
			t.Errorf("%s: %v of %v are left", name, s.most, last)
		}
	}
}

func TestSpendingHoldsTheBudget(t *testing.T) {
	for _, c := range []struct {
		budget, load float64
		full         bool // the budget is used, but for what is kept back
	}{
		{0.01, 0.1, true},
		{0.01, 0.02, true},
		{0.01, 5, true},
		{0.001, 0.1, true},
		{0.05, 0.1, true},
		{0.01, 0.005, false},
		{0.01, 0, false},
	} {
		_, whole := play(c.budget, time.Millisecond, func(float64) float64 { return c.load }, 60)
		if whole > c.budget {
			t.Errorf("budget %v, load %v: %v used", c.budget, c.load, whole)
		}
		if c.full && whole < c.budget*0.8 {
			t.Errorf("budget %v, load %v: only %v used", c.budget, c.load, whole)
		}
		if !c.full && math.Abs(whole-c.load) > c.load/20 {
			t.Errorf("budget %v, load %v: %v used, though all may be", c.budget, c.load, whole)
		}
	}
}

// Tenfold load from one moment to the next: from two seconds later on each second is within the budget.
func TestSpendingAfterTheLoadGrew(t *testing.T) {
	const budget, grows = 0.01, 10
	each, _ := play(budget, time.Millisecond, func(second float64) float64 {
		if second < grows {
			return budget * 0.8
		}
		return budget * 8
	}, 30)
	for second := 5; second < grows; second++ {
		if each[second] < budget*0.7 {
			t.Errorf("second %d: %v used: hooks were away although there was enough", second, each[second])
		}
	}
	for second := grows + 2; second+3 <= 30; second++ {
		if mean := (each[second] + each[second+1] + each[second+2]) / 3; mean > budget*1.02 {
			t.Errorf("from second %d on: %v used: %v", second, mean, each[second:second+3])
		}
	}
}

func TestSpendingLooksOftenEnough(t *testing.T) {
	s := newSpending(0.01, time.Unix(0, 0), runs{})
	if s.next() != longestLook {
		t.Errorf("without load: look after %v", s.next())
	}
	s.look(time.Unix(0, 1e6), runs{5_000_000}, [len(runs{})]float64{1}, 0)
	if !s.empty() || s.next() != shortestLook {
		t.Errorf("empty %v, look after %v", s.empty(), s.next())
	}
}

func TestParseDevices(t *testing.T) {
	text := "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"    lo: 10 2 0 0 0 0 0 0 30 4 0 0 0 0 0 0\n" +
		"veth1a:18446744073709551615 7 0 0 0 0 0 0 1 2 0 0 0 0 0 0\n bad: 1 2 x 0 0 0 0 0 0 0 0 0 0 0 0 0\nshort: 1 2\n"
	got := parseDevices(text)
	if len(got) != 2 || got["lo"] != [2]Total{{Packets: 2, Bytes: 10}, {Packets: 4, Bytes: 30}} ||
		got["veth1a"] != [2]Total{{Packets: 7, Bytes: math.MaxUint64}, {Packets: 2, Bytes: 1}} {
		t.Errorf("%+v", got)
	}
}

// Drops are complete with a budget, and whatever takes long to attach is not there.
func TestBudgetRows(t *testing.T) {
	by, switchable := devicesBy(Config{MaxOverhead: 0.01, Devices: ProviderTCX, Capacity: 1000}, 1)
	if by != ProviderTracepoint || switchable {
		t.Errorf("devices by %s, switchable %v", by, switchable)
	}
	for _, h := range Hooks() {
		if h.Provider == ProviderTCX && h.by(by) {
			t.Errorf("%s: tcx with a budget", h.Program)
		}
		if h.Program == "vt_kfree_skb" && !h.Stays {
			t.Error("drops come and go")
		}
		if h.Provider == ProviderNetfilter && h.Stays {
			t.Errorf("%s stays", h.Program)
		}
	}
}
