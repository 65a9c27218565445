package tracer_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Hard packets: each test makes something happen for sure, has it confirmed by
// a count that the tracer has no part in, and then holds what every run must
// fulfil (stage.stop): exact accounting against the devices' own counters, hops
// that sum up, no latency that is absurd.

// Softirqs of timers, and those sent to another CPU, run in the context of
// whatever process is there, also of one for which a kernel runs no
// tracepoint's program (see docs/limitations.md): so many percent of the
// journeys may miss a crossing or an end.
const (
	hiddenShare = 5 // with RPS
	hiddenFew   = 2 // where timers let packets go
)

// A softirq that comes while a program of a tracepoint runs finds it taken, which
// is counted and told: so often in any run (an emulated machine's programs take
// long), and for each percent that may be hidden.
const (
	fewMisses  = 3
	mostMisses = 2
)

// happened fails the test unless an independent count says that what it is about took place.
func happened(t *testing.T, what string, count, least uint64) {
	t.Helper()
	if count < least {
		t.Fatalf("%s: %d times, want at least %d: the test shows nothing", what, count, least)
	}
}

// skipped is how many packets began no journey for a reason.
func skipped(target tracer.Target, direction tracer.Direction, reason string) (n uint64) {
	for _, s := range target.Skipped[direction] {
		if s.Reason == reason {
			n += s.Count
		}
	}
	return n
}

// allTold holds that the tracer told of all drops that the kernel told somebody
// else of, and that these are so many, but for those that may be hidden.
func allTold(t *testing.T, what string, told, kernel, all uint64) {
	t.Helper()
	if told != kernel || !nearly(kernel, all) {
		t.Errorf("%s: %d dropped, told of by the kernel %d, want %d", what, told, kernel, all)
	}
}

// nearly are all, but for those that may be hidden.
func nearly(n, all uint64) bool { return n <= all && n*100 >= all*(100-hiddenFew) }

// lossless holds that nothing is told as dropped of a target that lost nothing;
// a busy machine may have sent again what had only not been acknowledged yet.
func (s *stage) lossless(target tracer.Target) {
	s.t.Helper()
	for _, d := range target.Drops {
		if d.Reason != "TCP_OLD_DATA" && d.Reason != "TCP_OLD_SEQUENCE" {
			s.t.Errorf("%s lost nothing: %+v", target.Name, d)
		}
	}
}

// mostly holds that all packets of a kind, new flows and established ones, took
// one way: so many as are wanted, if that is told. A crossing of a veth may be
// hidden, and is then missing from it, of as many as may be.
func (s *stage) mostly(snapshot tracer.Snapshot, w want) {
	s.t.Helper()
	var all, odd uint64
	for _, p := range targetOf(s.t, snapshot, w.target).Paths {
		if p.Direction != w.direction || p.Protocol != w.protocol || p.Peer != w.peer {
			continue
		}
		all += p.Packets
		got := hopNames(p)
		if w.protocol == "tcp" { // what is cut behind a queue has no hop of it
			got = strings.TrimSuffix(got, " qdisc")
		}
		if got != w.hops {
			odd += p.Packets
			if strings.ReplaceAll(got, " softirq", "") != strings.ReplaceAll(w.hops, " softirq", "") {
				s.t.Errorf("not %s: %s", w.hops, describePath(p))
			}
		}
	}
	if all == 0 || odd*100 > all*s.hidden && !w.crossings {
		s.t.Errorf("%s %v %s %s: %d packets of %d by another way than %s", w.target, w.direction, w.protocol, w.peer, odd, all, w.hops)
	}
	if w.packets != 0 && all != w.packets {
		s.t.Errorf("%s %v %s %s: %d packets, want %d", w.target, w.direction, w.protocol, w.peer, all, w.packets)
	}
}

// published holds that what came to nginx by its published port, and what went
// back, took the usual ways; so many packets each, if that is told.
func (s *stage) published(snapshot tracer.Snapshot, protocol string, packets uint64) {
	s.t.Helper()
	in, out := waysOf()
	if s.world.Wire == lab.WireTap && protocol != "tcp" { // a tap has a queue
		out += " qdisc"
	}
	s.mostly(snapshot, want{target: "nginx", direction: tracer.Ingress, protocol: protocol, peer: "uplink", packets: packets, hops: in})
	s.mostly(snapshot, want{target: "nginx", direction: tracer.Egress, protocol: protocol, peer: "uplink", packets: packets, hops: out})
}

// witness watches a device of a node for the rest of the test.
func (s *stage) witness(node *lab.Node, dev string) func() lab.Seen {
	s.t.Helper()
	w, err := node.Witness(dev)
	s.must(err)
	s.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			s.t.Errorf("close the witness: %v", err)
		}
	})
	return func() lab.Seen {
		s.t.Helper()
		seen, err := w.Seen()
		s.must(err)
		return seen
	}
}

// stat reads a counter of a node's own IP stack.
func (s *stage) stat(node *lab.Node, name string) uint64 {
	s.t.Helper()
	n, err := node.Stat(name)
	s.must(err)
	return n
}

// offload switches an offload of a device.
func (s *stage) offload(node *lab.Node, dev string, what lab.Offload, on bool) {
	s.t.Helper()
	s.must(node.SetOffload(dev, what, on))
}

// listen listens in a node, and hands the first connection over.
func (s *stage) listen(node *lab.Node, port int) func() *net.TCPConn {
	s.t.Helper()
	var l *net.TCPListener
	s.must(node.NS.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		return err
	}))
	s.t.Cleanup(func() { _ = l.Close() })
	return func() *net.TCPConn {
		s.t.Helper()
		conn, err := l.AcceptTCP()
		s.must(err)
		return conn
	}
}

// dial connects from a node to one that listens.
func (s *stage) dial(from *lab.Node, to netip.Addr, port uint16) *net.TCPConn {
	s.t.Helper()
	conn, err := from.Dial(s.ctx, "tcp", netip.AddrPortFrom(to, port).String())
	s.must(err)
	return conn.(*net.TCPConn)
}

// pour sends so many bytes from one end of a connection to the other, and closes both.
func (s *stage) pour(from, to *net.TCPConn, bytes int) {
	s.t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, bytes))
		sent <- errors.Join(err, from.CloseWrite())
	}()
	got, err := io.Copy(io.Discard, to)
	s.must(errors.Join(err, <-sent, to.Close(), from.Close()))
	if got != int64(bytes) {
		s.t.Fatalf("%d bytes arrived of %d", got, bytes)
	}
}

// opened waits until packets that begin late are no longer taken for some that began before Open.
func (s *stage) opened() { time.Sleep(20 * time.Millisecond) }

// sum adds up the paths that are wanted.
func sum(target tracer.Target, wanted func(tracer.Path) bool) (packets, segments, bytes uint64) {
	for _, p := range target.Paths {
		if wanted(p) {
			packets, segments, bytes = packets+p.Packets, segments+p.Segments, bytes+p.Bytes
		}
	}
	return packets, segments, bytes
}

// towards are the paths of a direction and protocol.
func towards(direction tracer.Direction, protocol string) func(tracer.Path) bool {
	return func(p tracer.Path) bool { return p.Direction == direction && p.Protocol == protocol }
}

// sink is a published TCP port of a container and a UDP one, for worlds of hard packets.
func hardPorts() []lab.Port {
	return []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}, {Host: 9009, Container: 9}, {Host: 7007, Container: 7}}
}

func parseCount(word string) (uint64, error) { return strconv.ParseUint(word, 10, 64) }

// checksum is that of IP headers.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
