package tracer_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// shape gives a device of a node a token bucket: bytes per second, and so many waiting.
func (s *stage) shape(node *lab.Node, dev string, rate uint64, limit uint32) {
	s.t.Helper()
	s.must(node.NS.Do(func() error {
		link, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
			Rate:       rate, Buffer: uint32(2000 * 1e6 / float64(rate) * netlink.TickInUsec()), Limit: limit,
		})
	}))
}

// burst sends datagrams at once, and keeps the socket: nobody says then that there is none.
func (s *stage) burst(from *lab.Node, to string, count, size int) {
	s.t.Helper()
	conn, err := from.Dial(s.ctx, "udp", to)
	s.must(err)
	s.t.Cleanup(func() { _ = conn.Close() })
	for range count {
		_, err := conn.Write(make([]byte, size))
		s.must(err)
	}
}

// backlog is how many packets wait at a device, by its queue's own count.
func (s *stage) backlog(node *lab.Node, dev string) uint64 {
	s.t.Helper()
	text, err := node.Output(s.ctx, "tc", "-s", "qdisc", "show", "dev", dev)
	s.must(err)
	for _, word := range strings.Fields(text) {
		if n, ok := strings.CutSuffix(word, "p"); ok {
			if count, err := parseCount(n); err == nil {
				return count
			}
		}
	}
	s.t.Fatalf("no backlog in %s", text)
	return 0
}

// A token bucket on either end of the veth: what waits there waits in the hop
// that crosses it, and nowhere else.
func TestHardShapedVeth(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for direction, name := range []string{"host's end", "container's end"} {
			t.Run(name, func(t *testing.T) { shaped(t, wire, tracer.Direction(direction)) })
		}
	})
}

func shaped(t *testing.T, wire lab.WireKind, direction tracer.Direction) {
	const burst = 30
	s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
	s.absurd = 2 * time.Second
	nginx := s.world.Container("nginx")
	node, dev := s.world.Host, nginx.HostDev
	from, to := s.world.Client, netip.AddrPortFrom(s.world.Host.IP4, 7007).String()
	if direction == tracer.Egress {
		node, dev, from, to = nginx.Node, "eth0", nginx.Node, netip.AddrPortFrom(s.world.Client.IP4, 9).String()
	}
	s.echoServer(s.world.Client, 9)
	s.shape(node, dev, 500_000, 1<<20) // 1028 bytes take 2 ms
	s.open(tracer.Config{}, "nginx")
	s.opened()
	s.burst(from, to, burst, 1000)
	s.await("the burst", func() bool {
		return targetOf(t, s.snapshot(), "nginx").Accounting[direction].Completed >= burst
	})
	snapshot := s.stop()
	var queue, others histogram.Histogram // of new flows and established ones: which of them is a matter of when the first answer comes
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		for _, hop := range p.Hops {
			if p.Direction == direction && hop.Name == "veth" {
				queue.Merge(&hop.Latency.Hist)
			} else {
				others.Merge(&hop.Latency.Hist)
			}
		}
	}
	p50, _ := queue.Quantile(0.5)
	other, _ := others.Quantile(0.75)
	t.Logf("%d packets in the queue, %.0f ns at p50; %.0f ns at p75 of all other hops", queue.Count(), p50, other)
	if queue.Count() < burst || p50 < 10e6 || p50 > 60e6 || other > p50/10 {
		t.Errorf("want %d packets, 10 to 60 ms, and a tenth of it in other hops\n%s", burst, describeSnapshot(snapshot))
	}
}

// A token bucket that is full drops: at that hop, for that reason.
func TestHardFullQueue(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 30
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.absurd = 2 * time.Second
		nginx := s.world.Container("nginx")
		s.shape(s.world.Host, nginx.HostDev, 500_000, 4000)
		s.open(tracer.Config{}, "nginx")
		s.opened()
		s.burst(s.world.Client, "198.51.100.1:7007", sent, 1000)
		s.await("an end for each", func() bool {
			a := targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress]
			return a.Completed+a.Dropped == sent
		})
		// the device counts only what its queue lets through
		lost := dropped(targetOf(t, s.snapshot(), "nginx"), tracer.Ingress, "veth", "QDISC_DROP")
		s.merged = [2]uint64{lost, 0}
		target := targetOf(t, s.stop(), "nginx")
		text, err := s.world.Host.Output(s.ctx, "tc", "-s", "qdisc", "show", "dev", nginx.HostDev)
		s.must(err)
		var kernel uint64
		if _, after, ok := strings.Cut(text, "dropped "); ok {
			kernel, err = parseCount(strings.TrimRight(strings.Fields(after)[0], ","))
			s.must(err)
		}
		happened(t, "the queue dropped a packet", kernel, 5)
		if lost != kernel {
			t.Errorf("%d dropped, %d by the queue: %+v", lost, kernel, target.Drops)
		}
	})
}

// Packets that wait somewhere when tracing ends: each is accounted for, as in
// flight or, where detaching makes the kernel let go of them, as dropped.
func TestHardInFlightAtTheEnd(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 20
		t.Run("in a queueing discipline", func(t *testing.T) {
			s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
			nginx := s.world.Container("nginx")
			s.shape(s.world.Host, nginx.HostDev, 1000, 1<<20) // a second for each
			s.open(tracer.Config{}, "nginx")
			s.opened()
			s.burst(s.world.Client, "198.51.100.1:7007", sent, 1000)
			s.await("packets to wait", func() bool { return s.backlog(s.world.Host, nginx.HostDev) >= sent/2 })
			held := s.backlog(s.world.Host, nginx.HostDev)
			s.must(s.tracer.Stop())
			still := s.backlog(s.world.Host, nginx.HostDev)
			a := targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress]
			if a.Balance() != 0 || a.Started != sent || a.InFlight > held || a.InFlight < still || a.Completed+a.InFlight != sent {
				t.Errorf("%d waited before Stop, %d behind it: %+v", held, still, a)
			}
		})
		t.Run("in an NFQUEUE", func(t *testing.T) {
			s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
			queue, err := s.world.Host.BindQueue(7)
			s.must(err)
			t.Cleanup(func() { _ = queue.Close() })
			s.ruled("-I FORWARD -p udp --dport 7 -j NFQUEUE --queue-num 7")
			s.open(tracer.Config{}, "nginx")
			s.send(s.world.Client, "198.51.100.1:7007", sent, 100)
			s.must(queue.Await(sent))
			s.must(s.tracer.Stop())
			a := targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress]
			if a.Balance() != 0 || a.Started != sent || a.InFlight+a.Dropped != sent {
				t.Errorf("%d wait: %+v", sent, a)
			}
		})
	})
}

// Packets of no connection that conntrack can make sense of, and those of a rule that REJECTs.
func TestHardInvalid(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 25
		s := newStage(t, lab.Config{Wire: wire})
		nginx := s.world.Container("nginx")
		_, err := s.world.Client.Output(s.ctx, "ip", "route", "add", nginx.IP4.String()+"/32", "via", s.world.Host.IP4.String())
		s.must(err)
		s.ruled("-I FORWARD -m conntrack --ctstate INVALID -j DROP")
		s.open(tracer.Config{}, "nginx")
		s.must(s.world.Client.NS.Do(func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			answer := make([]byte, 64) // an echo reply that nobody asked for
			check := checksum(answer)
			answer[2], answer[3] = byte(check>>8), byte(check)
			for range sent {
				if err := unix.Sendto(fd, answer, 0, &unix.SockaddrInet4{Addr: nginx.IP4.As4()}); err != nil {
					return err
				}
			}
			return nil
		}))
		s.await("drops", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Dropped >= sent
		})
		target := targetOf(t, s.stop(), "nginx")
		counted, err := s.world.Host.Output(s.ctx, "iptables", "-nvxL", "FORWARD", "1")
		s.must(err)
		kernel, err := parseCount(strings.Fields(counted)[0])
		s.must(err)
		happened(t, "the rule for INVALID matched", kernel, sent)
		if n := dropped(target, tracer.Ingress, "netfilter/forward", "NETFILTER_DROP"); n != kernel {
			t.Errorf("%d dropped, %d by the rule: %+v", n, kernel, target.Drops)
		}
	})
}
