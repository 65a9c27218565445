package tracer_test

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// A bridge sends what is for a group to each container: those that have not
// joined it throw it away, and have lost nothing.
func TestHardGroups(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 20
		s := newStage(t, lab.Config{Wire: wire, IPv6: true, Names: []string{"nginx", "c2"}})
		nginx, other := s.world.Container("nginx"), s.world.Container("c2")
		s.open(tracer.Config{}, "nginx")
		s.opened()
		discarded := s.stat(nginx.Node, "Ip6/InMcastPkts")
		for node, dev := range map[*lab.Node]string{s.world.Host: "docker0", other.Node: "eth0", nginx.Node: "eth0"} {
			var index int
			s.must(node.NS.Do(func() error {
				link, err := netlink.LinkByName(dev)
				if err == nil {
					index = link.Attrs().Index
				}
				return err
			}))
			s.send(node, fmt.Sprintf("[ff02::4711%%%d]:99", index), sent, 32)
		}
		s.await("packets to groups", func() bool {
			return s.stat(nginx.Node, "Ip6/InMcastPkts")-discarded >= 2*sent
		})
		target := targetOf(t, s.stop(), "nginx")
		s.lossless(target)
		if n := target.Accounting[tracer.Ingress].Dropped + target.Accounting[tracer.Egress].Dropped; n > 0 {
			t.Errorf("%d dropped: %+v", n, target.Accounting)
		}
		if n := skipped(target, tracer.Ingress, "not-joined"); n < 2*sent {
			t.Errorf("%d packets to a group that it has not joined, want %d: %+v", n, 2*sent, target.Skipped)
		}
	})
}
