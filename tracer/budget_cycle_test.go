package tracer_test

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// tight is a budget that the traffic of a test uses up several times over.
const tight = 0.005

// stopBudget ends tracing and holds what every run with a budget has to fulfil:
// accounts that balance, though they lack what passed between windows, and the
// devices' own totals.
func (s *stage) stopBudget() tracer.Snapshot {
	s.t.Helper()
	s.settle()
	before := s.snapshot() // totals are read at the snapshot: nothing moves any more
	s.must(s.tracer.Stop())
	snapshot := s.snapshot()
	for i, target := range snapshot.Targets {
		for d, a := range target.Accounting {
			if a.Balance() != 0 || a.Evicted+a.Expired+a.InFlight > 0 {
				s.t.Errorf("%s %v: %d unaccounted: %+v", target.Name, tracer.Direction(d), a.Balance(), a)
			}
		}
		s.checkPaths(target)
		if target.Totals == nil || before.Targets[i].Totals == nil {
			s.t.Fatalf("%s has no totals", target.Name)
		}
		counted, known := s.before[target.Name]
		if !known || target.Gone {
			continue
		}
		now := s.count(s.world.Container(target.Name).NS)
		for d, want := range []uint64{now.rx - counted.rx, now.tx - counted.tx} {
			if got := target.Totals[d]; got.Packets != want || got.Estimated {
				s.t.Errorf("%s %v: totals are %+v, the device counted %d", target.Name, tracer.Direction(d), got, want)
			}
		}
	}
	if snapshot.Observer.Budget == nil || snapshot.Observer.Budget.State != tracer.BudgetEnded {
		s.t.Errorf("the budget at the end: %+v", snapshot.Observer.Budget)
	}
	if s.t.Failed() {
		s.t.Logf("\n%s%+v %+v", describeSnapshot(snapshot), snapshot.Observer, snapshot.Observer.Budget)
	}
	return snapshot
}

// underLoad sends datagrams to the published port, one after another, and gets their answers until fn ends.
func (s *stage) underLoad(fn func()) {
	s.t.Helper()
	s.loaded(s.world.Client, netip.AddrPortFrom(s.world.Host.IP4, 7007), fn)
}

func (s *stage) loaded(from *lab.Node, to netip.AddrPort, fn func()) {
	s.t.Helper()
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			result, err := from.UDPEcho(s.ctx, to, 100, 32)
			if err != nil || result.Errors > 0 {
				s.t.Errorf("load: %d errors: %v %v", result.Errors, result.Last, err)
				return
			}
		}
	})
	defer load.Wait()
	defer close(stop) // also when fn ends the test
	fn()
}

func budgetWorld(wire lab.WireKind) lab.Config {
	return lab.Config{Wire: wire, Ports: []lab.Port{{Host: 7007, Container: lab.PortEcho, Proto: "udp"}}}
}

// Windows come and go while packets flow: accounts balance, nothing is evicted
// or lost from sight, and what no window saw is in the totals.
func TestBudgetCycles(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, detail := range []tracer.Detail{tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables} {
			t.Run(string(detail), func(t *testing.T) {
				s := newStage(t, budgetWorld(wire))
				s.open(tracer.Config{MaxOverhead: tight, Detail: detail}, "nginx")
				states := map[tracer.BudgetState]bool{}
				s.underLoad(func() {
					s.await("several windows", func() bool {
						b := s.snapshot().Observer.Budget
						states[b.State] = true
						return b.Windows >= 4
					})
				})
				snapshot := s.stopBudget()
				o := snapshot.Observer
				if !states[tracer.BudgetAttached] || !states[tracer.BudgetDetached] {
					t.Errorf("states seen: %v", states)
				}
				if o.Observed >= snapshot.Duration*9/10 || o.Observed == 0 {
					t.Errorf("observed for %v of %v", o.Observed, snapshot.Duration)
				}
				target := targetOf(t, snapshot, "nginx")
				hops := ways(detail)
				if wire == lab.WireTap {
					hops["out uplink"] += " qdisc"
				}
				for direction, way := range []string{"in uplink", "out uplink"} {
					w := want{target: "nginx", direction: tracer.Direction(direction), protocol: "udp", peer: "uplink", hops: hops[way]}
					if p := expect(t, snapshot, w); p.Packets > target.Totals[direction].Packets*9/10 {
						t.Errorf("%s: %d packets seen of %+v: the windows never closed", way, p.Packets, target.Totals[direction])
					}
				}
			})
		}
	})
}

// A journey that a window's end finds under way is cut, and shown as that.
func TestBudgetCuts(t *testing.T) {
	s := newStage(t, budgetWorld(lab.WireVeth))
	nginx := s.world.Container("nginx")
	// a queue that holds each packet for longer than a window waits
	_, err := s.world.Host.Output(s.ctx, "tc", "qdisc", "add", "dev", nginx.HostDev, "root", "tbf", "rate", "80kbit", "burst", "1540", "limit", "3000")
	s.must(err)
	s.open(tracer.Config{MaxOverhead: tight / 10}, "nginx")
	stop := make(chan struct{})
	var load sync.WaitGroup
	defer load.Wait()
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default: // more than the queue lets through: some are always in it
				s.send(s.world.Host, nginx.IP4.String()+":9", 20, 200)
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	s.await("cut journeys", func() bool {
		return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Cut > 0
	})
	end()
	load.Wait()
	_, err = s.world.Host.Output(s.ctx, "tc", "qdisc", "del", "dev", nginx.HostDev, "root")
	s.must(err)
	s.absurd = time.Minute // they wait long
	s.stopBudget()
}

// Drops are complete, whether a window is open or not.
func TestBudgetDropsAreComplete(t *testing.T) {
	for name, c := range map[string]struct{ rule, hop string }{
		"policy":      {"", "netfilter/forward"},
		"raw":         {"-t raw -A PREROUTING -p udp --dport 99 -j DROP", "netfilter/prerouting"},
		"postrouting": {"-t mangle -A POSTROUTING -p udp --dport 99 -j DROP", "netfilter/postrouting"},
	} {
		t.Run(name, func(t *testing.T) {
			bothWires(t, func(t *testing.T, wire lab.WireKind) {
				const rounds, each = 40, 25
				s := newStage(t, budgetWorld(wire))
				nginx := s.world.Container("nginx")
				_, err := s.world.Client.Output(s.ctx, "ip", "route", "add", nginx.IP4.String()+"/32", "via", s.world.Host.IP4.String())
				s.must(err)
				if c.rule != "" {
					s.ruled(c.rule)
				}
				if name == "postrouting" {
					s.ruled("-I FORWARD -p udp --dport 99 -j ACCEPT")
				}
				seen := s.witness(s.world.Host, "")
				s.open(tracer.Config{MaxOverhead: tight}, "nginx")
				states := map[tracer.BudgetState]int{}
				s.underLoad(func() {
					for range rounds {
						s.send(s.world.Client, nginx.IP4.String()+":99", each, 32)
						states[s.snapshot().Observer.Budget.State]++
						time.Sleep(25 * time.Millisecond)
					}
				})
				s.await("drops", func() bool { return nearly(seen().Dropped["NETFILTER_DROP"], rounds*each) })
				target := targetOf(t, s.stopBudget(), "nginx")
				n, kernel := dropped(target, tracer.Ingress, c.hop, "NETFILTER_DROP"), seen().Dropped["NETFILTER_DROP"]
				allTold(t, c.hop, n, kernel, rounds*each)
				if a := target.Accounting[tracer.Ingress]; a.Dropped != kernel {
					t.Errorf("want %d dropped: %+v", kernel, a)
				}
				if states[tracer.BudgetDetached] == 0 {
					t.Errorf("no window was closed meanwhile: %v", states)
				}
			})
		})
	}
}

// What the kernel frees on the way out, and behind a journey's end, is complete too.
func TestBudgetDropsElsewhere(t *testing.T) {
	const rounds, each = 30, 20
	s := newStage(t, budgetWorld(lab.WireVeth))
	nginx := s.world.Container("nginx")
	s.ruled("-I FORWARD -p udp --dport 98 -j DROP")
	_, err := nginx.Output(s.ctx, "iptables", "-A", "OUTPUT", "-p", "udp", "--dport", "97", "-j", "DROP")
	s.must(err)
	host, inside := s.witness(s.world.Host, ""), s.witness(nginx.Node, "eth0")
	s.open(tracer.Config{MaxOverhead: tight}, "nginx")
	s.underLoad(func() {
		for range rounds {
			s.send(nginx.Node, s.world.Client.IP4.String()+":98", each, 32)
			s.refused(nginx.Node, s.world.Client.IP4.String()+":97", each)
			s.send(s.world.Host, nginx.IP4.String()+":96", each, 32) // nobody listens
			time.Sleep(25 * time.Millisecond)
		}
	})
	target := targetOf(t, s.stopBudget(), "nginx")
	for _, w := range []struct {
		direction   tracer.Direction
		hop, reason string
		kernel      uint64
	}{
		{tracer.Egress, "netfilter/forward", "NETFILTER_DROP", host().Dropped["NETFILTER_DROP"]},
		{tracer.Egress, "netfilter/output", "NETFILTER_DROP", rounds * each}, // in the sender's own context
		{tracer.Ingress, "transport", "NO_SOCKET", inside().Dropped["NO_SOCKET"]},
	} {
		what := fmt.Sprintf("%v %s %s", w.direction, w.hop, w.reason)
		allTold(t, what, dropped(target, w.direction, w.hop, w.reason), w.kernel, rounds*each)
	}
}

// refused sends datagrams that the sender's own rules refuse.
func (s *stage) refused(from *lab.Node, address string, n int) {
	s.t.Helper()
	conn, err := from.Dial(s.ctx, "udp", address)
	s.must(err)
	defer conn.Close()
	for range n {
		if _, err := conn.Write(make([]byte, 32)); err == nil {
			s.t.Fatal("a datagram that OUTPUT drops was sent")
		}
	}
}

// Targets in host mode have no device of their own: their totals are estimated, and say so.
func TestBudgetHostMode(t *testing.T) {
	s := newStage(t, lab.Config{})
	web, err := s.world.StartHostMode(s.ctx, 9000)
	s.must(err)
	s.settle()
	s.openSpecs(tracer.Config{MaxOverhead: tight}, s.hostMode(web))
	sent := 0
	s.await("several windows", func() bool {
		result, err := s.world.Client.HTTP(s.ctx, "http://198.51.100.1:9000/", 200, lab.LoadConfig{KeepAlive: true})
		s.exact(result, err)
		sent += result.Done
		return s.snapshot().Observer.Budget.Windows >= 5
	})
	s.must(s.tracer.Stop())
	snapshot := s.snapshot()
	target := snapshot.Targets[0]
	for d, a := range target.Accounting {
		total := target.Totals[d]
		if a.Balance() != 0 || a.Completed == 0 || !total.Estimated {
			t.Errorf("%v: %+v, totals %+v", tracer.Direction(d), a, total)
		}
		// a request and an answer at least; the estimate is as good as the load is even
		if total.Packets < uint64(sent)/3 || total.Packets > uint64(sent)*9 {
			t.Errorf("%v: about %d packets of %d requests", tracer.Direction(d), total.Packets, sent)
		}
	}
}

// A target that comes, and one that goes, while windows open and close.
func TestBudgetAddAndRemove(t *testing.T) {
	s := newStage(t, budgetWorld(lab.WireVeth))
	s.open(tracer.Config{MaxOverhead: tight, Capacity: 3}, "nginx")
	descriptors := fewestNamespaces(t)
	s.underLoad(func() {
		for range 8 {
			c, err := s.world.AddContainer(s.ctx, lab.ContainerConfig{Name: "c2"})
			s.must(err)
			s.must(s.tracer.Add(spec(c)))
			s.udp(s.world.Host, c.IP4, lab.PortEcho, 20)
			totals := targetOf(t, s.snapshot(), "c2").Totals
			s.must(s.tracer.Remove("c2"))
			s.must(s.world.RemoveContainer(s.ctx, "c2")) // waits until nobody holds its namespace
			if totals[tracer.Ingress].Packets < 20 || totals[tracer.Egress].Packets < 20 {
				t.Errorf("totals of 20 datagrams and answers: %+v", totals)
			}
		}
	})
	if n := fewestNamespaces(t); n > descriptors {
		t.Errorf("%d namespaces held before, %d after", descriptors, n)
	}
	for _, target := range s.stopBudget().Targets[1:] {
		if !target.Gone || target.Totals == nil || target.Totals[tracer.Ingress].Packets < 20 {
			t.Errorf("gone %v, totals %+v", target.Gone, target.Totals)
		}
	}
}

// setLinks changes a device of another namespace, and returns what each call took.
func setLinks(t *testing.T, node *lab.Node, n int) []time.Duration {
	t.Helper()
	took := make([]time.Duration, 0, n)
	if err := node.NS.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		for i := 0; i < n && err == nil; i++ {
			begin := time.Now()
			err = netlink.LinkSetMTU(lo, 60000+i%2)
			took = append(took, time.Since(begin))
			time.Sleep(30 * time.Millisecond) // a hundred of them last longer than a window and the next
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return took
}

func median(of []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(of))[len(of)/2]
}

// The lock of the network's configuration is everybody's: with a budget it is
// left alone, also while windows come and go (and seenLinks finds no tcx link).
func TestBudgetLeavesTheConfigurationLockAlone(t *testing.T) {
	const calls, rounds = 200, 2
	s := newStage(t, budgetWorld(lab.WireVeth))
	other, err := lab.New(s.ctx, lab.Config{Bare: true})
	s.must(err)
	defer func() { s.must(other.Close()) }()
	s.underLoad(func() {
		var idle, traced []time.Duration
		windows := uint64(0)
		for range rounds { // in turns: what else the machine does is in both
			idle = append(idle, setLinks(t, other.Client, calls/rounds)...)
			s.openBusy(tracer.Config{MaxOverhead: tight}, "nginx")
			traced = append(traced, setLinks(t, other.Client, calls/rounds)...)
			s.await("a second window", func() bool { // which are rare where stamps are dear
				now := s.snapshot().Observer.Budget.Windows
				if now < 2 {
					traced = append(traced, setLinks(t, other.Client, calls/rounds/10)...)
				}
				return now >= 2
			})
			windows += s.snapshot().Observer.Budget.Windows
			s.must(s.tracer.Close())
		}
		t.Logf("a call takes %v idle, %v with a budget (%d windows)", median(idle), median(traced), windows)
		if median(traced) > median(idle)*3/2 {
			t.Error("others wait for the lock")
		}
	})
}

// openBusy is open under traffic.
func (s *stage) openBusy(cfg tracer.Config, name string) {
	s.t.Helper()
	cfg.Host = s.world.Host.NS
	tr, err := tracer.Open(s.ctx, cfg, spec(s.world.Container(name)))
	s.must(err)
	s.tracer = tr
	s.t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			s.t.Errorf("close the tracer: %v", err)
		}
	})
}
