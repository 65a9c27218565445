package tracer_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// ruled runs iptables in the host of a world.
func (s *stage) ruled(rule string) {
	s.t.Helper()
	_, err := s.world.Host.Output(s.ctx, "iptables", strings.Fields(rule)...)
	s.must(err)
}

// send sends n datagrams that nobody answers.
func (s *stage) send(from *lab.Node, address string, n, size int) {
	s.t.Helper()
	conn, err := from.Dial(s.ctx, "udp", address)
	s.must(err)
	defer conn.Close()
	for sent := 0; sent < n; {
		switch _, err := conn.Write(make([]byte, size)); {
		case err == nil:
			sent++
		case !errors.Is(err, unix.ECONNREFUSED): // that of an earlier one: this one was not sent
			s.t.Fatal(err)
		}
	}
}

// dropped is how many packets were dropped at a hop for a reason.
func dropped(target tracer.Target, direction tracer.Direction, hop, reason string) (n uint64) {
	for _, d := range target.Drops {
		if d.Direction == direction && d.Hop == hop && d.Reason == reason {
			n += d.Count
		}
	}
	return n
}

// The host's rules refuse packets at different hooks; each is told by hop and reason.
func TestDropsInNetfilter(t *testing.T) {
	for name, c := range map[string]struct {
		rule string
		hop  string
	}{
		"policy": {"", "netfilter/forward"}, // Docker's FORWARD policy is DROP
		"raw":    {"-t raw -A PREROUTING -p udp --dport 7 -j DROP", "netfilter/prerouting"},
		"reject": {"-I FORWARD -p udp --dport 7 -j REJECT", "netfilter/forward"},
	} {
		t.Run(name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, wire lab.WireKind) {
				const sent = 25
				s := newStage(t, lab.Config{Wire: wire})
				nginx := s.world.Container("nginx")
				_, err := s.world.Client.Output(s.ctx, "ip", "route", "add", nginx.IP4.String()+"/32", "via", s.world.Host.IP4.String())
				s.must(err)
				if c.rule != "" {
					s.ruled(c.rule)
				}
				s.open(tracer.Config{}, "nginx")
				s.send(s.world.Client, nginx.IP4.String()+":7", sent, 32)
				s.await("drops", func() bool {
					return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Dropped >= sent
				})
				target := targetOf(t, s.stop(), "nginx")
				a := target.Accounting[tracer.Ingress]
				if a.Started != sent || a.Dropped != sent {
					t.Errorf("%d sent: %+v", sent, a)
				}
				if n := dropped(target, tracer.Ingress, c.hop, "NETFILTER_DROP"); n != sent {
					t.Errorf("%d dropped in %s, want %d: %+v", n, c.hop, sent, target.Drops)
				}
			})
		})
	}
}

// A container's own packets that the host refuses, and those its own namespace refuses.
func TestDropsOnTheWayOut(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 25
		s := newStage(t, lab.Config{Wire: wire})
		nginx := s.world.Container("nginx")
		s.ruled("-I FORWARD -p udp --dport 99 -j DROP")
		s.open(tracer.Config{}, "nginx")
		s.send(nginx.Node, s.world.Client.IP4.String()+":99", sent, 32)
		s.await("drops", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Egress].Dropped >= sent
		})
		target := targetOf(t, s.stop(), "nginx")
		if n := dropped(target, tracer.Egress, "netfilter/forward", "NETFILTER_DROP"); n != sent {
			t.Errorf("%d dropped, want %d: %+v", n, sent, target.Drops)
		}
	})
}

// A socket that nobody reads: the journey was completed, what came behind it is told beside.
func TestDropsBehindTheEnd(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 60 // more at once would not fit into the tap
		s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: 9009, Container: 9, Proto: "udp"}}})
		nginx := s.world.Container("nginx")
		s.must(nginx.NS.Do(func() error {
			small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
				var err error
				_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
				return err
			}}
			conn, err := small.ListenPacket(context.Background(), "udp4", ":9")
			if err == nil {
				t.Cleanup(func() { _ = conn.Close() })
			}
			return err
		}))
		s.open(tracer.Config{}, "nginx")
		s.send(s.world.Client, s.world.Host.IP4.String()+":9009", sent, 512)
		s.await("all to arrive", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Completed >= sent
		})
		target := targetOf(t, s.stop(), "nginx")
		if a := target.Accounting[tracer.Ingress]; a.Started != sent || a.Completed != sent || a.Dropped != 0 {
			t.Errorf("%d sent: %+v", sent, a)
		}
		kernel, err := nginx.Output(s.ctx, "nstat", "-az", "UdpRcvbufErrors")
		s.must(err)
		n := dropped(target, tracer.Ingress, "transport", "SOCKET_RCVBUFF")
		if words := strings.Fields(kernel); n < sent/2 || len(words) < 3 || words[len(words)-2] != strconv.FormatUint(n, 10) {
			t.Errorf("%d dropped, by the kernel: %s: %+v", n, kernel, target.Drops)
		}
	})
}

// patience is how long a fact is waited for: longer than any busy machine holds
// it up, and than the minute from one measurement of what tcx costs to the next under load.
const patience = 90 * time.Second

// goneLimit is how long a namespace's end may take on a slow and busy machine: a link that pins it would keep it for good.
const goneLimit = 10 * time.Second

// await waits for a fact.
func (s *stage) await(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited %v in vain for %s\n%s", patience, what, describeSnapshot(s.snapshot()))
		}
	}
}
