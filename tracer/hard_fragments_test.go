package tracer_test

import (
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Datagrams of three fragments: on their way conntrack makes one packet of
// them, IP cuts it again, and so at each end. The fragment that came last goes
// on with its journey; the others end there, as merged; what is cut off begins
// as a copy.
func TestHardFragments(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const datagrams, size, parts = 50, 4000, 3
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		s.open(tracer.Config{}, "nginx")
		s.opened()
		s.exact(s.world.Client.UDPEcho(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, 7007), datagrams, size))
		// in: merged at PRE_ROUTING before the device, and in the container behind it
		s.merged = [2]uint64{(parts - 1) * datagrams, 0}
		snapshot := s.stop()
		happened(t, "the container made one of fragments", s.stat(nginx.Node, "Ip/ReasmOKs"), datagrams)
		happened(t, "the container cut a packet", s.stat(nginx.Node, "Ip/FragCreates"), parts*datagrams)
		s.fragmented(snapshot, "ipv4", wire, datagrams, 20+8+size, tracer.Accounting{
			Started: parts * datagrams, Cloned: (parts - 1) * datagrams, Completed: datagrams, Merged: 2 * (parts - 1) * datagrams,
		})
	})
}

// The same over IPv6, where only the sender cuts.
func TestHardFragmentsIPv6(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const datagrams, size, parts = 50, 4000, 3
		s := newStage(t, lab.Config{Wire: wire, IPv6: true, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		s.open(tracer.Config{Protocol: "udp"}, "nginx")
		s.opened()
		s.exact(s.world.Client.UDPEcho(s.ctx, netip.AddrPortFrom(s.world.Host.IP6, 7007), datagrams, size))
		s.merged = [2]uint64{(parts - 1) * datagrams, 0}
		snapshot := s.stop()
		happened(t, "the container made one of fragments", s.stat(nginx.Node, "Ip6/ReasmOKs"), datagrams)
		happened(t, "the container cut a packet", s.stat(nginx.Node, "Ip6/FragCreates"), parts*datagrams)
		s.fragmented(snapshot, "ipv6", wire, datagrams, 40+8+size, tracer.Accounting{
			// IPv6 puts a packet together behind LOCAL_IN: each fragment arrives there
			Started: parts * datagrams, Cloned: (parts - 1) * datagrams, Completed: parts * datagrams, Merged: (parts - 1) * datagrams,
		})
	})
}

// fragmented holds that each datagram completed once each way, as a whole.
func (s *stage) fragmented(snapshot tracer.Snapshot, family string, wire lab.WireKind, datagrams, size uint64, in tracer.Accounting) {
	s.t.Helper()
	target := targetOf(s.t, snapshot, "nginx")
	hops := ways(tracer.DetailHooks)
	if wire == lab.WireTap {
		hops["out uplink"] += " qdisc"
	}
	for d, way := range []string{hops["in uplink"], hops["out uplink"]} {
		packets, _, bytes := sum(target, func(p tracer.Path) bool {
			if p.Direction != tracer.Direction(d) || p.Family != family || p.Protocol != "udp" {
				return false
			}
			if d == 0 && family == "ipv6" && hopNames(p) == "veth softirq netfilter/input" {
				if want := in.Cloned; p.Packets != want || p.Bytes != 0 {
					s.t.Errorf("want %d fragments, counted by the first one's bytes: %s", want, describePath(p))
				}
				return false
			}
			if hopNames(p) != way {
				s.t.Errorf("want %s: %s", way, describePath(p))
			}
			return true
		})
		if packets != datagrams || bytes != datagrams*size {
			s.t.Errorf("%v: %d packets of %d bytes, want %d of %d", tracer.Direction(d), packets, bytes, datagrams, datagrams*size)
		}
	}
	s.lossless(target)
	if a := target.Accounting[tracer.Ingress]; a != in {
		s.t.Errorf("in:  %+v\nwant %+v", a, in)
	}
}

// Fragments of one packet that come in any order, and one that never comes: the others wait, and are in flight.
func TestHardFragmentsWaiting(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const size = 4000
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.open(tracer.Config{}, "nginx")
		s.opened()
		nginx := s.world.Container("nginx")
		mac, err := s.world.Host.HardwareAddr("eth0")
		s.must(err)
		from, err := s.world.Client.HardwareAddr("eth0")
		s.must(err)
		const sent = 10
		for i := range sent {
			parts := cut(frame(mac, from, s.world.Client.IP4, s.world.Host.IP4), uint16(i+1), size, 7007)
			slices.Reverse(parts[1:])
			for _, part := range parts {
				s.must(s.world.Client.SendFrames("eth0", part, 1))
			}
		}
		s.await("datagrams", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Completed >= sent
		})
		lone := cut(frame(mac, from, s.world.Client.IP4, s.world.Host.IP4), 99, size, 7007)
		s.must(s.world.Client.SendFrames("eth0", lone[0], 1))
		s.must(s.world.Client.SendFrames("eth0", lone[1], 1))
		s.await("fragments", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].InFlight == 2
		})
		s.held = [2]uint64{2, 0}
		s.merged = [2]uint64{2*sent + 2, 0}
		snapshot := s.stop()
		happened(t, "the host waited for fragments", s.stat(s.world.Host, "Ip/ReasmReqds"), 3*sent+2)
		happened(t, "the container made one of fragments", s.stat(nginx.Node, "Ip/ReasmOKs"), sent)
		s.lossless(targetOf(t, snapshot, "nginx"))
		if packets, _, bytes := sum(targetOf(t, snapshot, "nginx"), towards(tracer.Ingress, "udp")); packets != sent || bytes != sent*(20+8+size) {
			t.Errorf("%d packets of %d bytes", packets, bytes)
		}
	})
}

// cut makes the fragments of a datagram with so many bytes of payload.
func cut(whole []byte, id uint16, size int, port uint16) [][]byte {
	const most = 1480
	udp := make([]byte, 8+size)
	copy(udp, []byte{0x30, 0x39, byte(port >> 8), byte(port), byte((8 + size) >> 8), byte(8 + size), 0, 0})
	var parts [][]byte
	for at := 0; at < len(udp); at += most {
		part := udp[at:min(len(udp), at+most)]
		f := slices.Clone(whole[:14+20])
		ip := f[14:]
		offset := uint16(at / 8)
		if at+most < len(udp) {
			offset |= 0x2000
		}
		length := uint16(20 + len(part))
		copy(ip[2:], []byte{byte(length >> 8), byte(length), byte(id >> 8), byte(id), byte(offset >> 8), byte(offset)})
		ip[10], ip[11] = 0, 0
		check := checksum(ip)
		ip[10], ip[11] = byte(check>>8), byte(check)
		parts = append(parts, append(f, part...))
	}
	return parts
}

// IPv6 with destination options before the transport header.
func TestHardExtensionHeaders(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const sent = 30
		s := newStage(t, lab.Config{Wire: wire, IPv6: true, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		s.open(tracer.Config{Protocol: "udp"}, "nginx")
		before := s.stat(nginx.Node, "Udp6/InDatagrams")
		conn, err := s.world.Client.Dial(s.ctx, "udp", netip.AddrPortFrom(s.world.Host.IP6, 7007).String())
		s.must(err)
		defer conn.Close()
		raw, err := conn.(*net.UDPConn).SyscallConn()
		s.must(err)
		s.must(raw.Control(func(fd uintptr) {
			// next header, length, PadN of four bytes
			options := string([]byte{0, 0, 1, 4, 0, 0, 0, 0})
			err = unix.SetsockoptString(int(fd), syscall.IPPROTO_IPV6, unix.IPV6_DSTOPTS, options)
		}))
		s.must(err)
		answer := make([]byte, 64)
		for range sent {
			_, err := conn.Write(make([]byte, 32))
			s.must(err)
			_, err = conn.Read(answer)
			s.must(err)
		}
		snapshot := s.stop()
		happened(t, "the container read a datagram", s.stat(nginx.Node, "Udp6/InDatagrams")-before, sent)
		hops := ways(tracer.DetailHooks)
		in := expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, family: "ipv6", protocol: "udp", peer: "uplink", packets: sent - 1, hops: hops["in uplink"]})
		if bytes := uint64(40 + 8 + 8 + 32); in.Bytes != in.Packets*bytes {
			t.Errorf("%d bytes of %d packets of %d", in.Bytes, in.Packets, bytes)
		}
	})
}

// Datagrams of three fragments that nobody listens for: one drop each, though
// the kernel frees as many packets as there were fragments.
func TestHardFragmentsRefused(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const datagrams, size = 20, 4000
		s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{{Host: 7100, Container: 71, Proto: "udp"}}})
		nginx := s.world.Container("nginx")
		s.open(tracer.Config{}, "nginx")
		s.opened()
		s.send(s.world.Client, netip.AddrPortFrom(s.world.Host.IP4, 7100).String(), datagrams, size)
		s.await("datagrams", func() bool {
			return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Completed >= datagrams
		})
		s.merged = [2]uint64{2 * datagrams, 0}
		target := targetOf(t, s.stop(), "nginx")
		happened(t, "the container made one of fragments", s.stat(nginx.Node, "Ip/ReasmOKs"), datagrams)
		if n := dropped(target, tracer.Ingress, "transport", "NO_SOCKET"); n != datagrams || len(target.Drops) != 1 {
			t.Errorf("want %d drops at transport: %+v", datagrams, target.Drops)
		}
	})
}
