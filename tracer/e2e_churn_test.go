package tracer_test

import (
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Two hundred containers come and go one after the other beside one that stays:
// nothing of them is left, neither their namespaces nor what was attached in them.
func TestTwoHundredComeAndGo(t *testing.T) {
	const rounds = 200
	s := newStage(t, lab.Config{})
	s.open(tracer.Config{Capacity: 4}, "nginx")
	before, namespaces := held(t), fewestNamespaces(t)
	crowd, err := s.world.AddCrowd(s.ctx, "c", rounds)
	s.must(err)
	links := len(held(t).Links)
	var slowest time.Duration
	for _, c := range crowd {
		s.must(s.tracer.Add(spec(c)))
		if attached := len(held(t).Links); attached <= links {
			t.Fatalf("%s: %d links, as many as without it", c.Name, attached)
		}
		s.must(s.tracer.Remove(c.Name))
		begin := time.Now()
		s.must(s.world.RemoveContainer(s.ctx, c.Name))
		slowest = max(slowest, time.Since(begin))
		if there, err := s.world.Host.HasLink(c.HostDev); there || err != nil {
			t.Fatalf("%s of %s is still there: %v", c.HostDev, c.Name, err)
		}
	}
	t.Logf("the slowest veth vanished after %v, of 1.5 s that are the goal", slowest.Round(time.Millisecond))
	if slowest > goneLimit {
		t.Errorf("a veth vanished after %v only", slowest)
	}
	if n := fewestNamespaces(t); n > namespaces {
		t.Errorf("%d namespaces held before, %d after", namespaces, n)
	}
	s.await("the links of those that have gone to go", func() bool { return len(held(t).Links) <= len(before.Links) })
	if after := held(t); len(after.Programs) > len(before.Programs) || len(after.Maps) > len(before.Maps) {
		t.Errorf("held before %+v, after %+v", before, after)
	}
}
