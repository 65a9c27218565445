package tracer_test

import (
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// The exact order of hops, for each detail, on every way that packets take
// between a container on the default bridge and whoever it talks to.
func TestOrderOfHops(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, detail := range []tracer.Detail{tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables} {
			t.Run(string(detail), func(t *testing.T) {
				s := newStage(t, lab.Config{Wire: wire, IPv6: true, Names: []string{"nginx", "c2", "c3"}, Ports: []lab.Port{{Host: 8080, Container: 80}, {Host: 7007, Container: 7, Proto: "udp"}}})
				s.echoServer(s.world.Client, 9)
				s.echoServer(s.world.Host, 9)
				s.open(tracer.Config{Detail: detail}, "nginx", "c2")
				w := s.world
				nginx, c2, c3 := w.Container("nginx"), w.Container("c2"), w.Container("c3")
				s.exact(w.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{KeepAlive: true}))
				s.udp(w.Client, w.Host.IP4, 7007, 20)
				s.udp(w.Host, nginx.IP4, 7, 20)
				s.udp(nginx.Node, netip.MustParseAddr("172.17.0.1"), 9, 20)
				s.udp(nginx.Node, w.Client.IP4, 9, 20)
				s.tcp(nginx.Node, w.Client.IP4, 9, 20)
				s.tcp(nginx.Node, c2.IP4, 7, 20)
				s.tcp(nginx.Node, c3.IP4, 7, 20)
				s.tcp(c3.Node, c2.IP4, 7, 20)
				s.tcp(w.Host, nginx.IP6, 7, 20)
				snap := s.stop()
				t.Log(describeSnapshot(snap))
			})
		}
	})
}
