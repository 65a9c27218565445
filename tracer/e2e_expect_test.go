package tracer_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// want is a path that must be there.
type want struct {
	target    string
	direction tracer.Direction
	family    string // default ipv4
	protocol  string
	peer      string
	flow      string // default established
	packets   uint64 // 0: at least one
	hops      string // names, apart by blanks
	crossings bool   // of mostly(): some may be hidden, the test holds how many
}

// expect finds the path, which must be the only one of its kind.
func expect(t *testing.T, snapshot tracer.Snapshot, w want) tracer.Path {
	t.Helper()
	if w.family == "" {
		w.family = "ipv4"
	}
	if w.flow == "" {
		w.flow = "established"
	}
	var found []tracer.Path
	for _, p := range targetOf(t, snapshot, w.target).Paths {
		if p.Direction == w.direction && p.Family == w.family && p.Protocol == w.protocol && p.Peer == w.peer && p.Flow == w.flow {
			found = append(found, p)
		}
	}
	kind := fmt.Sprintf("%s %v %s %s %s %s", w.target, w.direction, w.family, w.protocol, w.peer, w.flow)
	if len(found) != 1 {
		t.Errorf("%s: %d paths, want 1:", kind, len(found))
		for _, p := range found {
			t.Log(describePath(p))
		}
		return tracer.Path{}
	}
	p := found[0]
	if w.packets != 0 && p.Packets != w.packets {
		t.Errorf("%s: %d packets, want %d", kind, p.Packets, w.packets)
	}
	if got := hopNames(p); w.hops != "" && got != w.hops {
		t.Errorf("%s:\n got %s\nwant %s", kind, got, w.hops)
	}
	return p
}

// checkPaths holds that the hops of each path sum up to it, and that nothing took absurdly long.
func (s *stage) checkPaths(target tracer.Target) {
	s.t.Helper()
	for _, p := range target.Paths {
		if p.Peer == "unknown" && !s.copied && (p.Family != "ipv6" || p.Protocol != "icmpv6") {
			s.t.Errorf("%s: nobody at the other end of %s", target.Name, describePath(p))
		}
		var sum uint64
		for i, hop := range p.Hops {
			hist := &hop.Latency.Hist
			sum += hist.Sum
			if hist.Count() != p.Packets {
				s.t.Errorf("%s: hop %d has %d values: %s", target.Name, i, hist.Count(), describePath(p))
			}
			// a negative one is a very long one, and the sum does not show it
			if hist.Max > uint64(s.absurd) || hist.Overflow > 0 {
				s.t.Errorf("%s: hop %d has %d ns at most: %s", target.Name, i, hist.Max, describePath(p))
			}
		}
		if sum != p.Latency.Hist.Sum {
			s.t.Errorf("%s: hops sum up to %d ns, the path to %d: %s", target.Name, sum, p.Latency.Hist.Sum, describePath(p))
		}
		if p.Latency.Hist.Max > uint64(s.absurd) || p.Latency.Hist.Overflow > 0 {
			s.t.Errorf("%s: %d ns at most: %s", target.Name, p.Latency.Hist.Max, describePath(p))
		}
		if p50, ok := p.Latency.Hist.Quantile(0.5); ok && s.absurd == time.Second && p50 > 1e6 {
			s.t.Errorf("%s: %f ns at p50: %s", target.Name, p50, describePath(p))
		}
	}
}

func targetOf(t *testing.T, snapshot tracer.Snapshot, name string) tracer.Target {
	t.Helper()
	for _, target := range snapshot.Targets {
		if target.Name == name {
			return target
		}
	}
	t.Fatalf("no target %s", name)
	return tracer.Target{}
}

func hopNames(p tracer.Path) string {
	var names []string
	for _, hop := range p.Hops {
		names = append(names, hop.Name)
	}
	return strings.Join(names, " ")
}

func describePath(p tracer.Path) string {
	return fmt.Sprintf("%v %s %s %s %s n=%d: %s", p.Direction, p.Family, p.Protocol, p.Peer, p.Flow, p.Packets, hopNames(p))
}

func describeSnapshot(s tracer.Snapshot) string {
	var b strings.Builder
	for _, target := range s.Targets {
		fmt.Fprintf(&b, "%s in %+v\n  out %+v\n  skipped %v drops %v\n", target.Name,
			target.Accounting[0], target.Accounting[1], target.Skipped, target.Drops)
		for _, p := range target.Paths {
			fmt.Fprintf(&b, "  %s\n", describePath(p))
		}
	}
	return b.String()
}

func (s *stage) udp(from *lab.Node, to netip.Addr, port uint16, n int) {
	s.t.Helper()
	s.exact(from.UDPEcho(s.ctx, netip.AddrPortFrom(to, port), n, 32))
}

func (s *stage) tcp(from *lab.Node, to netip.Addr, port uint16, n int) {
	s.t.Helper()
	s.exact(from.TCPEcho(s.ctx, netip.AddrPortFrom(to, port), n, 32))
}
