package tracer_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// What follows a journey's end is measured for TCP and UDP, on a wire with birth
// stamps (which the kernel clears there) and on one without.
func TestWaiting(t *testing.T) {
	const fewest = 25 // of 50: where the application is late, a later packet takes the place of one that waits
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}, {Host: 8080, Container: 80}}})
		s.open(tracer.Config{KeepWindows: true}, "nginx") // others of the machine may send meanwhile
		s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 50, lab.LoadConfig{}))
		tcp := targetOf(t, s.snapshot(), "nginx").Waiting
		if n := tcp.Reader.Hist.Count(); n < fewest {
			t.Errorf("TCP: %d of 50 requests' reads were measured (transport %d)", n, tcp.Transport.Hist.Count())
		}
		s.udp(s.world.Client, s.world.Host.IP4, 7007, 50)
		both := targetOf(t, s.stop(), "nginx").Waiting
		if n := both.Reader.Hist.Count() - tcp.Reader.Hist.Count(); n < fewest {
			t.Errorf("UDP: %d of 50 datagrams' reads were measured", n)
		}
		if both.Share <= 0 || both.Share > 1 {
			t.Errorf("share %v", both.Share)
		}
	})
}

// A port that nobody listens on: the journey is complete, and the drop behind it is counted.
func TestDropBehindTheEnd(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire})
		s.open(tracer.Config{}, "nginx")
		nginx := s.world.Container("nginx")
		for range 10 {
			conn, err := s.world.Host.Dial(s.ctx, "tcp", netip.AddrPortFrom(nginx.IP4, 9999).String())
			if err == nil {
				conn.Close()
				t.Fatal("somebody listens on port 9999")
			}
		}
		var refused uint64
		for _, drop := range targetOf(t, s.stop(), "nginx").Drops {
			if drop.Hop == "transport" && drop.Reason == "NO_SOCKET" {
				refused += drop.Count
			}
		}
		if refused != 10 {
			t.Errorf("%d refused connections were counted, want 10", refused)
		}
	})
}

// connect gives a container one more device, as `docker network connect` does.
func (s *stage) connect(to *lab.Container, bridge string, addr netip.Prefix) netip.Addr {
	s.t.Helper()
	s.must(s.world.Host.NS.Do(func() error {
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = "vethlate", master.Attrs().Index
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth1", PeerNamespace: netlink.NsFd(to.NS.FD())}
		if err := netlink.LinkAdd(pair); err != nil {
			return err
		}
		return netlink.LinkSetUp(pair)
	}))
	s.must(to.NS.Do(func() error {
		dev, err := netlink.LinkByName("eth1")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(dev); err != nil {
			return err
		}
		return netlink.AddrAdd(dev, &netlink.Addr{IPNet: &net.IPNet{
			IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), 32),
		}})
	}))
	return addr.Addr()
}

// A network that a running container is connected to is followed: its packets
// are seen there as on the first one.
func TestNetworkConnected(t *testing.T) {
	s := newStage(t, lab.Config{})
	s.must(s.world.AddBridge(s.ctx, "br-late", netip.MustParsePrefix("172.31.0.0/24")))
	s.open(tracer.Config{}, "nginx")
	nginx := s.world.Container("nginx")
	addr := s.connect(nginx, "br-late", netip.MustParsePrefix("172.31.0.9/24"))
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if len(targetOf(t, s.snapshot(), "nginx").Interfaces) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the second network was not noticed")
		}
	}
	s.udp(s.world.Host, addr, lab.PortEcho, 50)
	s.must(s.tracer.Stop())
	snapshot := s.snapshot()
	ways := map[string]uint64{}
	for _, p := range targetOf(t, snapshot, "nginx").Paths {
		if p.Protocol == "udp" {
			ways[fmt.Sprint(p.Direction, " ", p.Peer)] += p.Packets
		}
	}
	if ways["ingress host"] < 50 || ways["egress host"] < 50 {
		t.Errorf("by the second network: %v, want 50 each way", ways)
	}
}

// A device that is renamed is shown by its new name.
func TestDeviceRenamed(t *testing.T) {
	s := newStage(t, lab.Config{})
	s.open(tracer.Config{}, "nginx")
	nginx := s.world.Container("nginx")
	s.must(s.world.Host.NS.Do(func() error {
		link, err := netlink.LinkByName(nginx.HostDev)
		if err != nil {
			return err
		}
		return netlink.LinkSetName(link, "vethnew")
	}))
	was := nginx.HostDev
	s.await("the new name", func() bool {
		i := targetOf(t, s.snapshot(), "nginx").Interfaces
		return len(i) == 1 && i[0].Peer == "vethnew" && i[0].Bridge == "docker0"
	})
	s.udp(s.world.Host, nginx.IP4, lab.PortEcho, 20)
	s.must(s.tracer.Stop())
	for _, p := range targetOf(t, s.snapshot(), "nginx").Paths {
		for _, hop := range p.Hops {
			if hop.Device == was {
				t.Errorf("%s is at %s, which is called vethnew now: %s", hop.Name, was, describePath(p))
			}
		}
	}
}
