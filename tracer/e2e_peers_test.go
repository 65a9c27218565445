package tracer_test

import (
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// A target that has gone is still the one that its peer spoke to, also when
// another one has come after it.
func TestPeerThatHasGone(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Names: []string{"first", "second", "stays"}})
		w := s.world
		s.open(tracer.Config{Capacity: 2}, "first", "stays")
		stays := w.Container("stays")
		s.udp(w.Container("first").Node, stays.IP4, lab.PortEcho, 20)
		s.must(s.tracer.Remove("first"))
		if got := ingressFrom(t, s.snapshot()); got["container:first"] != 20 || len(got) != 1 {
			t.Errorf("after first has gone: %v", got)
		}
		s.must(s.tracer.Add(spec(w.Container("second"))))
		s.udp(w.Container("second").Node, stays.IP4, lab.PortEcho, 30)
		s.settle()
		s.must(s.tracer.Stop())
		for _, target := range s.snapshot().Targets {
			for _, p := range target.Paths {
				for _, hop := range p.Hops {
					if strings.HasPrefix(hop.Device, "if") {
						t.Errorf("%s: device of hop %s has no name: %s", target.Name, hop.Name, describePath(p))
					}
				}
			}
		}
		if got := ingressFrom(t, s.snapshot()); got["container:first"] != 20 || got["container:second"] != 30 || len(got) != 2 {
			t.Errorf("after second has come: %v", got)
		}
	})
}

// ingressFrom counts what the target stays got, by its peers.
func ingressFrom(t *testing.T, snapshot tracer.Snapshot) map[string]uint64 {
	t.Helper()
	got := map[string]uint64{}
	for _, p := range targetOf(t, snapshot, "stays").Paths {
		if p.Direction == tracer.Ingress && p.Protocol == "udp" {
			got[p.Peer] += p.Packets
		}
	}
	return got
}
