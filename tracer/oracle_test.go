package tracer_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/bpf/oracle"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// oraclePackets is how many numbered packets all worlds together see: few in
// "make test", ten million in "make oracle".
func oraclePackets(t *testing.T) uint64 {
	t.Helper()
	text, ok := os.LookupEnv("VETHTRACE_ORACLE_PACKETS")
	if !ok {
		return 300_000
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// found is what the oracle has counted.
type found struct{ began, matched, wrong uint64 }

// openOracle traces with the oracle's object, blind for the positive control.
func (s *stage) openOracle(blind bool, names ...string) func() found {
	s.t.Helper()
	var spec *ebpf.CollectionSpec
	load := func() (_ *ebpf.CollectionSpec, err error) {
		if spec, err = oracle.LoadOracle(); err != nil {
			return nil, err
		}
		return spec, spec.Variables["oracle_blind"].Set(blind)
	}
	at := map[string]uint32{}
	whole, err := oracle.LoadOracle()
	s.must(err)
	for _, name := range []string{"oracle_began", "oracle_matched", "oracle_wrong"} {
		at[name] = whole.Variables[name].Offset
	}
	s.open(tracer.Config{}.WithObject(load), names...)
	s.opened()
	return func() found {
		return found{s.tracer.Word(at["oracle_began"]), s.tracer.Word(at["oracle_matched"]), s.tracer.Word(at["oracle_wrong"])}
	}
}

// Each stamp is the right packet's: under reuse of skbs at once, with copies for
// tcpdump, NAT of both kinds, RPS, GRO on and off, on both kinds of uplink, and
// beside traffic of a container that is no target.
func TestOracle(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, gro := range []bool{false, true} {
			t.Run(fmt.Sprintf("gro %v", gro), func(t *testing.T) {
				packets := oraclePackets(t) / 4
				s := oracleWorld(t, wire, gro)
				look := s.openOracle(false, "nginx", "c2")
				hidden := s.hiddenSends()
				begin := time.Now()
				s.numbered(packets)
				s.settle()
				got := look()
				target := targetOf(t, s.snapshot(), "nginx")
				s.must(s.tracer.Stop())
				unseen := hidden()
				t.Logf("%d packets in %v: %d journeys with a number, %d stamps right, %d wrong, %d sends that the kernel told nobody of\nin  %+v\nout %+v", packets,
					time.Since(begin).Round(time.Second), got.began, got.matched, got.wrong, unseen, target.Accounting[0], target.Accounting[1])
				// behind a queue a journey's end is a tracepoint; all other ends are told by hooks that no kernel hides
				if a := target.Accounting[tracer.Ingress]; a.Completed != a.Started {
					t.Errorf("in: lost from sight: %+v", a)
				}
				if a := target.Accounting[tracer.Egress]; a.Started-a.Completed > unseen {
					t.Errorf("out: lost from sight, and %d only were hidden: %+v", unseen, a)
				}
				if got.wrong != 0 {
					t.Errorf("%d stamps of another packet", got.wrong)
				}
				// two stamps at least behind the first one
				if got.began < packets*999/1000 || got.matched < 2*got.began {
					t.Errorf("%d packets: %+v", packets, got)
				}
			})
		}
	})
}

// hiddenSends begins to count what the host's uplink sends, by the device itself
// and by what the kernel tells a program; then tells what it told nobody of.
func (s *stage) hiddenSends() func() uint64 {
	s.t.Helper()
	host := s.world.Host
	seen := s.witness(host, host.Dev)
	sent := func() (n uint64) {
		s.t.Helper()
		s.must(host.NS.Do(func() error {
			uplink, err := netlink.LinkByName(host.Dev)
			if err == nil {
				n = uplink.Attrs().Statistics.TxPackets + uplink.Attrs().Statistics.TxDropped
			}
			return err
		}))
		return n
	}
	before := sent()
	return func() uint64 { return sent() - before - seen().Sent }
}

// The positive control: a tracer that does not look at identity, and forgets
// ends, takes packets for others. The oracle says so.
func TestOracleControl(t *testing.T) {
	s := oracleWorld(t, lab.WireTap, false)
	look := s.openOracle(true, "nginx", "c2")
	s.numbered(20_000)
	s.must(s.tracer.Stop())
	if got := look(); got.wrong < 10 {
		t.Errorf("a tracer made to be wrong is not found out: %+v", got)
	}
}

func oracleWorld(t *testing.T, wire lab.WireKind, gro bool) *stage {
	t.Helper()
	s := newStage(t, lab.Config{Wire: wire, Names: []string{"nginx", "c2", "c3"}, Ports: hardPorts()})
	s.ctx = t.Context() // ten million packets take longer than other tests may
	s.echoServer(s.world.Client, 9)
	type at struct {
		node *lab.Node
		dev  string
	}
	devices := []at{{s.world.Host, "eth0"}}
	for _, c := range s.world.Containers {
		devices = append(devices, at{c.Node, "eth0"}, at{s.world.Host, c.HostDev})
	}
	for _, d := range devices {
		s.must(d.node.SetRPS(s.ctx, d.dev, "3"))
		if gro {
			s.offload(d.node, d.dev, lab.OffloadTSO, false)
			s.offload(d.node, d.dev, lab.OffloadGRO, true)
		}
	}
	for _, dev := range []string{"docker0", s.world.Container("nginx").HostDev} {
		c, err := s.world.Host.Capture(dev)
		s.must(err)
		t.Cleanup(func() { s.must(c.Close()) })
	}
	return s
}

// numbered sends so many datagrams with numbers to and from targets, and as
// many more to a container that is none.
func (s *stage) numbered(packets uint64) {
	s.t.Helper()
	nginx, c2, c3 := s.world.Container("nginx"), s.world.Container("c2"), s.world.Container("c3")
	flows := []struct {
		from *lab.Node
		to   netip.AddrPort
	}{
		{s.world.Client, netip.AddrPortFrom(s.world.Host.IP4, 7007)},
		{s.world.Host, netip.AddrPortFrom(nginx.IP4, lab.PortEcho)},
		{nginx.Node, netip.AddrPortFrom(c2.IP4, lab.PortEcho)},
		{nginx.Node, netip.AddrPortFrom(s.world.Client.IP4, 9)},
		{s.world.Host, netip.AddrPortFrom(c3.IP4, lab.PortEcho)},
		{c3.Node, netip.AddrPortFrom(s.world.Client.IP4, 9)},
	}
	const traced = 4
	var load sync.WaitGroup
	for i, flow := range flows {
		load.Go(func() {
			if err := number(s, flow.from, flow.to, uint64(i+1)<<40, packets/2/traced); err != nil {
				s.t.Errorf("to %v: %v", flow.to, err)
			}
		})
	}
	load.Wait()
}

// number sends numbered datagrams, eight at a time, and reads the answers.
func number(s *stage, from *lab.Node, to netip.AddrPort, base, rounds uint64) error {
	const window = 8
	conn, err := from.Dial(s.t.Context(), "udp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	out, in := make([]byte, 32), make([]byte, 64)
	var lost uint64
	for sent := uint64(0); sent < rounds; {
		for range window {
			sent++
			binary.NativeEndian.PutUint64(out, base+sent)
			if _, err := conn.Write(out); err != nil {
				return err
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for i := range uint64(window) {
			if _, err := conn.Read(in); errors.Is(err, os.ErrDeadlineExceeded) {
				lost += window - i
				break
			} else if err != nil {
				return err
			}
		}
	}
	if lost > rounds/1000+window {
		return fmt.Errorf("%d answers of %d did not come", lost, rounds)
	}
	return nil
}
