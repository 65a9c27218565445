package tracer

import (
	"reflect"
	"testing"
	"time"
)

// before and after are two snapshots of one run, a second apart.
func before() Snapshot {
	l := latencyOf(Null{Count: 9, MeanNs: 9}, 10, 1000)
	l.Rounds = []Round{{Start: 0, Count: 10, SumNs: 10000, P50Ns: 1000}}
	return Snapshot{
		Start:    time.Unix(100, 0),
		Duration: time.Second,
		Journeys: []Journey{{ID: 1}},
		Observer: Observer{Stamps: 100, CPUShare: 0.1, RecursionMisses: 2, Recorded: 5, RingLost: 1, Unpathed: 3},
		Targets: []Target{{
			Name: "nginx", ID: "abc", Netns: 42,
			Paths: []Path{{
				ID: "p1", Packets: 10, Segments: 20, Bytes: 1000, Latency: l,
				Hops: []Hop{{Name: "uplink", Latency: l}},
			}},
			Waiting:    Waiting{Transport: l, Reader: l, Share: 0.5},
			Accounting: [2]Accounting{{Started: 12, Completed: 10, Dropped: 1, InFlight: 1}},
			Skipped:    [2][]Skip{{{Reason: "not-ip", Count: 4}}},
			Drops:      []Drop{{Hop: "netfilter/forward", Reason: "NETFILTER_DROP", Count: 1}},
			Proxied:    &Proxied{PID: 7, Proxy: l},
		}},
	}
}

func after() Snapshot {
	s := before()
	l := latencyOf(Null{Count: 18, MeanNs: 10}, 10, 1000, 2000)
	l.Rounds = []Round{{Start: 0, Count: 10}, {Start: 1100 * time.Millisecond, Count: 10, SumNs: 20000, P50Ns: 2000}}
	s.Duration = 2 * time.Second
	s.Journeys = []Journey{{ID: 1}, {ID: 2}}
	s.Observer = Observer{Stamps: 300, CPUShare: 0.2, RecursionMisses: 2, Recorded: 9, RingLost: 4, Unpathed: 5}
	t := &s.Targets[0]
	t.Paths = []Path{
		{ID: "p2", Packets: 4, Latency: latencyOf(Null{}, 4, 50)},
		{ID: "p1", Packets: 20, Segments: 50, Bytes: 1700, Latency: l, Hops: []Hop{{Name: "uplink", Latency: l}}},
	}
	t.Waiting = Waiting{Transport: l, Reader: l, Share: 0.75}
	t.Accounting[Ingress] = Accounting{Started: 25, Completed: 20, Dropped: 3, InFlight: 2}
	t.Skipped[Ingress] = []Skip{{Reason: "filtered", Count: 3}, {Reason: "not-ip", Count: 4}}
	t.Drops = []Drop{
		{Hop: "netfilter/forward", Reason: "NETFILTER_DROP", Count: 2},
		{Hop: "netfilter/input", Reason: "NETFILTER_DROP", Count: 1},
	}
	t.Proxied = &Proxied{PID: 7, Proxy: l}
	return s
}

func TestSinceSubtractsEveryCounter(t *testing.T) {
	d := after().Since(before())
	if !d.Start.Equal(time.Unix(101, 0)) || d.Duration != time.Second {
		t.Errorf("interval from %v for %v", d.Start, d.Duration)
	}
	if len(d.Journeys) != 1 || d.Journeys[0].ID != 2 {
		t.Errorf("journeys %v", d.Journeys)
	}
	want := Observer{Stamps: 200, CPUShare: 0.3, Recorded: 4, RingLost: 3, Unpathed: 2}
	if got := d.Observer; got.CPUShare < 0.2999 || got.CPUShare > 0.3001 {
		t.Errorf("cpu share %g, want 0.3", got.CPUShare)
	} else if got.CPUShare = 0.3; !reflect.DeepEqual(got, want) {
		t.Errorf("observer %+v, want %+v", got, want)
	}
	g := d.Targets[0]
	if got, want := g.Accounting[Ingress], (Accounting{Started: 13, Completed: 10, Dropped: 2, InFlight: 2}); got != want {
		t.Errorf("accounting %+v, want %+v", got, want)
	}
	if got, want := g.Skipped[Ingress], []Skip{{"filtered", 3}}; !reflect.DeepEqual(got, want) {
		t.Errorf("skipped %v, want %v", got, want)
	}
	wantDrops := []Drop{
		{Hop: "netfilter/forward", Reason: "NETFILTER_DROP", Count: 1},
		{Hop: "netfilter/input", Reason: "NETFILTER_DROP", Count: 1},
	}
	if !reflect.DeepEqual(g.Drops, wantDrops) {
		t.Errorf("drops %v, want %v", g.Drops, wantDrops)
	}
	if g.Waiting.Share != 1 { // 5 of 10, then 15 of 20
		t.Errorf("share of the waiting %g, want 1", g.Waiting.Share)
	}
}

func TestSinceSubtractsEveryLatency(t *testing.T) {
	g := after().Since(before()).Targets[0]
	p := g.Paths[1]
	if p.ID != "p1" || p.Packets != 10 || p.Segments != 30 || p.Bytes != 700 {
		t.Errorf("path %s: %d packets, %d segments, %d bytes", p.ID, p.Packets, p.Segments, p.Bytes)
	}
	want := latencyOf(Null{Count: 18, MeanNs: 10}, 10, 2000)
	want.Rounds = []Round{{Start: 100 * time.Millisecond, Count: 10, SumNs: 20000, P50Ns: 2000}}
	for name, got := range map[string]Latency{
		"path": p.Latency, "hop": p.Hops[0].Latency, "transport": g.Waiting.Transport,
		"reader": g.Waiting.Reader, "proxy": g.Proxied.Proxy,
	} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d samples, max %d, rounds %v", name, got.Hist.Count(), got.Hist.Max, got.Rounds)
		}
	}
	if fresh := g.Paths[0]; fresh.Packets != 4 || fresh.Latency.Hist.Count() != 4 {
		t.Errorf("a new path counts in full, not %d and %d", fresh.Packets, fresh.Latency.Hist.Count())
	}
}

func TestSinceMatchesTargets(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Target)
		want   uint64 // packets of path p1
	}{
		{"renamed", func(g *Target) { g.Name = "web" }, 10},
		{"restarted", func(g *Target) { g.Netns = 43 }, 20},
		{"another container", func(g *Target) { g.ID = "def" }, 20},
	} {
		now := after()
		c.change(&now.Targets[0])
		if got := now.Since(before()).Targets[0].Paths[1].Packets; got != c.want {
			t.Errorf("%s: %d packets, want %d", c.name, got, c.want)
		}
	}
}

func TestSinceLeavesItsOperandsAlone(t *testing.T) {
	now, prev := after(), before()
	now.Since(prev)
	if !reflect.DeepEqual(now, after()) || !reflect.DeepEqual(prev, before()) {
		t.Error("Since changed a snapshot")
	}
}

func TestSinceZeroIsEverything(t *testing.T) {
	if d := after().Since(Snapshot{}); !reflect.DeepEqual(d, after()) {
		t.Errorf("since nothing:\n%+v\nwant\n%+v", d, after())
	}
}

func TestSinceCountersThatStartedAnew(t *testing.T) {
	now := after()
	now.Targets[0].Accounting[Ingress] = Accounting{Started: 3, Completed: 3}
	got := now.Since(before()).Targets[0]
	if want := (Accounting{Started: 3, Completed: 3}); got.Accounting[Ingress] != want {
		t.Errorf("accounting %+v, want %+v", got.Accounting[Ingress], want)
	}
	if s := got.Waiting.Share; s < 0 || s > 1 {
		t.Errorf("share %g", s)
	}
}
