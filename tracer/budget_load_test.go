package tracer_test

import (
	"net"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// paced sends datagrams to the published port at a rate that does not depend on
// their answers, until stop is called.
func (s *stage) paced(perMillisecond int) (stop func()) {
	s.t.Helper()
	conn, err := s.world.Client.Dial(s.ctx, "udp", "198.51.100.1:7007")
	s.must(err)
	done := make(chan struct{})
	go discard(conn)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range perMillisecond {
				_, _ = conn.Write(make([]byte, 32)) // one that is lost is none of the rate
			}
		}
	}()
	return func() { close(done); _ = conn.Close() }
}

func discard(conn net.Conn) {
	buf := make([]byte, 64)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

// between is what happened from now on for a time.
func (s *stage) between(d time.Duration) tracer.Snapshot {
	s.t.Helper()
	before := s.snapshot()
	time.Sleep(d) // what is measured is this time's share
	return s.snapshot().Since(before)
}

// cycles is what happened from the end of a window to that of the n-th one
// behind it: how long that takes is the machine's affair, what is used of the
// budget meanwhile is not.
func (s *stage) cycles(n uint64) tracer.Snapshot {
	s.t.Helper()
	var at tracer.Snapshot
	behind := func(windows uint64) {
		s.t.Helper()
		s.await("a window and its end", func() bool {
			at = s.snapshot()
			return at.Observer.Budget.Windows >= windows && at.Observer.Budget.State != tracer.BudgetAttached
		})
	}
	behind(s.snapshot().Observer.Budget.Windows + 1)
	before := at
	for range n { // each within its own patience
		behind(at.Observer.Budget.Windows + 1)
	}
	return at.Since(before)
}

// heldBudget holds that a budget was used, and no more than it.
func (s *stage) heldBudget(seen tracer.Snapshot, budget float64) {
	s.t.Helper()
	if share := seen.Observer.CPUShare; share > budget || share < budget/3 {
		s.t.Errorf("%.3f%% of a CPU with a budget of %.3f%% in %d windows and %v",
			share*100, budget*100, seen.Observer.Budget.Windows, seen.Duration)
	}
}

// The load grows tenfold and more: two seconds later the budget is held again.
func TestBudgetIsHeldWhenTheLoadGrows(t *testing.T) {
	const budget = 0.004
	s := newStage(t, budgetWorld(lab.WireVeth))
	s.open(tracer.Config{MaxOverhead: budget}, "nginx")
	stop := s.paced(1)
	calm := s.between(2 * time.Second)
	stop()
	var grown tracer.Snapshot
	growth := 0.0
	func() {
		defer s.paced(8)()
		defer s.paced(8)()
		grown = s.between(2 * time.Second)
		growth = float64(packets(grown)) / float64(packets(calm))
		grown = s.cycles(3)
	}()
	s.settle()
	s.must(s.tracer.Stop())
	t.Logf("the load grew %.1f times; %.3f%% of a CPU used before, %.3f%% after, in %d windows and %v",
		growth, calm.Observer.CPUShare*100, grown.Observer.CPUShare*100, grown.Observer.Budget.Windows, grown.Duration)
	if growth < 3 {
		t.Errorf("the load grew %.1f times only", growth)
	}
	s.heldBudget(grown, budget)
}

// packets are all of the first target, followed or not.
func packets(s tracer.Snapshot) uint64 {
	return s.Targets[0].Totals[tracer.Ingress].Packets + s.Targets[0].Totals[tracer.Egress].Packets
}

// At 10,000 packets a second 1% is enough for 20,000 journeys a minute and target many times over.
func TestBudgetStillMeasures(t *testing.T) {
	s := newStage(t, budgetWorld(lab.WireVeth))
	defer s.paced(5)() // and as many answers
	s.openBusy(tracer.Config{MaxOverhead: 0.01}, "nginx")
	seen := s.between(5 * time.Second)
	s.must(s.tracer.Stop())
	for d, a := range targetOf(t, seen, "nginx").Accounting {
		perMinute := float64(a.Completed) * float64(time.Minute) / float64(seen.Duration)
		if perMinute < 20_000/2 { // half of them go each way
			t.Errorf("%v: %.0f journeys a minute: %+v", tracer.Direction(d), perMinute, a)
		}
	}
}
