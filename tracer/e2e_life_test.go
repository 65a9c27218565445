package tracer_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// fewestNamespaces leaves out what is open only while the tracer looks at the host's devices.
func fewestNamespaces(t *testing.T) int {
	t.Helper()
	fewest := namespaces(t)
	for range 20 {
		time.Sleep(time.Millisecond)
		fewest = min(fewest, namespaces(t))
	}
	return fewest
}

func TestCloseLeavesNothing(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire})
		before, descriptors := held(t), namespaces(t)
		s.open(tracer.Config{Detail: tracer.DetailTables, Follow: true, Sample: 1}, "nginx")
		s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{}))
		ids := held(t)
		links := kernelLinks(s.snapshot())
		if len(ids.Programs) < 10 || len(ids.Maps) < 5 || links < 5 || len(ids.Links) < links || ids.left(t).total() < ids.total() {
			t.Fatalf("too little in the kernel, the check is blind: %+v; at least %d links are known of", ids, links)
		}
		s.stop()
		s.must(s.tracer.Close())
		ids.gone(t)
		if after := held(t); after.total() != before.total() || namespaces(t) != descriptors {
			t.Errorf("held before %+v, after %+v; namespaces %d, %d", before, after, descriptors, namespaces(t))
		}
		if _, err := s.tracer.Snapshot(); err == nil {
			t.Error("a snapshot of a closed tracer")
		}
	})
}

// kernelLinks counts what the tracer says that it has attached by links of the
// kernel: filters of clsact are none, and users of trampolines share them.
func kernelLinks(snapshot tracer.Snapshot) (n int) {
	for _, a := range snapshot.Hooks {
		if a.Provider != tracer.ProviderClsact && a.Provider != tracer.ProviderTrampoline {
			n += a.Links
		}
	}
	return n
}

// A target that fails to open takes with it what was loaded and attached for others.
func TestFailedOpenLeavesNothing(t *testing.T) {
	s := newStage(t, lab.Config{})
	alone, err := lab.New(s.ctx, lab.Config{Bare: true})
	s.must(err)
	defer func() { s.must(alone.Close()) }()
	before, descriptors := held(t), namespaces(t)
	_, err = tracer.Open(s.ctx, tracer.Config{Host: s.world.Host.NS}, spec(s.world.Container("nginx")),
		tracer.TargetSpec{Name: "alone", Mode: "none", Netns: alone.Client.NS})
	var noWay *tracer.NoWayError
	if !errors.As(err, &noWay) || noWay.Name != "alone" {
		t.Errorf("a target without a way to the host: %v", err)
	}
	if after := held(t); after.total() != before.total() || namespaces(t) != descriptors {
		t.Errorf("held before %+v, after %+v; namespaces %d, %d", before, after, descriptors, namespaces(t))
	}
}

// Containers come and go while others are traced; each has exactly its own packets.
func TestAddAndRemove(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		rounds := 6
		if wire == lab.WireTap {
			rounds = 3
		}
		s := newStage(t, lab.Config{Wire: wire})
		s.open(tracer.Config{Capacity: 3}, "nginx")
		descriptors := fewestNamespaces(t)
		for round := range rounds {
			addAndRemove(t, s, round)
		}
		if n := fewestNamespaces(t); n > descriptors {
			t.Errorf("%d namespaces held before, %d after", descriptors, n)
		}
		snapshot := s.stop()
		if len(snapshot.Targets) != rounds+1 {
			t.Errorf("%d targets in all, want %d", len(snapshot.Targets), rounds+1)
		}
		for _, target := range snapshot.Targets[1:] {
			var in uint64
			for _, p := range target.Paths {
				if p.Direction == tracer.Ingress && p.Protocol == "udp" && p.Peer == "host" {
					in += p.Packets
				}
			}
			if !target.Gone || in != 20 {
				t.Errorf("%s: gone %v, %d packets, want 20", target.Name, target.Gone, in)
			}
		}
	})
}

func addAndRemove(t *testing.T, s *stage, round int) {
	t.Helper()
	name := fmt.Sprintf("c%d", round)
	c, err := s.world.AddContainer(s.ctx, lab.ContainerConfig{Name: name})
	s.must(err)
	s.calm(c.Node)
	s.settle()
	before := s.count(c.NS)
	s.must(s.tracer.Add(spec(c)))
	s.udp(s.world.Host, c.IP4, lab.PortEcho, 20)
	s.settle()
	now := s.count(c.NS)
	since := counters{now.rx - before.rx, now.tx - before.tx}
	s.checkDevice(targetOf(t, s.snapshot(), name), since, since)
	s.must(s.tracer.Remove(name))
	begin := time.Now()
	s.must(s.world.RemoveContainer(s.ctx, name))
	if took := time.Since(begin); took > goneLimit {
		t.Errorf("%s: its veth vanished after %v", name, took)
	}
	if there, err := s.world.Host.HasLink(c.HostDev); there || err != nil {
		t.Errorf("%s is still there: %v", c.HostDev, err)
	}
}

// The table of targets has a size; what does not fit is refused, and the rest is traced on.
func TestFull(t *testing.T) {
	s := newStage(t, lab.Config{Names: []string{"nginx", "c2"}})
	s.open(tracer.Config{Capacity: 1}, "nginx")
	var full *tracer.FullError
	if err := s.tracer.Add(spec(s.world.Container("c2"))); !errors.As(err, &full) {
		t.Errorf("a second target of one: %v", err)
	}
	s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 5, lab.LoadConfig{}))
	s.must(s.tracer.Remove("nginx"))
	s.before["c2"] = s.count(s.world.Container("c2").NS)
	s.must(s.tracer.Add(spec(s.world.Container("c2"))))
	s.udp(s.world.Host, s.world.Container("c2").IP4, lab.PortEcho, 5)
	snapshot := s.stop()
	if a := targetOf(t, snapshot, "c2").Accounting[tracer.Ingress]; a.Completed != 5 {
		t.Errorf("c2 after nginx: %+v", a)
	}
}

// A target that goes while packets are on their way to it: those are cut, and accounted for.
func TestRemoveUnderTraffic(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		s := newStage(t, lab.Config{Wire: wire, Names: []string{"nginx", "c2"}})
		s.open(tracer.Config{Interval: 50 * time.Millisecond}, "nginx", "c2")
		nginx, c2 := s.world.Container("nginx"), s.world.Container("c2")
		var load sync.WaitGroup
		stop := make(chan struct{})
		for _, pair := range []struct {
			from *lab.Node
			to   *lab.Container
		}{{s.world.Host, nginx}, {nginx.Node, c2}, {c2.Node, nginx}} {
			load.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if _, err := pair.from.UDPEcho(s.ctx, netip.AddrPortFrom(pair.to.IP4, lab.PortEcho), 200, 32); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 5 {
			seen := targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Completed
			s.await("traffic", func() bool {
				return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Completed > seen+500
			})
			s.must(s.tracer.Remove("nginx"))
			s.must(s.tracer.Add(spec(nginx)))
		}
		close(stop)
		load.Wait()
		s.settle()
		s.must(s.tracer.Stop())
		snapshot := s.snapshot()
		for _, target := range snapshot.Targets {
			for d, a := range target.Accounting {
				if a.Balance() != 0 || a.Started == 0 || a.Evicted+a.Expired > 0 {
					t.Errorf("%s gone=%v %v: %d unaccounted: %+v", target.Name, target.Gone, tracer.Direction(d), a.Balance(), a)
				}
			}
		}
	})
}

// killEnv makes TestKilled the process that is killed.
const killEnv = "VETHTRACE_TRACER_TEST_KILL"

func TestKilled(t *testing.T) {
	if os.Getenv(killEnv) != "" {
		traceUntilKilled(t)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), killEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	ids := parseIDs(t, line)
	if len(ids.Links) < 20 || ids.left(t).total() != ids.total() {
		t.Fatalf("too little in the kernel, the check is blind: %s", line)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ids.gone(t)
}

// traceUntilKilled says what it holds in the kernel, and stays.
func traceUntilKilled(t *testing.T) {
	t.Helper()
	s := newStage(t, lab.Config{})
	s.open(tracer.Config{Follow: true}, "nginx")
	s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 10, lab.LoadConfig{}))
	ids := held(t)
	for _, of := range [][]uint32{ids.Programs, ids.Maps, ids.Links} {
		fmt.Print(len(of), " ")
		for _, id := range of {
			fmt.Print(id, " ")
		}
	}
	fmt.Println()
	select {}
}

func parseIDs(t *testing.T, line string) kernelIDs {
	t.Helper()
	in := strings.NewReader(line)
	var lists [3][]uint32
	for i := range lists {
		var n int
		if _, err := fmt.Fscan(in, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		lists[i] = make([]uint32, n)
		for j := range lists[i] {
			if _, err := fmt.Fscan(in, &lists[i][j]); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	}
	return kernelIDs{lists[0], lists[1], lists[2]}
}

// An NFQUEUE that somebody reads is told: what waits there is dropped when a hook goes.
func TestNotesQueue(t *testing.T) {
	for _, bound := range []bool{false, true} {
		s := newStage(t, lab.Config{})
		if bound {
			s.bindQueue(7)
		}
		s.open(tracer.Config{}, "nginx")
		s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 5, lab.LoadConfig{}))
		notes := strings.Join(s.stop().Notes, "\n")
		if told := strings.Contains(notes, "NFQUEUE [7]"); told != bound {
			t.Errorf("bound %v: notes %q", bound, notes)
		}
	}
}

// bindQueue binds an NFQUEUE in the host of the world.
func (s *stage) bindQueue(number uint16) {
	s.t.Helper()
	s.must(s.world.Host.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		s.t.Cleanup(func() { _ = unix.Close(fd) })
		message := make([]byte, unix.NLMSG_HDRLEN+4+8)
		binary.NativeEndian.PutUint32(message, uint32(len(message)))
		binary.NativeEndian.PutUint16(message[4:], 3<<8|2) // NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
		binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		binary.BigEndian.PutUint16(message[18:], number) // struct nfgenmsg
		binary.NativeEndian.PutUint16(message[20:], 8)   // NFQA_CFG_CMD
		binary.NativeEndian.PutUint16(message[22:], 1)
		message[24] = 1 // NFQNL_CFG_CMD_BIND
		if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		answer := make([]byte, 256)
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		if n < 20 || binary.NativeEndian.Uint32(answer[16:]) != 0 {
			return fmt.Errorf("bind NFQUEUE %d: %v", number, answer[:n])
		}
		return nil
	}))
}
