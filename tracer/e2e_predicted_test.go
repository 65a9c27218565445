package tracer_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// A program of traffic control takes packets past the host's netfilter and past
// the bridge: the path is there, and is named as one that was not predicted. What
// goes the ordinary way beside it is not.
func TestPathThatWasNotPredicted(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent, port = 40, 7
		s := newStage(t, lab.Config{Wire: wire})
		s.odd = true
		w, nginx := s.world, s.world.Container("nginx")
		s.route(w.Client, nginx.IP4, w.Host.IP4)
		s.open(tracer.Config{}, "nginx")
		mac, err := nginx.HardwareAddr("eth0")
		s.must(err)
		redirect, err := w.Host.RedirectTCX("eth0", nginx.HostDev, mac, port)
		s.must(err)
		t.Cleanup(func() { s.must(redirect.Close()) })
		s.send(w.Client, netip.AddrPortFrom(nginx.IP4, port).String(), sent, 32)
		s.exact(w.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{KeepAlive: true}))
		s.await("packets", func() bool { return arrived(targetOf(t, s.snapshot(), "nginx"), "udp") >= sent })
		snapshot := s.stop()
		target := targetOf(t, snapshot, "nginx")
		if len(target.Unpredicted) != 1 || len(target.Unseen) != 0 {
			t.Fatalf("want the one path that was redirected: %+v, unseen %+v\n%s", target.Unpredicted, target.Unseen, describeSnapshot(snapshot))
		}
		got := target.Unpredicted[0]
		want := tracer.Unpredicted{After: "uplink/ingress eth0", Seen: "port/egress " + nginx.HostDev, Predicted: []string{"host/prerouting"}}
		if got.Packets != sent || !sameDeviation(got, want) {
			t.Errorf("%+v", got)
		}
		i := slices.IndexFunc(target.Paths, func(p tracer.Path) bool { return p.ID == got.Path })
		if i < 0 || target.Paths[i].Protocol != "udp" || target.Paths[i].Direction != tracer.Ingress {
			t.Errorf("of path %s: %d", got.Path, i)
		}
	})
}

// The reverse: XDP takes what a container sends out of the veth, before anything
// of the stack sees it, to where it leaves the kernel. The veth has counted, no
// journey has come out of it.
func TestPredictedWayThatNobodyTook(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent, port = 400, 99
		s, target := withXDP(t, wire, port, sent)
		if len(target.Unseen) != 1 || len(target.Unpredicted) != 0 {
			t.Fatalf("want the way out of the container: %+v, unpredicted %+v, %+v", target.Unseen, target.Unpredicted, target.Accounting)
		}
		got, dev := target.Unseen[0], s.world.Container("nginx").HostDev
		if got.Direction != tracer.Egress || got.Device != "eth0" || got.Peer != dev || got.Packets > sent || got.Packets < sent/2 {
			t.Errorf("%+v", got)
		}
	})
}

// withXDP redirects what nginx sends to a port, sends so much, and traces until a difference shows.
func withXDP(t *testing.T, wire lab.WireKind, port uint16, sent int) (*stage, tracer.Target) {
	t.Helper()
	s := newStage(t, lab.Config{Wire: wire})
	w, nginx := s.world, s.world.Container("nginx")
	sink, err := w.Host.AddSink("sink0")
	s.must(err)
	t.Cleanup(func() { s.must(sink.Close()) })
	redirect, err := w.Host.RedirectXDP(nginx.HostDev, "sink0", port)
	s.must(err)
	t.Cleanup(func() { s.must(redirect.Close()) })
	s.open(tracer.Config{}, "nginx")
	s.send(nginx.Node, netip.AddrPortFrom(w.Client.IP4, port).String(), sent, 32)
	s.await("the difference", func() bool {
		unseen := targetOf(t, s.snapshot(), "nginx").Unseen // of those that have been gone for a second
		return len(unseen) > 0 && unseen[0].Packets >= uint64(sent)/2
	})
	s.must(s.tracer.Stop()) // not s.stop: what XDP has taken is lost from sight
	return s, targetOf(t, s.snapshot(), "nginx")
}

func sameDeviation(a, b tracer.Unpredicted) bool {
	return a.After == b.After && a.Seen == b.Seen && slices.Equal(a.Predicted, b.Predicted)
}

// Bridges that begin to call netfilter are another world: packets are held
// against the one that they met.
func TestPredictionFollowsTheWorld(t *testing.T) {
	off := false
	s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}, BridgeNFCallIptables: &off})
	w := s.world
	nginx, c2 := w.Container("nginx"), w.Container("c2")
	s.open(tracer.Config{}, "nginx", "c2")
	s.udp(nginx.Node, c2.IP4, lab.PortEcho, 20)
	s.must(w.Host.Sysctl("net/bridge/bridge-nf-call-iptables", "1"))
	s.udp(nginx.Node, c2.IP4, lab.PortEcho, 20)
	snapshot := s.stop()
	seen := map[bool]bool{}
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		seen[strings.Contains(hopNames(p), "netfilter/forward")] = true
	}
	if !seen[true] || !seen[false] {
		t.Errorf("want paths with and without the host's netfilter:\n%s", describeSnapshot(snapshot))
	}
}

func arrived(target tracer.Target, protocol string) uint64 {
	n, _, _ := sum(target, towards(tracer.Ingress, protocol))
	return n
}

// route makes a node send packets for one address by another node.
func (s *stage) route(node *lab.Node, to, by netip.Addr) {
	s.t.Helper()
	s.must(node.NS.Do(func() error {
		return netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(to.BitLen(), to.BitLen())}, Gw: by.AsSlice(),
		})
	}))
}

// checkPredicted holds that all that was seen was predicted, and the reverse.
func (s *stage) checkPredicted(target tracer.Target) {
	s.t.Helper()
	if s.odd {
		return
	}
	for _, u := range target.Unpredicted {
		s.t.Errorf("%s: not predicted: %+v", target.Name, u)
		for _, p := range target.Paths {
			if p.ID == u.Path {
				s.t.Log(describePath(p))
			}
		}
	}
	for _, u := range target.Unseen {
		s.t.Errorf("%s: not seen: %+v", target.Name, u)
	}
}
