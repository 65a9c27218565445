package tracer_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Two packets whose fragments have one entry of vt_fragments, one within the
// other. The second takes the entry, and is followed as any. Of the first, the
// fragment that had come belongs to nothing any more: it is counted as merged
// when its skb is used again. Those that come later have no ports to be known
// by, so the packet begins anew where it is in pieces with ports again, at the
// container's device. With an entry each both are followed all the way.
func TestHardFragmentsOfOneEntry(t *testing.T) {
	const sent, parts = 2, 3
	for name, c := range map[string]struct {
		same   bool
		late   uint64            // packets of a pair that begin at the container's device
		before uint64            // what became part of another packet before the device
		pair   tracer.Accounting // but for what is completed
	}{
		"one entry": {
			same: true, late: 1, before: 1 + (parts - 1),
			pair: tracer.Accounting{
				// two of the three pieces of what begins late share their data since the
				// host put them together, as copies of a bridge do
				Started: 1 + parts + 1, Cloned: (parts - 1) + 2, Merged: 1 + (parts - 1) + sent*(parts-1),
			},
		},
		"an entry each": {
			before: sent * (parts - 1),
			pair:   tracer.Accounting{Started: sent * parts, Cloned: sent * (parts - 1), Merged: 2 * sent * (parts - 1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, wire lab.WireKind) {
				const pairs, size, small = 10, 4000, 32
				s := newStage(t, lab.Config{Wire: wire, Ports: []lab.Port{
					{Host: 7100, Container: 71, Proto: "udp"}, {Host: 7200, Container: 72, Proto: "udp"},
				}})
				nginx := s.world.Container("nginx")
				s.swallow(nginx.Node, 71)
				s.open(tracer.Config{}, "nginx")
				s.opened()
				s.interleaved(fellows(s.world.Client.IP4, c.same, pairs), size)
				happened(t, "the container made one of fragments", s.stat(nginx.Node, "Ip/ReasmOKs"), sent*pairs)
				more, left := s.useAgain()
				if left > c.late*pairs/2 {
					t.Errorf("%d slots of packets that are no more have not been needed again", left)
				}
				s.held = [2]uint64{left, 0}
				s.merged = [2]uint64{c.before * pairs, 0}
				target := targetOf(t, s.stop(), "nginx")
				s.lossless(target)
				whole := ways(tracer.DetailHooks)["in uplink"]
				for way, want := range map[string]uint64{whole: (sent-c.late)*pairs + more, "veth softirq netfilter/input": c.late * pairs} {
					packets, _, bytes := sum(target, func(p tracer.Path) bool { return hopNames(p) == way && p.Protocol == "udp" })
					length := want * (20 + 8 + size)
					if way == whole {
						length -= more * (size - small)
					}
					if packets != want || bytes != length {
						t.Errorf("%s: %d packets of %d bytes, want %d of %d", way, packets, bytes, want, length)
					}
				}
				want := tracer.Accounting{
					Started: c.pair.Started*pairs + more, Cloned: c.pair.Cloned * pairs,
					Completed: sent*pairs + more, Merged: c.pair.Merged*pairs - left, InFlight: left,
				}
				if a := target.Accounting[tracer.Ingress]; a != want {
					t.Errorf("in:  %+v\nwant %+v", a, want)
				}
			})
		})
	}
}

// useAgain lets datagrams wait in a socket of the container, more at once than
// skbs were in use, until each slot of a packet that is no more has been needed
// by another one: it returns how many it took. What another process of the
// machine keeps meanwhile is not to be had: so many slots are left.
func (s *stage) useAgain() (sent, left uint64) {
	s.t.Helper()
	const rounds, most, each = 20, 1000, 50 // a device's backlog holds as many
	nginx := s.world.Container("nginx")
	var conn net.PacketConn
	s.must(nginx.NS.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", ":72")
		return err
	}))
	s.t.Cleanup(func() { _ = conn.Close() })
	raw, err := conn.(*net.UDPConn).SyscallConn()
	s.must(err)
	s.must(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) }))
	s.must(err)
	datagram := s.alike(s.world.Host, 7200)
	delivered := s.stat(nginx.Node, "Ip/InDelivers")
	for round := 0; ; round++ {
		left = targetOf(s.t, s.snapshot(), "nginx").Accounting[tracer.Ingress].InFlight
		if left == 0 || round == rounds {
			s.t.Logf("%d datagrams", sent)
			return sent, left
		}
		s.onCPU(round, func() { // each CPU has skbs of its own
			for range most / each {
				s.must(s.world.Client.SendFrames("eth0", datagram, each))
				sent += each
				s.await("datagrams in the socket", func() bool { return s.stat(nginx.Node, "Ip/InDelivers") >= delivered+sent })
			}
		})
		s.must(conn.SetReadDeadline(time.Now().Add(patience)))
		for range most {
			_, _, err := conn.ReadFrom(make([]byte, 1))
			s.must(err)
		}
	}
}

// onCPU runs fn on one of the CPUs that the process may use, which take turns.
func (s *stage) onCPU(turn int, fn func()) {
	s.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	s.must(unix.SchedGetaffinity(0, &all))
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	for cpu, left := 0, turn%all.Count(); ; cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		if left--; left < 0 {
			one.Set(cpu)
			break
		}
	}
	s.must(unix.SchedSetaffinity(0, &one))
	fn()
}

// interleaved sends pairs of datagrams of three fragments: of the first one a
// fragment, all of the second, what is left of the first; each time until the
// container has read both.
func (s *stage) interleaved(pairs [][2]uint16, size int) {
	s.t.Helper()
	nginx := s.world.Container("nginx")
	to, err := s.world.Host.HardwareAddr("eth0")
	s.must(err)
	from, err := s.world.Client.HardwareAddr("eth0")
	s.must(err)
	whole := frame(to, from, s.world.Client.IP4, s.world.Host.IP4)
	for i, pair := range pairs {
		outer, inner := cut(whole, pair[0], size, 7100), cut(whole, pair[1], size, 7100)
		for _, part := range append(append(outer[:1:1], inner...), outer[1:]...) {
			s.must(s.world.Client.SendFrames("eth0", part, 1))
		}
		s.await("both datagrams", func() bool {
			return s.stat(nginx.Node, "Udp/InDatagrams") >= 2*uint64(i+1)
		})
	}
}

// fellows are pairs of ids of UDP packets of a source: with one entry of
// vt_fragments and unlike tags or, for comparison, with an entry each. There
// are twice as many ids as entries.
func fellows(source netip.Addr, same bool, pairs int) (all [][2]uint16) {
	waiting := map[uint32]uint16{} // by entry
	for id := uint16(1); len(all) < pairs && id != 0; id++ {
		at, tag := fragmentEntry(source, id, 17)
		if !same {
			if other, _ := fragmentEntry(source, id+1, 17); id%2 == 1 && other != at {
				all = append(all, [2]uint16{id, id + 1})
			}
			continue
		}
		if before, ok := waiting[at]; ok {
			if _, its := fragmentEntry(source, before, 17); its != tag {
				all = append(all, [2]uint16{before, id})
			}
			delete(waiting, at)
			continue
		}
		waiting[at] = id
	}
	return all
}

// fragmentEntry is where bpf/change.h keeps an IPv4 packet of which fragments
// were seen: the entry of vt_fragments, and the tag. What the test holds shows
// whether it says the same.
func fragmentEntry(source netip.Addr, id uint16, protocol uint8) (at, tag uint32) {
	address := source.As4()
	word := binary.NativeEndian.Uint16([]byte{byte(id >> 8), byte(id)})
	from := uint64(binary.NativeEndian.Uint32(address[:])) * 0x9e3779b97f4a7c15 >> 32
	hash := (from<<32 | uint64(word)) ^ uint64(protocol)<<24
	hash *= 0xff51afd7ed558ccd
	hash = (hash ^ hash>>32) * 0xc4ceb9fe1a85ec53
	return uint32(hash>>40) & (32768 - 1), uint32(hash)
}
