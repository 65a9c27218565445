package tracer_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Messages and attributes of linux/netfilter/nfnetlink_queue.h.
const (
	queueSubsystem = 3 << 8
	queuePacket    = queueSubsystem // message 0
	queueVerdict   = queueSubsystem | 1
	queueConfig    = queueSubsystem | 2

	configCommand = 1 // struct { u8 command; u8; be16 family }
	configParams  = 2 // struct { be32 range; u8 mode }
	packetHeader  = 1 // struct { be32 id; be16 protocol; u8 hook }
	verdictHeader = 2 // struct { be32 verdict; be32 id }
	commandBind   = 1
	copyMeta      = 1
	accept        = 1
)

// slowQueue binds an NFQUEUE in the host of the world, and lets each packet go
// on after a time. The result counts its verdicts.
func (s *stage) slowQueue(number uint16, wait time.Duration) *atomic.Int64 {
	s.t.Helper()
	var conn *netlink.Conn
	s.must(s.world.Host.NS.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}))
	s.t.Cleanup(func() { _ = conn.Close() })
	s.must(conn.SetReadBuffer(8 << 20))
	for _, attribute := range []netlink.Attribute{
		{Type: configCommand, Data: []byte{commandBind, 0, 0, unix.AF_INET}},
		{Type: configParams, Data: []byte{0, 0, 0, 0, copyMeta}},
	} {
		_, err := conn.Execute(queueMessage(s, queueConfig, netlink.Request|netlink.Acknowledge, number, attribute))
		s.must(err)
	}
	verdicts := &atomic.Int64{}
	go func() {
		for {
			messages, err := conn.Receive()
			if err != nil {
				return // closed
			}
			for _, m := range messages {
				id := packetID(m)
				time.AfterFunc(wait, func() {
					answer := netlink.Attribute{Type: verdictHeader, Data: append([]byte{0, 0, 0, accept}, id...)}
					if _, err := conn.Send(queueMessage(s, queueVerdict, netlink.Request, number, answer)); err == nil {
						verdicts.Add(1)
					}
				})
			}
		}
	}()
	return verdicts
}

func queueMessage(s *stage, kind netlink.HeaderType, flags netlink.HeaderFlags, number uint16, attributes ...netlink.Attribute) netlink.Message {
	raw, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		s.t.Error(err) // only of attributes that are too long
	}
	head := []byte{unix.AF_UNSPEC, 0, 0, 0} // struct nfgenmsg: family, version, number in network order
	binary.BigEndian.PutUint16(head[2:], number)
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: flags}, Data: append(head, raw...)}
}

func packetID(m netlink.Message) []byte {
	attributes, err := netlink.UnmarshalAttributes(m.Data[4:])
	for _, a := range attributes {
		if err == nil && m.Header.Type == queuePacket && a.Type == packetHeader {
			return a.Data[:4]
		}
	}
	return make([]byte, 4)
}

// A queue whose verdicts take 30 ms: taking a netfilter hook away would make the
// kernel drop all that waits in it. Windows come and go, nothing is lost; what
// stays is where journeys to and from the host begin and end.
func TestBudgetLosesNothingInAQueue(t *testing.T) {
	const senders, each = 40, 40
	world := budgetWorld(lab.WireVeth)
	world.Ports = append(world.Ports, lab.Port{Host: 7009, Container: 9, Proto: "udp"})
	s := newStage(t, world)
	s.echoServer(s.world.Container("nginx").Node, 9)
	verdicts := s.slowQueue(7, 30*time.Millisecond)
	s.ruled("-I FORWARD -p udp --dport 7 -j NFQUEUE --queue-num 7")
	s.ruled("-I FORWARD -p udp --sport 7 -j NFQUEUE --queue-num 7")
	s.absurd = 2 * time.Second // they wait in the queue
	s.open(tracer.Config{MaxOverhead: tight}, "nginx")
	var lost, answered atomic.Int64
	var last error
	send := func(wait *sync.WaitGroup) {
		for range senders {
			wait.Go(func() {
				result, err := s.world.Client.UDPEcho(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, 7007), each, 32)
				lost.Add(int64(result.Errors))
				answered.Add(int64(result.Done))
				if err := errors.Join(err, result.Last); err != nil {
					last = err
				}
			})
		}
	}
	sent := int64(0)
	// beside the queue's, traffic that uses the budget up
	s.loaded(s.world.Client, netip.AddrPortFrom(s.world.Host.IP4, 7009), func() {
		var wait sync.WaitGroup
		send(&wait)
		attached := s.seenLinks(map[string]int{"tracepoint": 1, "input": 2, "output": 2})
		if attached["forward"]+attached["prerouting"] > 0 || attached["tracepoint"] < 3 {
			t.Errorf("in a window %v", attached)
		}
		wait.Wait()
		sent += senders * each
		// some of them are seen, with their wait in the host: those of a window, which are rare where stamps are dear
		s.await("a journey with the queue's 30 ms", func() bool {
			waited := waitedIn(targetOf(t, s.snapshot(), "nginx"), 30*time.Millisecond)
			if len(waited) > 0 {
				t.Logf("the queue's wait is in %v", waited)
				return true
			}
			send(&wait)
			wait.Wait()
			sent += senders * each
			return false
		})
	})
	s.stopBudget()
	if lost.Load() != 0 || answered.Load() != sent || verdicts.Load() < 2*sent {
		t.Errorf("%d lost, %d answered of %d, %d verdicts: %v", lost.Load(), answered.Load(), sent, verdicts.Load(), last)
	}
}

// waitedIn are the hops that some packet took so long in.
func waitedIn(target tracer.Target, least time.Duration) (hops []string) {
	for _, p := range target.Paths {
		for _, hop := range p.Hops {
			if hop.Latency.Hist.Max > uint64(least) && !slices.Contains(hops, hop.Name) {
				hops = append(hops, hop.Name)
			}
		}
	}
	return hops
}

// What is forwarded past a queue is paid for within the budget, as in windows only.
func TestBudgetIsHeldBesideAQueue(t *testing.T) {
	const budget = 0.01
	s := newStage(t, budgetWorld(lab.WireVeth))
	s.slowQueue(7, 0)
	s.ruled("-I FORWARD -p udp --dport 99 -j NFQUEUE --queue-num 7") // there, and without traffic
	defer s.paced(8)()
	defer s.paced(8)()
	s.openBusy(tracer.Config{MaxOverhead: budget}, "nginx")
	seen := s.cycles(4)
	t.Logf("%.3f%% of a CPU used in %d windows and %v, %d packets",
		seen.Observer.CPUShare*100, seen.Observer.Budget.Windows, seen.Duration, packets(seen))
	s.heldBudget(seen, budget)
	s.must(s.tracer.Stop())
}
