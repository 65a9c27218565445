package tracer_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// frame is an Ethernet frame with a UDP datagram in it.
func frame(to, from []byte, source, target netip.Addr) []byte {
	f := append(append(append([]byte{}, to...), from...), 0x08, 0x00)
	ip := make([]byte, 20+8+32)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], source.AsSlice())
	copy(ip[16:], target.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], 9)
	binary.BigEndian.PutUint16(ip[22:], 9)
	binary.BigEndian.PutUint16(ip[24:], 8+32)
	return append(f, ip...)
}

// A bridge that does not know where a frame belongs, or that it is for a group,
// makes copies: each begins a journey of its own, counted as cloned. To a group
// that a container has not joined it was none of its.
func TestHardFlood(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for name, to := range map[string][]byte{
			"unknown unicast": {2, 0x42, 0xac, 0x11, 9, 9}, "multicast": {1, 0, 0x5e, 1, 1, 1},
		} {
			t.Run(name, func(t *testing.T) {
				const frames = 20
				names := []string{"nginx", "c2", "c3"}
				s := newStage(t, lab.Config{Wire: wire, Names: names})
				seen := s.witness(s.world.Container("c2").Node, "eth0")
				s.open(tracer.Config{}, names...)
				s.opened()
				mac, err := s.world.Host.HardwareAddr("docker0")
				s.must(err)
				target := netip.MustParseAddr("172.17.9.9")
				if to[0]&1 == 1 {
					target = netip.MustParseAddr("239.1.1.1")
				}
				s.must(s.world.Host.SendFrames("docker0", frame(to, mac, gateway, target), frames))
				s.udp(s.world.Host, s.world.Container("nginx").IP4, lab.PortEcho, frames)
				snapshot := s.stop()
				happened(t, "a copy reached a container", seen().Shared, frames)
				for _, name := range names {
					a := targetOf(t, snapshot, name).Accounting[tracer.Ingress]
					unjoined := skipped(targetOf(t, snapshot, name), tracer.Ingress, "not-joined")
					if to[0]&1 == 1 && (a.Cloned != 0 || a.Dropped != 0 || unjoined != frames) ||
						to[0]&1 == 0 && (a.Cloned != frames || a.Dropped != frames || unjoined != 0) {
						t.Errorf("%s: %+v, %d to no group, want %d copies, which nobody takes", name, a, unjoined, frames)
					}
					for _, d := range targetOf(t, snapshot, name).Drops {
						if d.Hop != "netfilter/input" {
							t.Errorf("%s: dropped at %s for %s", name, d.Hop, d.Reason)
						}
					}
				}
				expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, protocol: "udp", peer: "host", packets: frames - 1, hops: ways(tracer.DetailHooks)["in host"]})
			})
		}
	})
}

// A container that sends to a group reaches all others, and the host.
func TestHardGroupFromContainer(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const frames = 20
		s := newStage(t, lab.Config{Wire: wire, Names: []string{"nginx", "c2", "c3"}})
		seen := s.witness(s.world.Container("c2").Node, "eth0")
		s.open(tracer.Config{}, "nginx", "c2", "c3")
		s.opened()
		nginx := s.world.Container("nginx")
		s.send(nginx.Node, "239.1.1.1:9", frames, 32)
		s.await("copies", func() bool { return seen().Received >= frames })
		snapshot := s.stop()
		happened(t, "a copy reached another container", seen().Shared, frames)
		// the packet itself goes to one of those that the bridge sends it to, which has not joined either
		from := targetOf(t, snapshot, "nginx")
		if a := from.Accounting[tracer.Egress]; a.Started+skipped(from, tracer.Egress, "not-joined") != frames || a.Cloned != 0 {
			t.Errorf("from nginx: %+v %v", a, from.Skipped)
		}
		for _, name := range []string{"c2", "c3"} {
			to := targetOf(t, snapshot, name)
			s.lossless(to)
			if a := to.Accounting[tracer.Ingress]; a.Started+a.Cloned != 0 || skipped(to, tracer.Ingress, "not-joined") != frames {
				t.Errorf("to %s: %+v %v", name, a, to.Skipped)
			}
		}
	})
}

// tcpdump on the bridge, on the veth and in the container gets copies: journeys are what they are without it.
func TestHardCapture(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const datagrams = 200
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		var captures []*lab.Capture
		for _, at := range []struct {
			node *lab.Node
			dev  string
		}{{s.world.Host, "docker0"}, {s.world.Host, nginx.HostDev}, {nginx.Node, "eth0"}, {s.world.Host, "eth0"}} {
			c, err := at.node.Capture(at.dev)
			s.must(err)
			captures = append(captures, c)
			t.Cleanup(func() { s.must(c.Close()) })
		}
		seen := s.witness(nginx.Node, "eth0")
		s.open(tracer.Config{}, "nginx")
		s.udp(s.world.Client, s.world.Host.IP4, 7007, datagrams)
		s.tcp(s.world.Client, s.world.Host.IP4, 7007, datagrams)
		s.udp(s.world.Host, nginx.IP4, lab.PortEcho, datagrams)
		snapshot := s.stop()
		for i, c := range captures {
			happened(t, "a packet was captured", c.Count(), 2*datagrams)
			t.Logf("capture %d: %d packets", i, c.Count())
		}
		happened(t, "a packet shared its data with a copy", seen().Shared, datagrams)
		hops := ways(tracer.DetailHooks)
		if wire == lab.WireTap {
			hops["out uplink"] += " qdisc"
		}
		for _, w := range []want{
			{direction: tracer.Ingress, protocol: "udp", peer: "uplink", packets: datagrams - 1, hops: hops["in uplink"]},
			{direction: tracer.Egress, protocol: "udp", peer: "uplink", packets: datagrams, hops: hops["out uplink"]},
			{direction: tracer.Ingress, protocol: "udp", peer: "host", packets: datagrams - 1, hops: hops["in host"]},
			{direction: tracer.Egress, protocol: "udp", peer: "host", packets: datagrams, hops: hops["out host"]},
			{direction: tracer.Ingress, protocol: "tcp", peer: "uplink", hops: hops["in uplink"]},
		} {
			w.target = "nginx"
			expect(t, snapshot, w)
		}
		for d, a := range targetOf(t, snapshot, "nginx").Accounting {
			if a.Cloned != 0 || a.Dropped != 0 {
				t.Errorf("%v: %+v", tracer.Direction(d), a)
			}
		}
	})
}
