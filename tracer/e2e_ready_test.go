package tracer_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// talk sends a byte and gets one back.
func (s *stage) talk(from, to *net.TCPConn) {
	s.t.Helper()
	for _, c := range [][2]*net.TCPConn{{from, to}, {to, from}} {
		_, err := c[0].Write([]byte{1})
		s.must(err)
		_, err = io.ReadFull(c[1], make([]byte, 1))
		s.must(err)
	}
}

// A packet without data leaves nothing behind that another socket's data would
// be measured from: what a container says to itself is none of ours.
func TestTransportIsOfItsOwnPacket(t *testing.T) {
	const rounds, rest = 30, 60 * time.Millisecond // longer than an acknowledgement is put off
	s := newStage(t, lab.Config{Ports: hardPorts()})
	nginx := s.world.Container("nginx")
	accept := s.listen(nginx.Node, 9)
	own := s.listen(nginx.Node, 10)
	inside := s.dial(nginx.Node, netip.MustParseAddr("127.0.0.1"), 10)
	defer inside.Close()
	insideToo := own()
	defer insideToo.Close()
	s.open(tracer.Config{KeepWindows: true}, "nginx")
	client := s.dial(s.world.Client, s.world.Host.IP4, 9009)
	server := accept()
	for range rounds {
		s.talk(client, server)
		time.Sleep(rest)
		for range 4 { // on whichever CPU
			s.talk(inside, insideToo)
			time.Sleep(time.Millisecond)
		}
	}
	s.must(client.Close())
	s.must(server.Close())
	hist := targetOf(t, s.stop(), "nginx").Waiting.Transport.Hist
	if n := hist.Count(); n > rounds+1 || n < rounds/2 { // the last one is the end of the connection
		t.Errorf("%d values of %d packets with data, the longest one %v", n, rounds, time.Duration(hist.Max))
	}
}
