// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"math"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

// windowed is a cell of so many rounds; what follows a journey's end took ns in
// the first of them that a window fell into.
func windowed(rounds, filled int, ns uint64) *cell {
	c := &cell{}
	var t tracer.Target
	for i := range rounds {
		start := time.Duration(i) * time.Second
		c.traced.rounds = append(c.traced.rounds, tracer.Round{Start: start, Count: 100, SumNs: 100_000})
		c.traced.others, c.traced.slowed = append(c.traced.others, unknown()), append(c.traced.slowed, unknown())
		for _, l := range []*tracer.Latency{&t.Waiting.Transport, &t.Waiting.Reader} {
			if i < filled {
				l.Rounds = append(l.Rounds, tracer.Round{Start: start, Count: 10, SumNs: 10 * ns})
			}
		}
	}
	c.trace.Targets = []tracer.Target{t}
	return c
}

// Windows fall into a part of many short rounds, and still tell the
// application's time; too few of them tell nothing.
func TestPartsOfWindows(t *testing.T) {
	for _, test := range []struct{ rounds, filled, want int }{
		{rounds: 10, filled: 4, want: 0},
		{rounds: 10, filled: 5, want: 2},
		{rounds: 100, filled: 4, want: 0},
		{rounds: 100, filled: 5, want: 2},
		{rounds: 100, filled: 100, want: 2},
	} {
		of, against := windowed(test.rounds, test.filled, 900), windowed(test.rounds, test.filled, 400)
		r := &runner{Config: Config{Seed: 1}}
		all := r.parts(of, against, pick(&of.traced, &against.traced))
		if len(all) != test.want {
			t.Errorf("%d of %d rounds: %d parts, want %d", test.filled, test.rounds, len(all), test.want)
		}
		for _, p := range all {
			e := p.mean.Estimate()
			if e == nil || math.Abs(e.Ns-500) > 1e-6 || e.Lo > 500 || e.Hi < 500 || e.Hi-e.Lo > 1 {
				t.Errorf("%d of %d rounds: %s is %+v, want 500 ns in all resamples that matter", test.filled, test.rounds, p.name, e)
			}
		}
	}
}

// What follows a journey's end is traced in enough rounds, and not in most of them.
func TestBehindRounds(t *testing.T) {
	for rounds := fewestRounds; rounds <= mostRounds; rounds += 2 {
		p, n := plan{rounds: rounds}, 0
		for i := range rounds {
			if p.behind(i) {
				n++
			}
		}
		if n < enoughFilled || rounds >= 2*enoughFilled && n > rounds/2 || n > 2*behindRounds {
			t.Errorf("%d of %d rounds", n, rounds)
		}
	}
}
