package tracer

import "testing"

// What a hop took without its functions is told only where there are some.
func TestOwnTimeOfAHop(t *testing.T) {
	of := func(ns ...uint64) *Latency {
		var l Latency
		for _, v := range ns {
			l.Hist.Add(v)
		}
		return &l
	}
	count := func(l *Latency) int {
		if l == nil {
			return -1
		}
		return int(l.Hist.Count())
	}
	for _, c := range []struct {
		what          string
		now, prev     *Latency
		merged, since int
	}{
		{"no functions", nil, nil, -1, -1},
		{"the first ones", of(1, 2), nil, 2, 2},
		{"none any more", nil, of(1), 1, -1},
		{"more of them", of(1, 2, 3), of(1), 4, 2},
	} {
		if got := count(ownSince(c.now, c.prev)); got != c.since {
			t.Errorf("%s: gained %d, want %d", c.what, got, c.since)
		}
		if got := count(mergeOwn(c.now, c.prev)); got != c.merged {
			t.Errorf("%s: merged %d, want %d", c.what, got, c.merged)
		}
	}
	path := func(own *Latency) Snapshot {
		return Snapshot{Targets: []Target{{Name: "nginx", Paths: []Path{{ID: "p", Hops: []Hop{{Name: "uplink", Own: own}}}}}}}
	}
	first := path(of(5, 6))
	gained := path(of(5, 6, 7)).Since(first).Targets[0].Paths[0].Hops[0].Own
	if count(gained) != 1 || gained.Hist.Sum != 7 || count(first.Targets[0].Paths[0].Hops[0].Own) != 2 {
		t.Errorf("gained %d, or what it was gained from has changed", count(gained))
	}
}
