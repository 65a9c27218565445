package tracer_test

import (
	"net"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// alike makes a frame from the client for the host's stack whose packet looks
// like every other one: senders that are not connected number none of theirs.
func (s *stage) alike(to *lab.Node, port uint16) []byte {
	s.t.Helper()
	mac, err := s.world.Host.HardwareAddr("eth0")
	s.must(err)
	from, err := s.world.Client.HardwareAddr("eth0")
	s.must(err)
	f := frame(mac, from, s.world.Client.IP4, to.IP4)
	f[14+20+2], f[14+20+3] = byte(port>>8), byte(port)
	return f
}

// swallow reads what comes to a UDP port of a node, and forgets it.
func (s *stage) swallow(node *lab.Node, port int) {
	s.t.Helper()
	var conn net.PacketConn
	s.must(node.NS.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", (&net.UDPAddr{Port: port}).String())
		return err
	}))
	s.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1)
		for {
			if _, _, err := conn.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
}

// Packets of the same words at the same addresses of memory, one after another:
// one that is dropped while nobody looks is not taken for an earlier one that
// the socket had got.
func TestBudgetDropsOfPacketsThatLookAlike(t *testing.T) {
	const rounds, each = 40, 25
	s := newStage(t, budgetWorld(lab.WireVeth))
	nginx := s.world.Container("nginx")
	s.swallow(nginx.Node, 98)
	s.ruled("-I FORWARD -p udp --dport 98 -j ACCEPT")
	s.ruled("-I FORWARD -p udp --dport 99 -j ACCEPT")
	s.ruled("-t mangle -A POSTROUTING -p udp --dport 99 -j DROP")
	s.open(tracer.Config{MaxOverhead: tight}, "nginx")
	arrive, fall := s.alike(nginx.Node, 98), s.alike(nginx.Node, 99)
	states := map[tracer.BudgetState]int{}
	s.underLoad(func() {
		for range rounds {
			s.must(s.world.Client.SendFrames("eth0", arrive, each))
			states[s.snapshot().Observer.Budget.State]++
			s.must(s.world.Client.SendFrames("eth0", fall, each))
		}
		// until the windows that were open have been closed, and others opened
		s.await("windows", func() bool {
			s.must(s.world.Client.SendFrames("eth0", arrive, each))
			s.must(s.world.Client.SendFrames("eth0", fall, each))
			states[s.snapshot().Observer.Budget.State]++
			return s.snapshot().Observer.Budget.Windows >= 4 && states[tracer.BudgetDetached] > 20
		})
	})
	target := targetOf(t, s.stopBudget(), "nginx")
	for _, d := range target.Drops {
		if d.Hop != "netfilter/postrouting" || d.Reason != "NETFILTER_DROP" {
			t.Errorf("%+v", d)
		}
	}
	var sent uint64
	for _, n := range states {
		sent += uint64(n * each)
	}
	if n := dropped(target, tracer.Ingress, "netfilter/postrouting", "NETFILTER_DROP"); n != sent {
		t.Errorf("%d told of %d: %+v", n, sent, target.Drops)
	}
	t.Logf("%d dropped, %v", sent, states)
}

// The same beside another container, whose drops are none of the target's.
func TestDropsOfPacketsThatLookAlike(t *testing.T) {
	const rounds, each = 40, 10
	s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}})
	nginx, other := s.world.Container("nginx"), s.world.Container("c2")
	s.swallow(nginx.Node, 98)
	s.ruled("-I FORWARD -p udp --dport 98 -j ACCEPT")
	s.ruled("-I FORWARD -p udp --dport 99 -j ACCEPT")
	s.ruled("-t mangle -A POSTROUTING -p udp --dport 99 -j DROP")
	s.open(tracer.Config{}, "nginx")
	arrive, fall := s.alike(nginx.Node, 98), s.alike(other.Node, 99)
	for range rounds {
		s.must(s.world.Client.SendFrames("eth0", arrive, each))
		s.must(s.world.Client.SendFrames("eth0", fall, each))
	}
	s.await("all to arrive", func() bool {
		return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Completed >= rounds*each
	})
	if drops := targetOf(t, s.stop(), "nginx").Drops; len(drops) > 0 {
		t.Errorf("told of a target that lost nothing: %+v", drops)
	}
}
