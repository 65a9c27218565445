// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

const (
	differPackets = 5   // for each
	differCases   = 100 // for each match and target at least
)

// tally is what all workers together found.
type tally struct {
	sync.Mutex
	sets, packets, known, wrong int
	forwarded, dropped, local   int
	cases                       map[string]int // packets that met a set with the part
	hits                        int            // rules that the kernel counted
}

// backend loads random rules.
type backend struct {
	name string
	sets int // random rule sets: more where loading them takes less
	make func(g *gen) string
	tool func(v6 bool) []string
}

var backends = []backend{
	{"legacy", 900, (*gen).iptables, func(v6 bool) []string { return []string{ipTool("legacy-restore", v6)} }},
	{"nft", 500, (*gen).iptables, func(v6 bool) []string { return []string{ipTool("nft-restore", v6)} }},
	{"native", 700, (*gen).nft, func(bool) []string { return []string{"nft", "-f", "-"} }},
}

func ipTool(name string, v6 bool) string {
	if v6 {
		return "ip6tables-" + name
	}
	return "iptables-" + name
}

// The evaluator and the kernel agree on what becomes of random packets under
// random rules, and on which rules they meet.
func TestEvaluatorAgreesWithTheKernel(t *testing.T) {
	seed := uint64(6) // it has found a fault before; VETHTRACE_SEED draws others
	if s := os.Getenv("VETHTRACE_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("VETHTRACE_SEED=%d", seed)
	total := &tally{cases: map[string]int{}}
	began := time.Now()
	t.Run("backends", func(t *testing.T) {
		for i, b := range backends {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				differ(t, total, b, rand.New(rand.NewPCG(seed, uint64(i))), i%2) //nolint:gosec // not for secrets
			})
		}
	})
	t.Logf("%d rule sets, %d packets in %v: %d with a verdict, %d disagreements; %d forwarded or sent, %d delivered, %d dropped; %d rules hit",
		total.sets, total.packets, time.Since(began).Round(time.Millisecond), total.known, total.wrong, total.forwarded, total.local, total.dropped, total.hits)
	total.check(t)
}

func (s *tally) check(t *testing.T) {
	if s.sets < 2000 || s.packets < 2000 {
		t.Errorf("only %d sets, %d packets", s.sets, s.packets)
	}
	if s.known*100 < s.packets*98 {
		t.Errorf("a verdict for %d of %d packets only", s.known, s.packets)
	}
	if min(s.forwarded, s.dropped, s.local)*20 < s.packets {
		t.Errorf("one-sided: %d forwarded, %d delivered, %d dropped", s.forwarded, s.local, s.dropped)
	}
	var names []string
	for _, list := range [][]part{iptMatches, iptTargets, iptMangle, iptNAT, nftMatches, nftTargets, nftNAT} {
		for _, p := range list {
			names = append(names, p.name)
		}
	}
	for _, n := range names {
		if s.cases[n] < differCases {
			t.Errorf("%s: only %d cases", n, s.cases[n])
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.cases)) {
		t.Logf("%6d %s", s.cases[n], n)
	}
}

// differ runs one backend's share.
func differ(t *testing.T, total *tally, b backend, r *rand.Rand, cpu int) {
	onOneCPU(t, cpu)
	w := newRouter(t)
	w.in(w.ns, w.makeIPSets)
	id := uint32(0)
	done := 0
	for n := 0; done < b.sets; n++ {
		g := &gen{Rand: r, v6: n%3 == 2, used: map[string]bool{}, id: n}
		text := b.make(g)
		tool := b.tool(g.v6)
		if out, err := tryNS(w.ns, text, tool[0], tool[1:]...); err != nil {
			// Some mixtures of options neither the tools nor the kernel take.
			if n-done > 2*b.sets {
				t.Fatalf("%s refuses too much: %s\n%s", tool[0], out, text)
			}
			continue
		}
		done++
		set, err := ReadRules(w.ns)
		if err != nil {
			t.Fatal(err)
		}
		list := w.probes(r, g.v6, &id)
		fates, err := w.deliver(list)
		if err != nil {
			t.Fatal(err)
		}
		after, err := ReadRules(w.ns)
		if err != nil {
			t.Fatal(err)
		}
		if !w.judge(total, g, set, after, list, fates) {
			t.Errorf("rules:\n%s", text)
			if total.wrong > 5 {
				return
			}
		}
	}
}

// probes makes packets, some of known connections.
func (w *router) probes(r *rand.Rand, v6 bool, id *uint32) []probe {
	list := make([]probe, differPackets)
	for i := range list {
		*id++
		p := newProbe(r, *id, v6)
		if r.IntN(3) == 0 {
			if src, dst, proto, ok := p.known(); ok {
				w.track(src.Addr().AsSlice(), dst.Addr().AsSlice(), src.Port(), dst.Port(), proto)
			}
		}
		list[i] = p
	}
	return list
}

// track makes a connection known.
func (w *router) track(src, dst net.IP, sport, dport uint16, proto uint8) {
	w.t.Helper()
	w.in(w.ns, func() error {
		flow := &vnl.ConntrackFlow{FamilyType: unix.AF_INET, TimeOut: 100}
		flow.Forward = vnl.IPTuple{SrcIP: src, DstIP: dst, SrcPort: sport, DstPort: dport, Protocol: proto}
		flow.Reverse = vnl.IPTuple{SrcIP: dst, DstIP: src, SrcPort: dport, DstPort: sport, Protocol: proto}
		family := vnl.InetFamily(vnl.FAMILY_V4)
		if len(src) == 16 {
			flow.FamilyType, family = unix.AF_INET6, vnl.FAMILY_V6
		}
		if proto == rules.TCP {
			flow.ProtoInfo = &vnl.ProtoInfoTCP{State: 3}
		}
		return vnl.ConntrackCreate(vnl.ConntrackTable, family, flow)
	})
}

func (w *router) makeIPSets() error {
	for _, s := range []struct {
		name, kind string
		family     uint8
		entries    []*vnl.IPSetEntry
	}{
		{"v4net", "hash:net", unix.AF_INET, []*vnl.IPSetEntry{{IP: net.IP{172, 17, 0, 0}, CIDR: 16}, {IP: net.IP{198, 51, 100, 0}, CIDR: 24}}},
		{"v4ip", "hash:ip", unix.AF_INET, []*vnl.IPSetEntry{{IP: net.IP{172, 17, 0, 2}}, {IP: net.IP{172, 18, 0, 3}}}},
		{"v6net", "hash:net", unix.AF_INET6, []*vnl.IPSetEntry{{IP: net.ParseIP("2001:db8:2::"), CIDR: 64}}},
		{"v6ip", "hash:ip", unix.AF_INET6, []*vnl.IPSetEntry{{IP: net.ParseIP("2001:db8:3::2")}}},
		{"v4ipport", "hash:ip,port", unix.AF_INET, portEntries(net.IP{172, 17, 0, 2})},
		{"v6ipport", "hash:ip,port", unix.AF_INET6, portEntries(net.ParseIP("2001:db8:2::2"))},
	} {
		if err := vnl.IpsetCreate(s.name, s.kind, vnl.IpsetCreateOptions{Family: s.family}); err != nil {
			return fmt.Errorf("ipset %s: %w", s.name, err)
		}
		for _, e := range s.entries {
			if err := vnl.IpsetAdd(s.name, e); err != nil {
				return fmt.Errorf("ipset %s: %w", s.name, err)
			}
		}
	}
	return nil
}

func portEntries(ip net.IP) []*vnl.IPSetEntry {
	var list []*vnl.IPSetEntry
	for _, proto := range []uint8{rules.TCP, rules.UDP} {
		for _, port := range []uint16{80, 53} {
			list = append(list, &vnl.IPSetEntry{IP: ip, Protocol: &proto, Port: &port})
		}
	}
	return list
}

// judge compares what the evaluator says with what the kernel did.
func (w *router) judge(total *tally, g *gen, set, after *rules.Set, list []probe, fates map[uint32]fate) bool {
	ev := rules.NewEvaluator(set, w.env)
	ok, sure, answers := true, true, false
	hits := map[*rules.Rule]uint64{}
	total.Lock()
	defer total.Unlock()
	total.sets++
	for _, p := range list {
		total.packets++
		for name := range g.used {
			total.cases[name]++
		}
		out := ev.Walk(p.Packet)
		if out.Verdict == rules.Unknown {
			sure = false
			continue
		}
		total.known++
		sure = sure && len(out.Unknowns) == 0 // else the trail is one of several
		// What answers itself meets all hooks again.
		sure = sure && (p.In != "" || out.End == rules.Sent || out.Verdict == rules.Drop)
		answers = answers || out.End == rules.Delivered || out.Verdict == rules.Reject
		for _, s := range out.Steps {
			sure = sure && !s.Maybe
			if s.Rule != nil {
				hits[s.Rule]++
			}
		}
		f := fates[p.id]
		total.count(f)
		if why := disagree(p, out, f); why != "" {
			ok = false
			total.wrong++
			w.t.Errorf("packet %d: %s\npacket: %+v\nkernel: %+v\nevaluator: %v %v\n%s", p.id, why, p.Packet, f, out.Verdict, out.End, trail(out))
		}
	}
	if ok && sure {
		ok = w.counters(total, set, after, list, hits, answers)
	}
	return ok
}

func (s *tally) count(f fate) {
	switch f.end {
	case rules.Forwarded:
		s.forwarded++
	case rules.Delivered:
		s.local++
	default:
		s.dropped++
	}
}

func trail(out rules.Outcome) string {
	var b strings.Builder
	for _, s := range out.Steps {
		fmt.Fprintf(&b, "  %-12s %s [%s]\n", s.Hook, s, s.Does)
	}
	return b.String()
}

// disagree says how an outcome differs from what the kernel did; "" if it does not.
func disagree(p probe, out rules.Outcome, f fate) string {
	q := out.Packet
	switch out.End {
	case rules.Dropped, rules.HandedOver:
		if f.end != rules.OnItsWay {
			return "dropped, but the kernel let it pass"
		}
		return ""
	case rules.Delivered:
		if f.end != rules.Delivered {
			return "delivered, but the kernel did not"
		}
	default:
		if f.end != rules.Forwarded {
			return "forwarded, but the kernel did not"
		}
		if f.dev != q.Out && (q.Out != "br0" || f.dev != "pa" && f.dev != "pb") {
			return fmt.Sprintf("by %s, the kernel by %s", q.Out, f.dev)
		}
	}
	if !f.src.IsValid() {
		return ""
	}
	if f.src != q.Src || f.dst != q.Dst {
		return fmt.Sprintf("%v -> %v, the kernel %v -> %v", q.Src, q.Dst, f.src, f.dst)
	}
	if p.ports() && (f.dstPort != q.DstPort || f.srcPort != q.SrcPort) {
		return fmt.Sprintf("ports %d -> %d, the kernel %d -> %d", q.SrcPort, q.DstPort, f.srcPort, f.dstPort)
	}
	return ""
}

// counters compares how often rules were met. Answers of the router itself
// (resets, unreachables) meet OUTPUT and POSTROUTING, too: there counters are
// compared only without any.
func (w *router) counters(total *tally, set, after *rules.Set, list []probe, hits map[*rules.Rule]uint64, answers bool) bool {
	ok := true
	for _, c := range set.Chains {
		own := strings.HasPrefix(c.Name, "OUTPUT") || strings.HasPrefix(c.Name, "POSTROUTING") || strings.HasPrefix(c.Name, "o") || strings.HasPrefix(c.Name, "s")
		// The router's own packets of IPv6, listener reports and neighbour discovery,
		// meet all hooks but FORWARD.
		six := c.Family != FamilyIP && (c.Base == nil || c.Base.Hook != HookForward)
		if six || own && answers {
			continue
		}
		for _, r := range c.Rules {
			now := after.Find(c.Ref(r))
			if strings.Contains(r.Text, "map ") || strings.Contains(r.Text, " set ") { // its counter stands before what may break the rule
				continue
			}
			if now == nil || r.Counter == nil || now.Counter == nil {
				continue
			}
			got := now.Counter.Packets - r.Counter.Packets
			total.hits += int(got) //nolint:gosec // few
			if got != hits[r] {
				ok = false
				total.wrong++
				w.t.Errorf("%s/%s %q: the kernel counted %d, the evaluator %d\n%+v", c.Table, c.Name, r.Text, got, hits[r], list)
			}
		}
	}
	return ok
}
