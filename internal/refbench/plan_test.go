// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"testing"
	"time"
)

// A plan fits into its time wherever more than the fewest rounds do, and uses it.
func TestPlanFits(t *testing.T) {
	for _, seconds := range []int{3, 5, 10, 20, 30, 60, 100, 300, 3600} {
		for ways := 1; ways <= 7; ways++ {
			for loads := 1; loads <= 8; loads++ {
				duration := time.Duration(seconds) * time.Second
				p := newPlan(duration, ways, loads)
				if p.rounds < fewestRounds || p.rounds > mostRounds || p.rounds%2 != 0 || p.block < 1 || p.block > loads ||
					p.round < leastRound || p.round > mostRound+mostWarmup || p.warmup < leastWarmup || p.warmup > p.round {
					t.Fatalf("%v, %d ways, %d loads: %+v", duration, ways, loads, p)
				}
				var takes time.Duration
				for left := loads; left > 0; left -= p.block {
					takes += p.least(ways, min(left, p.block))
				}
				shortest := p.rounds == fewestRounds && p.round == leastRound
				if takes > duration && !shortest {
					t.Errorf("%v, %d ways, %d loads: takes %v: %+v", duration, ways, loads, takes, p)
				}
				longest := p.round >= mostRound-mostWarmup
				if takes < duration*7/10 && !longest {
					t.Errorf("%v, %d ways, %d loads: takes only %v: %+v", duration, ways, loads, takes, p)
				}
			}
		}
	}
}

// All loads by all ways in 20 seconds: rounds are short, not few, and loads share
// attachments; with more time each load has its own.
func TestPlanOfAShortRun(t *testing.T) {
	short, long := newPlan(20*time.Second, 7, 8), newPlan(100*time.Second, 7, 8)
	if short.block < 2 || short.rounds < 10 || short.round > 2*wantedRound {
		t.Errorf("20 s: %+v", short)
	}
	if long.block != 1 || long.rounds < fullRounds || long.round <= short.round {
		t.Errorf("100 s: %+v", long)
	}
	if few := newPlan(20*time.Second, 2, 1); few.rounds != mostRounds || few.round < wantedRound {
		t.Errorf("20 s of one load: %+v", few)
	}
}

// What is asked for twice is measured once, and what it is compared with comes along.
func TestAskedTwice(t *testing.T) {
	host, published := Way{}, Way{}
	host.Name, published.Name, published.Against = WayHost, WayPublished, WayHost
	r := &runner{Config: Config{
		World: &Reference{ways: []Way{host, published}}, Ways: []string{WayPublished, WayPublished}, Loads: []string{"udp_rr", "tcp_rr", "udp_rr"},
	}}
	if err := r.choose(); err != nil {
		t.Fatal(err)
	}
	if len(r.loads) != 2 || r.loads[0].Name != "udp_rr" || r.loads[1].Name != "tcp_rr" {
		t.Errorf("loads %+v", r.loads)
	}
	if len(r.ways) != 2 || r.ways[0].Name != WayHost || r.ways[1].Name != WayPublished {
		t.Errorf("ways %+v", r.ways)
	}
}
