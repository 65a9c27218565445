package tracer_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// Packets without data, which end in the transport layer without any event.
func TestHardTCPWithoutData(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const connections = 40
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		nginx := s.world.Container("nginx")
		s.must(nginx.Sysctl("net/ipv4/tcp_syncookies", "2")) // always
		accept := s.listen(nginx.Node, 9)
		s.open(tracer.Config{}, "nginx")
		for range connections {
			client := s.dial(s.world.Client, s.world.Host.IP4, 9009)
			server := accept()
			_, err := server.Write(make([]byte, 4000)) // answered by ACKs alone
			s.must(err)
			got := make([]byte, 4000)
			for n := 0; n < len(got); {
				m, err := client.Read(got[n:])
				s.must(err)
				n += m
			}
			s.must(server.SetLinger(0)) // RST
			s.must(server.Close())
			s.must(client.Close())
		}
		snapshot := s.stop()
		happened(t, "a SYN cookie came back", s.stat(nginx.Node, "TcpExt/SyncookiesRecv"), connections)
		happened(t, "an RST was sent", s.stat(nginx.Node, "Tcp/OutRsts"), connections)
		acks := s.stat(nginx.Node, "TcpExt/TCPPureAcks") + s.stat(nginx.Node, "TcpExt/TCPHPAcks")
		happened(t, "a pure ACK was received", acks, connections)
		target := targetOf(t, snapshot, "nginx")
		expect(t, snapshot, want{target: "nginx", direction: tracer.Ingress, protocol: "tcp", peer: "uplink", flow: "new", packets: connections, hops: ways(tracer.DetailHooks)["in uplink"]})
		s.published(snapshot, "tcp", 0)
		// SYN-ACK, RST and at least three packets of data
		if a := target.Accounting[tracer.Egress]; a.Completed < 3*connections || a.Dropped != 0 {
			t.Errorf("out: %+v", a)
		}
	})
}

// What waits in the socket's queue is merged, comes in the wrong order, is looked
// at before it is read, or is read past the tracepoint: what follows a journey's
// end is measured in part, and never wrong.
func TestHardReaders(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for name, read := range map[string]func(s *stage){
			"coalesced": readCoalesced, "out of order": readOutOfOrder, "peek": readPeeked, "splice": readSpliced,
		} {
			t.Run(name, func(t *testing.T) {
				s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
				begin := time.Now()
				read(s)
				snapshot := s.stop()
				s.published(snapshot, "tcp", 0)
				target := targetOf(t, snapshot, "nginx")
				for what, latency := range map[string]tracer.Latency{"transport": target.Waiting.Transport, "reader": target.Waiting.Reader} {
					if latency.Hist.Max > uint64(time.Since(begin)) || latency.Hist.Overflow > 0 {
						t.Errorf("%s: %d ns, longer than the test", what, latency.Hist.Max)
					}
					if n := latency.Hist.Count(); n > target.Accounting[tracer.Ingress].Completed {
						t.Errorf("%s: %d values of %d packets", what, n, target.Accounting[tracer.Ingress].Completed)
					}
				}
				s.lossless(target)
				if share := target.Waiting.Share; share < 0 || share > 1 {
					t.Errorf("share %v", share)
				}
			})
		}
	})
}

// connected is a traced connection from the client to a container's own socket.
func (s *stage) connected() (client, server int, done func()) {
	s.t.Helper()
	accept := s.listen(s.world.Container("nginx").Node, 9)
	s.open(tracer.Config{}, "nginx")
	from := s.dial(s.world.Client, s.world.Host.IP4, 9009)
	to := accept()
	a, err := from.File() // a blocking descriptor: reads are plain system calls
	s.must(err)
	b, err := to.File()
	s.must(err)
	s.must(from.Close())
	s.must(to.Close())
	s.must(unix.SetNonblock(int(a.Fd()), false))
	s.must(unix.SetNonblock(int(b.Fd()), false))
	wait := unix.NsecToTimeval(int64(10 * time.Second))
	s.must(unix.SetsockoptTimeval(int(b.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	return int(a.Fd()), int(b.Fd()), func() {
		s.must(b.Close())
		s.must(a.Close())
	}
}

// readAll reads so many bytes.
func (s *stage) readAll(fd, bytes, flags int) {
	s.t.Helper()
	buf := make([]byte, 64<<10)
	for got := 0; got < bytes; {
		n, _, err := unix.Recvfrom(fd, buf[:min(len(buf), bytes-got)], flags)
		if err != nil || n == 0 {
			s.t.Fatalf("%d bytes read of %d: %v", got, bytes, err)
		}
		got += n
	}
}

// queued waits until so many bytes wait in a socket.
func (s *stage) queued(fd, bytes int) {
	s.t.Helper()
	s.await("bytes in the socket", func() bool {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		s.must(err)
		return n >= bytes
	})
}

func readCoalesced(s *stage) {
	const writes, size = 100, 4 // a packet read from a tap has little room behind its data for others
	client, server, done := s.connected()
	nginx := s.world.Container("nginx").Node
	before := s.stat(nginx, "TcpExt/TCPRcvCoalesce")
	for range writes {
		_, err := unix.Write(client, make([]byte, size))
		s.must(err)
		// what is not acknowledged shares its data with the sender's copy, and is merged with nothing
		s.await("an acknowledgement", func() bool {
			left, err := unix.IoctlGetInt(client, unix.TIOCOUTQ)
			s.must(err)
			return left == 0
		})
	}
	s.queued(server, writes*size)
	s.readAll(server, writes*size, 0)
	done()
	happened(s.t, "a packet was merged in the socket's queue", s.stat(nginx, "TcpExt/TCPRcvCoalesce")-before, writes/2)
}

func readOutOfOrder(s *stage) {
	const rounds = 10
	queue, err := s.world.Client.BindQueue(7)
	s.must(err)
	s.t.Cleanup(func() { _ = queue.Close() })
	hold := func(command string) {
		_, err := s.world.Client.Output(s.ctx, "iptables", command, "OUTPUT", "-p", "tcp", "-m", "length", "--length", "500:1500", "-j", "NFQUEUE", "--queue-num", "7")
		s.must(err)
	}
	// no probe of a tail that is late: it would wait in the queue too
	s.must(s.world.Client.Sysctl("net/ipv4/tcp_early_retrans", "0"))
	// and no waiting until the first one has left
	s.must(s.world.Client.Sysctl("net/ipv4/tcp_autocorking", "0"))
	client, server, done := s.connected()
	nginx := s.world.Container("nginx").Node
	for range rounds {
		hold("-A")
		for range 2 {
			_, err := unix.Write(client, make([]byte, 600))
			s.must(err)
			s.must(queue.Await(1))
		}
		hold("-D") // what is sent again goes by
		s.must(queue.Release(true))
		s.readAll(server, 1200, 0)
	}
	done()
	happened(s.t, "a packet came out of order", s.stat(nginx, "TcpExt/TCPOFOQueue"), rounds)
}

func readPeeked(s *stage) {
	const rounds = 20
	client, server, done := s.connected()
	for range rounds {
		_, err := unix.Write(client, make([]byte, 100))
		s.must(err)
		s.readAll(server, 100, unix.MSG_PEEK)
		s.readAll(server, 100, unix.MSG_PEEK)
		s.readAll(server, 100, 0)
	}
	// each was looked at three times, and counts once: for the first byte that was read
	reader := targetOf(s.t, s.snapshot(), "nginx").Waiting.Reader.Hist
	if n := reader.Count(); n > rounds {
		s.t.Errorf("%d values of %d packets", n, rounds)
	}
	done()
}

func readSpliced(s *stage) {
	const rounds, size = 20, 1000
	client, server, done := s.connected()
	var pipe [2]int
	s.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	spliced := 0
	for range rounds {
		_, err := unix.Write(client, make([]byte, size))
		s.must(err)
		for got := 0; got < size; {
			n, err := unix.Splice(server, nil, pipe[1], nil, size-got, 0)
			s.must(err)
			_, err = unix.Read(pipe[0], make([]byte, n))
			s.must(err)
			got += int(n)
			spliced++
		}
	}
	done()
	happened(s.t, "data left its socket by a pipe", uint64(spliced), rounds)
}

// A sender whose pace is limited stamps what it sends ahead of time: such a
// packet's first hop is no negative one.
func TestHardPacedSender(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.hidden = hiddenFew // a timer sends what is paced, and the answer to it comes in the same softirq
		nginx := s.world.Container("nginx")
		accept := s.listen(nginx.Node, 9)
		seen := s.witness(nginx.Node, "eth0")
		s.open(tracer.Config{}, "nginx")
		client := s.dial(s.world.Client, s.world.Host.IP4, 9009)
		server := accept()
		raw, err := server.SyscallConn()
		s.must(err)
		s.must(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, 1<<20)
		}))
		s.must(err)
		// both ways at once: ACKs are not paced, and carry the stamp of the next paced packet
		both := make(chan error, 2)
		for _, conn := range []interface {
			Read([]byte) (int, error)
		}{client, server} {
			go func() {
				buf := make([]byte, 64<<10)
				for got := 0; got < 300_000; {
					n, err := conn.Read(buf)
					if err != nil {
						both <- err
						return
					}
					got += n
				}
				both <- nil
			}()
		}
		go func() { _, _ = server.Write(make([]byte, 300_000)) }()
		for range 300 {
			_, err := client.Write(make([]byte, 1000))
			s.must(err)
			time.Sleep(time.Millisecond) // a pace of its own, so that ACKs are due
		}
		for range 2 {
			s.must(<-both)
		}
		s.must(client.Close())
		s.must(server.Close())
		snapshot := s.stop()
		happened(t, "a birth stamp in the future", seen().Future, 20)
		s.published(snapshot, "tcp", 0)
	})
}

// Datagrams of three sizes: each is counted with all of its bytes.
func TestHardDatagramSizes(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		const rounds = 100
		s := newStage(t, lab.Config{Wire: wire, Ports: hardPorts()})
		s.open(tracer.Config{}, "nginx")
		var want uint64
		for _, size := range []int{8, 512, 1472} {
			s.exact(s.world.Client.UDPEcho(s.ctx, netip.AddrPortFrom(s.world.Host.IP4, 7007), rounds, size))
			want += rounds * uint64(20+8+size)
		}
		snapshot := s.stop()
		s.published(snapshot, "udp", 3*rounds)
		target := targetOf(t, snapshot, "nginx")
		for d := range 2 {
			packets, segments, bytes := sum(target, towards(tracer.Direction(d), "udp"))
			if packets != 3*rounds || segments != packets || bytes != want {
				t.Errorf("%v: %d packets, %d segments, %d bytes, want %d, %d", tracer.Direction(d), packets, segments, bytes, 3*rounds, want)
			}
		}
	})
}
