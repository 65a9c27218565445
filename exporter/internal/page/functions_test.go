package page

import (
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

func steady(ns uint64, n int) (l tracer.Latency) {
	for range n {
		l.Hist.Add(ns)
	}
	return l
}

// Functions have rows beneath their hop, each inside the one that called it, with
// what they take alone and their share of the hop.
func TestFunctionsHaveRows(t *testing.T) {
	alone := steady(200, 100)
	p := tracer.Path{
		Packets: 100, Latency: steady(1000, 100), Hops: []tracer.Hop{{
			Name: "netfilter/prerouting", Latency: steady(1000, 100), Own: &alone,
			Functions: []tracer.Function{
				{Name: "nf_nat_inet_fn", Inclusive: steady(800, 100), Exclusive: steady(500, 100)},
				{Name: "evil\x1b", Depth: 1, Inclusive: steady(300, 100), Exclusive: steady(300, 100)},
			},
		}},
	}
	lines := Target(tracer.Target{Name: "nginx", Paths: []tracer.Path{p}}, time.Second, Options{})
	at := -1
	for i, line := range lines {
		if strings.Contains(line, "netfilter/prerouting") {
			at = i
		}
	}
	if at < 0 || at+4 >= len(lines) {
		t.Fatal(strings.Join(lines, "\n"))
	}
	for i, want := range [][]string{
		{"    nf_nat_inet_fn ", "800 ns", "50% of hop", "alone 500 ns"},
		{`      evil\x1b `, "300 ns", "30% of hop", "alone 300 ns"},
		{"    (own) ", "200 ns", "20% of hop", "alone 200 ns"},
		{"  whole path"},
	} {
		for _, part := range want {
			if !strings.Contains(lines[at+1+i], part) {
				t.Errorf("line %d has no %q: %q", i, part, lines[at+1+i])
			}
		}
	}
}
