package tracer

import (
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/tracer/journey"
)

// retiredPath is a path of a target to a peer that has gone, with n packets of 100 ns.
func retiredPath(of *target, end time.Time, peer string, n uint64) *pathState {
	s := &series{segments: n, bytes: 10 * n}
	s.total.AddN(100, n)
	return &pathState{
		target: of, end: end, peerName: peer, hooks: []journey.Hook{journey.PortEgress}, series: []*series{s},
	}
}

func TestForgetLetsGoOfWhatHasBeenGoneForLong(t *testing.T) {
	now := time.Unix(10000, 0)
	long, just := now.Add(-time.Hour), now.Add(-time.Second)
	live := &target{}
	goneLong, goneJust := &target{gone: true, end: long}, &target{gone: true, end: just}
	goneLong.account[Ingress].Unpathed, goneJust.account[Egress].Unpathed = 3, 5
	tr := &Tracer{cfg: Config{Keep: time.Minute}, removed: []*target{goneLong, goneJust}, seen: &collection{retired: []*pathState{
		retiredPath(goneLong, long, "uplink", 1),
		retiredPath(goneJust, just, "uplink", 2),
		retiredPath(live, long, "container:a", 4),
		retiredPath(live, long, "container:b", 8),
		retiredPath(live, just, "container:c", 16),
	}}}
	for i := range tr.seen.null {
		tr.seen.null[i] = &series{}
	}
	tr.forget(now)
	tr.forget(now) // again: nothing is added twice
	if len(tr.removed) != 1 || tr.removed[0] != goneJust {
		t.Errorf("removed: %v", tr.removed)
	}
	if f := tr.forgotten; f.stamps != 1 || f.unpathed != 3 {
		t.Errorf("of those forgotten %+v is kept, want 1 stamp and 3 without a path", f)
	}
	want := []struct {
		peer  string
		count uint64
	}{{"uplink", 2}, {goneName, 12}, {"container:c", 16}}
	if len(tr.seen.retired) != len(want) {
		t.Fatalf("%d paths", len(tr.seen.retired))
	}
	for i, state := range tr.seen.retired {
		if s := state.series[0]; state.peerName != want[i].peer || s.total.Count() != want[i].count || s.bytes != 10*want[i].count {
			t.Errorf("%d: %s with %d", i, state.peerName, s.total.Count())
		}
	}
}

func TestForgetKeepsAllUnlessToldOtherwise(t *testing.T) {
	gone := &target{gone: true, end: time.Unix(1, 0)}
	tr := &Tracer{removed: []*target{gone}, seen: &collection{retired: []*pathState{retiredPath(gone, gone.end, "uplink", 1)}}}
	tr.forget(time.Unix(1e9, 0))
	if len(tr.removed) != 1 || len(tr.seen.retired) != 1 {
		t.Errorf("%d targets, %d paths", len(tr.removed), len(tr.seen.retired))
	}
}
