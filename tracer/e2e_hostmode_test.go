package tracer_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// hostMode is a process of the host as a target.
func (s *stage) hostMode(h *lab.HostMode) tracer.TargetSpec {
	return tracer.TargetSpec{
		Name: h.Name, Mode: "host", PID: h.PID, Netns: s.world.Host.NS,
		Listeners: []tracer.Listener{
			{Protocol: "tcp", Port: h.HTTP},
			{Protocol: "tcp", Port: h.Echo},
			{Protocol: "udp", Port: h.Echo},
		},
	}
}

// A process of the host's own network: by the uplink and by lo, and nothing of
// its neighbour's, however many connections that has.
func TestHostMode(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const datagrams = 50
		s := newStage(t, lab.Config{Wire: wire, Containers: -1})
		w := s.world
		traced, err := w.StartHostMode(s.ctx, 8000)
		s.must(err)
		other, err := w.StartHostMode(s.ctx, 9000)
		s.must(err)
		s.openSpecs(tracer.Config{}, s.hostMode(traced))
		s.udp(w.Client, w.Host.IP4, traced.Echo, datagrams)
		s.udp(w.Host, netip.MustParseAddr("127.0.0.1"), traced.Echo, datagrams)
		for _, port := range []uint16{traced.Echo, other.Echo} {
			s.udp(w.Client, w.Host.IP4, other.Echo, datagrams)
			s.exact(w.Client.HTTP(s.ctx, "http://198.51.100.1:9000/", 20, lab.LoadConfig{}))
			s.exact(w.Client.TCPConnects(s.ctx, netip.AddrPortFrom(w.Host.IP4, port), 20))
		}
		snapshot := s.stop()
		out := "netfilter/output netfilter/postrouting"
		if wire == lab.WireTap {
			out += " qdisc"
		}
		for _, x := range []want{
			{direction: tracer.Ingress, peer: "uplink", protocol: "udp", packets: datagrams - 1, hops: "netfilter/prerouting netfilter/input"},
			{direction: tracer.Ingress, peer: "uplink", protocol: "udp", packets: 1, flow: "new"},
			{direction: tracer.Egress, peer: "uplink", protocol: "udp", packets: datagrams, hops: out},
			{direction: tracer.Ingress, peer: "uplink", protocol: "tcp", packets: 20, flow: "new"},
		} {
			x.target = traced.Name
			expect(t, snapshot, x)
		}
		loopback := map[tracer.Direction]uint64{}
		for _, p := range targetOf(t, snapshot, traced.Name).Paths {
			if p.Protocol == "udp" && p.Peer != "uplink" {
				loopback[p.Direction] += p.Packets
				if p.Peer != "host" {
					t.Errorf("by lo: %s", describePath(p))
				}
			}
		}
		if loopback[tracer.Ingress] != datagrams || loopback[tracer.Egress] != datagrams {
			t.Errorf("by lo: %v", loopback)
		}
	})
}

// Connections shorter than a millisecond, which no look at the process's sockets would find.
func TestHostModeCountsShortConnections(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const connections = 2000
		s := newStage(t, lab.Config{Wire: wire, Containers: -1})
		traced, err := s.world.StartHostMode(s.ctx, 8000)
		s.must(err)
		other, err := s.world.StartHostMode(s.ctx, 9000)
		s.must(err)
		s.openSpecs(tracer.Config{}, s.hostMode(traced))
		s.exact(s.world.Client.TCPConnects(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, traced.Echo), connections))
		s.exact(s.world.Client.TCPConnects(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, other.Echo), 200))
		snapshot := s.stop()
		expect(t, snapshot, want{target: traced.Name, direction: tracer.Ingress, protocol: "tcp", peer: "uplink", flow: "new", packets: connections})
		// each connection has a SYN-ACK and at least one packet more to its end
		if a := targetOf(t, snapshot, traced.Name).Accounting[tracer.Egress]; a.Completed < 2*connections || a.Completed > 4*connections {
			t.Errorf("out: %+v", a)
		}
	})
}

// A target that connects to itself accepts in the softirq of its own system
// call: the new socket leaves the state LISTEN, and the port is listened on still.
func TestHostModeKeepsItsPort(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const connections, port = 20, 7100
		s := newStage(t, lab.Config{Wire: wire, Containers: -1})
		s.echoServer(s.world.Host, port)
		s.openSpecs(tracer.Config{}, tracer.TargetSpec{
			Name: "both", Mode: "host", PID: os.Getpid(), Netns: s.world.Host.NS,
			Listeners: []tracer.Listener{{Protocol: "tcp", Port: port}},
		})
		s.exact(s.world.Host.TCPConnects(s.ctx, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), connections))
		s.exact(s.world.Client.TCPConnects(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, port), connections))
		expect(t, s.stop(), want{target: "both", direction: tracer.Ingress, protocol: "tcp", peer: "uplink", flow: "new", packets: connections})
	})
}

// proxyLeg are the hops between a client on the host and docker-proxy, by lo.
const proxyLeg = "netfilter/output netfilter/postrouting netfilter/prerouting netfilter/input"

// What docker-proxy answers: both legs, and its own time between them.
func TestProxy(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const requests = 20
		s := newStage(t, lab.Config{Wire: wire})
		proxies, err := s.world.StartProxy(s.ctx)
		s.must(err)
		target := spec(s.world.Container("nginx"))
		for _, p := range proxies {
			target.Proxies = append(target.Proxies, p.PID)
		}
		s.openSpecs(tracer.Config{}, target)
		for range requests {
			_, err := s.world.Host.Output(s.ctx, "curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:8080/")
			s.must(err)
		}
		snapshot := s.stop()
		traced := targetOf(t, snapshot, "nginx")
		for _, x := range []want{
			{direction: tracer.Ingress, flow: "new"}, {direction: tracer.Ingress}, {direction: tracer.Egress},
		} {
			legs := map[bool]uint64{}
			for _, p := range traced.Paths {
				flow := p.Flow
				if p.Direction == x.direction && (x.flow == "" || x.flow == flow) {
					if p.Peer != "proxy" {
						t.Errorf("answered by docker-proxy: %s", describePath(p))
					}
					legs[touchesDevice(p)] += p.Packets
					if want := map[bool]int{false: 1, true: 2}[touchesDevice(p)]; p.Leg() != want {
						t.Errorf("leg %d, want %d: %s", p.Leg(), want, describePath(p))
					}
				}
			}
			if legs[false] < requests || legs[true] < requests || x.flow == "new" && (legs[false] != requests || legs[true] != requests) {
				t.Errorf("%v %s: legs to the proxy %d, from it %d", x.direction, x.flow, legs[false], legs[true])
			}
		}
		hops := ways(tracer.DetailHooks)
		for _, p := range traced.Paths { // leg 1 is between the host's own processes, leg 2 as from the host
			want := map[tracer.Direction]string{tracer.Ingress: hops["in host"], tracer.Egress: hops["out host"]}[p.Direction]
			if p.Leg() == 1 {
				want = proxyLeg
			}
			if got := hopNames(p); got != want {
				t.Errorf("leg %d:\n got %s\nwant %s", p.Leg(), got, want)
			}
		}
		if traced.Proxied == nil || traced.Proxied.Proxy.Hist.Count() != requests {
			t.Errorf("the proxy's own time: %+v", traced.Proxied)
		}
	})
}

// UDP by docker-proxy: it has no connection by which its sockets were known, and
// its own time is told all the same; what its socket waits is not the target's.
func TestProxyUDP(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const requests, port = 40, 7007
		s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: port, Container: 7, Proto: "udp"}}})
		proxies, err := s.world.StartProxy(s.ctx)
		s.must(err)
		target := spec(s.world.Container("nginx"))
		for _, p := range proxies {
			target.Proxies = append(target.Proxies, p.PID)
		}
		s.openSpecs(tracer.Config{KeepWindows: true}, target)
		s.udp(s.world.Host, netip.MustParseAddr("127.0.0.1"), port, requests)
		traced := targetOf(t, s.stop(), "nginx")
		for _, d := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
			legs := map[bool]uint64{}
			for _, p := range traced.Paths {
				if p.Direction != d || p.Protocol != "udp" {
					continue
				}
				if p.Peer != "proxy" {
					t.Errorf("answered by docker-proxy: %s", describePath(p))
				}
				legs[touchesDevice(p)] += p.Packets
			}
			if legs[false] != requests || legs[true] != requests {
				t.Errorf("%v: legs to the proxy %d, from it %d", d, legs[false], legs[true])
			}
		}
		if traced.Proxied == nil || traced.Proxied.Proxy.Hist.Count() != requests {
			t.Errorf("the proxy's own time: %+v", traced.Proxied)
		}
		if n := traced.Waiting.Reader.Hist.Count(); n > requests || n < requests/2 {
			t.Errorf("the application's reads: %d of %d", n, requests)
		}
	})
}
