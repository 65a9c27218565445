package tracer_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/internal/vm/wire"
	"github.com/vethtrace/vethtrace/tracer"
)

// bothWires runs a test on a wire whose packets carry birth stamps and on one
// whose packets come as from another machine.
func bothWires(t *testing.T, test func(t *testing.T, wire lab.WireKind)) {
	t.Helper()
	for _, wire := range []lab.WireKind{lab.WireVeth, lab.WireTap} {
		t.Run(wire.String(), func(t *testing.T) { test(t, wire) })
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // for what hangs: where a kernel is emulated, attaching alone takes half a minute
	t.Cleanup(cancel)
	return ctx
}

// stage is a world and what is traced in it.
type stage struct {
	t      *testing.T
	ctx    context.Context
	world  *lab.World
	tracer *tracer.Tracer
	before map[string]counters // of each container's devices, before Open
	absurd time.Duration       // no latency may be as long
	merged [2]uint64           // by direction: packets that became part of others before the device
	held   [2]uint64           // by direction: packets that the test keeps from ending
	hidden uint64              // percent of the journeys that may pass where no tracepoint runs a program
	copied bool                // packets are doubled: nothing tells where a copy came from
	beside bool                // the target's device counts packets that no hook of it sees
	odd    bool                // paths are there that the model does not predict: the test says which
}

// counters are a namespace's own count of the packets of its devices but lo.
type counters struct{ rx, tx uint64 }

// newStage makes a world in which nothing speaks unasked: no neighbour is
// probed anew, and without IPv6 no device solicits anything.
func newStage(t *testing.T, cfg lab.Config) *stage {
	t.Helper()
	s := &stage{t: t, ctx: testContext(t), absurd: time.Second}
	if os.Getenv(wire.Emulated) != "" { // what takes how long means nothing there
		s.absurd = time.Minute
	}
	var names []string
	if !cfg.IPv6 { // containers come when their host's IPv6 is off already
		names, cfg.Containers = cfg.Names, -1
		if len(names) == 0 {
			names = []string{"nginx"}
		}
	}
	world, err := lab.New(s.ctx, cfg)
	s.must(err)
	s.world = world
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Errorf("close the world: %v", err)
		}
	})
	if !cfg.IPv6 {
		for _, node := range []*lab.Node{world.Client, world.Host} {
			for _, conf := range []string{"all", "default"} {
				s.must(node.Sysctl("net/ipv6/conf/"+conf+"/disable_ipv6", "1"))
			}
		}
	}
	s.must(world.Host.Sysctl("net/ipv4/igmp_link_local_mcast_reports", "0")) // bridges join groups
	for i, name := range names {
		ports := cfg.Ports
		if ports == nil {
			ports = []lab.Port{{Host: 8080, Container: lab.PortHTTP}}
		}
		if i > 0 {
			ports = nil
		}
		_, err := world.AddContainer(s.ctx, lab.ContainerConfig{Name: name, Ports: ports})
		s.must(err)
	}
	s.calm(world.Client, world.Host)
	for _, c := range world.Containers {
		s.calm(c.Node)
	}
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// spec is a container as a target.
func spec(c *lab.Container) tracer.TargetSpec {
	target := tracer.TargetSpec{Name: c.Name, Mode: "bridge", PID: c.PID, Netns: c.NS}
	for _, p := range c.Ports {
		target.Ports = append(target.Ports, tracer.Port{
			Host: netip.AddrPortFrom(netip.Addr{}, p.Host), Container: p.Container, Protocol: p.Proto,
		})
	}
	for i, p := range target.Ports {
		if p.Protocol == "" {
			target.Ports[i].Protocol = "tcp"
		}
	}
	return target
}

// open traces the named containers from a quiet moment on.
func (s *stage) open(cfg tracer.Config, names ...string) {
	s.t.Helper()
	var specs []tracer.TargetSpec
	for _, name := range names {
		specs = append(specs, spec(s.world.Container(name)))
	}
	s.openSpecs(cfg, specs...)
}

func (s *stage) openSpecs(cfg tracer.Config, specs ...tracer.TargetSpec) {
	s.t.Helper()
	s.settle()
	s.before = map[string]counters{}
	for _, c := range s.world.Containers {
		s.before[c.Name] = s.count(c.NS)
	}
	s.openQuiet(cfg, specs...)
}

// openQuiet opens the tracer; s.before is set.
func (s *stage) openQuiet(cfg tracer.Config, specs ...tracer.TargetSpec) {
	s.t.Helper()
	cfg.Host = s.world.Host.NS
	tr, err := tracer.Open(s.ctx, cfg, specs...)
	s.must(err)
	s.tracer = tr
	s.t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			s.t.Errorf("close the tracer: %v", err)
		}
	})
}

// count reads the kernel's own counters of a namespace.
func (s *stage) count(ns *netns.NS) (c counters) {
	s.t.Helper()
	s.must(ns.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			// what a VLAN device carries its lower device counts too
			if stats := l.Attrs().Statistics; stats != nil && l.Attrs().Name != "lo" && l.Type() != "vlan" {
				c.rx += stats.RxPackets
				c.tx += stats.TxPackets
			}
		}
		return err
	}))
	return c
}

// settle waits until no container's devices count anything more.
func (s *stage) settle() {
	s.t.Helper()
	quiet := 10
	if s.world.Host.IP6.IsValid() {
		quiet = 220 // multicast listeners report themselves twice within a second
	}
	var before []counters
	same := 0
	for deadline := time.Now().Add(20 * time.Second); same < quiet; time.Sleep(5 * time.Millisecond) {
		var now []counters
		for _, c := range s.world.Containers {
			now = append(now, s.count(c.NS))
		}
		if same++; !slices.Equal(before, now) {
			same = 0
		}
		before = now
		if time.Now().After(deadline) {
			s.t.Fatal("the world does not become quiet")
		}
	}
}

// snapshot is what was seen so far.
func (s *stage) snapshot() tracer.Snapshot {
	s.t.Helper()
	snapshot, err := s.tracer.Snapshot()
	s.must(err)
	return snapshot
}

// stop ends tracing, and holds what every run has to fulfil.
func (s *stage) stop() tracer.Snapshot {
	s.t.Helper()
	s.settle()
	// detaching takes a while: what moves meanwhile, a TCP's second try say, is seen or is not
	least := s.counted()
	s.must(s.tracer.Stop())
	most := s.counted()
	snapshot := s.snapshot()
	if !snapshot.Final {
		s.t.Error("after Stop a snapshot is final")
	}
	// a few misses may be anybody's packets, as tracepoints are the machine's: what they would do to the target's is held below
	if o := snapshot.Observer; o.Unpathed != 0 || o.RecursionMisses > fewMisses+mostMisses*s.hidden {
		s.t.Errorf("observer: %d unpathed, %d recursion misses", o.Unpathed, o.RecursionMisses)
	}
	for _, target := range snapshot.Targets {
		s.checkAccounting(target)
		s.checkPaths(target)
		s.checkPredicted(target)
		if _, ok := most[target.Name]; ok && !target.Gone {
			s.checkDevice(target, least[target.Name], most[target.Name])
		}
	}
	if s.t.Failed() {
		s.t.Log("\n" + describeSnapshot(snapshot))
	}
	return snapshot
}

func (s *stage) checkAccounting(target tracer.Target) {
	s.t.Helper()
	for d, a := range target.Accounting {
		if a.Balance() != 0 {
			s.t.Errorf("%s %v: %d unaccounted: %+v", target.Name, tracer.Direction(d), a.Balance(), a)
		}
		if unseen := a.Expired + a.InFlight - s.held[d]; a.Evicted > 0 || unseen > a.Started*s.hidden/100 {
			s.t.Errorf("%s %v: lost from sight: %+v", target.Name, tracer.Direction(d), a)
		}
		var packets uint64
		for _, p := range target.Paths {
			if p.Direction == tracer.Direction(d) {
				packets += p.Packets
			}
		}
		if packets != a.Completed {
			s.t.Errorf("%s %v: paths have %d packets, %d completed", target.Name, tracer.Direction(d), packets, a.Completed)
		}
	}
}

// counted is what the kernel counted at the targets' own devices since the tracer was opened.
func (s *stage) counted() map[string]counters {
	s.t.Helper()
	since := map[string]counters{}
	for _, c := range s.world.Containers {
		now, was := s.count(c.NS), s.before[c.Name]
		since[c.Name] = counters{now.rx - was.rx, now.tx - was.tx}
	}
	return since
}

// checkDevice holds that the tracer saw what the kernel counted at the target's own devices: exactly, where nothing
// moved meanwhile.
func (s *stage) checkDevice(target tracer.Target, least, most counters) {
	s.t.Helper()
	for d, want := range [][2]uint64{{least.rx, most.rx}, {least.tx, most.tx}} {
		got := target.Accounting[d].Started + target.Accounting[d].Cloned - s.merged[d]
		for _, skip := range target.Skipped[d] {
			got += skip.Count
		}
		for _, drop := range target.Drops {
			if drop.Direction == tracer.Direction(d) && beforeDevice(drop) {
				got -= drop.Count
			}
		}
		for _, p := range target.Paths {
			if p.Direction == tracer.Direction(d) && !touchesDevice(p) && !s.beside {
				got -= p.Packets
			}
		}
		if got < want[0] || got > want[1] {
			s.t.Errorf("%s %v: %d packets by the tracer, %d to %d by the kernel (skipped %v)",
				target.Name, tracer.Direction(d), got, want[0], want[1], target.Skipped[d])
		}
	}
}

// beforeDevice tells whether a packet was dropped on the far side of the target's device.
func beforeDevice(d tracer.Drop) bool {
	if d.Direction == tracer.Egress {
		return strings.HasPrefix(d.Hop, "netfilter/output")
	}
	hooks := []string{"routing", "netfilter/prerouting", "netfilter/forward", "netfilter/postrouting", "netfilter/output"}
	return slices.ContainsFunc(hooks, func(hook string) bool { return strings.HasPrefix(d.Hop, hook) })
}

// touchesDevice tells whether a path leads through a device of the target:
// docker-proxy's leg 1 and host mode do not.
func touchesDevice(p tracer.Path) bool {
	for _, hop := range p.Hops {
		for _, hook := range []string{hop.From, hop.To} {
			if strings.HasPrefix(hook, "device/") || strings.HasPrefix(hook, "target/") {
				return true
			}
		}
	}
	return false
}

// echoServer answers datagrams and connections on a port of a node's namespace.
func (s *stage) echoServer(node *lab.Node, port int) {
	s.t.Helper()
	s.must(node.NS.Do(func() error {
		udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			return err
		}
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		if err != nil {
			return errors.Join(err, udp.Close())
		}
		s.t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close() })
		go echoUDP(udp)
		go echoTCP(tcp)
		return nil
	}))
}

func echoUDP(conn *net.UDPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteToUDPAddrPort(buf[:n], from) // a lost answer is seen by the asker
	}
}

func echoTCP(l *net.TCPListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if _, err := conn.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// exact fails the test unless a load did all it should have done.
func (s *stage) exact(result lab.Result, err error) {
	s.t.Helper()
	if err != nil || result.Errors > 0 {
		s.t.Fatalf("load: %d done, %d errors: %v %v", result.Done, result.Errors, result.Last, err)
	}
}
