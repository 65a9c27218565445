// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/golden"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

var update = golden.Update("the golden files")

// layoutEnv is the host of all layouts: an uplink and two bridges, with a
// container each at .2 whose port 80 is published as 8080 and 8081.
func layoutEnv() rules.Env {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	env := rules.Env{Forward4: true, Rates: rules.AssumeQuiet, Recent: rules.AssumeQuiet}
	env.Devices = map[string]rules.Device{"lo": {Index: 1, Loopback: true, Addrs: []netip.Prefix{p("127.0.0.1/8")}}}
	env.Routes.Routes = []rules.Route{
		{Table: rules.TableLocal, Dst: p("127.0.0.0/8"), Type: rules.RouteLocal, Dev: "lo"},
		{Table: rules.TableMain, Dst: p("0.0.0.0/0"), Type: rules.RouteUnicast, Dev: "eth0", Via: a("198.51.100.254")},
	}
	for i, d := range []struct{ dev, addr string }{{"eth0", "198.51.100.1/24"}, {"docker0", "172.17.0.1/16"}, {"br-app", "172.18.0.1/16"}} {
		env.Devices[d.dev] = rules.Device{Index: i + 2, Addrs: []netip.Prefix{p(d.addr)}}
		env.Routes.Routes = append(env.Routes.Routes,
			rules.Route{Table: rules.TableLocal, Dst: netip.PrefixFrom(p(d.addr).Addr(), 32), Type: rules.RouteLocal, Dev: d.dev},
			rules.Route{Table: rules.TableMain, Dst: p(d.addr).Masked(), Type: rules.RouteUnicast, Dev: d.dev})
	}
	return env
}

// syn is a connection's first packet.
func syn(in, src, dst string, port uint16) rules.Packet {
	return rules.Packet{
		Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Proto: rules.TCP, SrcPort: 40000, DstPort: port, TCPFlags: rules.SYN, In: in,
	}
}

// scenario is a packet and where it ends: by layout, "" for all others.
type scenario struct {
	name   string
	packet rules.Packet
	ends   map[string]rules.End
	to     string // where the packet goes at its end
}

func scenarios() []scenario {
	reply := syn("docker0", "172.17.0.2", "198.51.100.9", 40000)
	reply.SrcPort, reply.TCPFlags = 80, rules.SYN|rules.ACK
	reply.Conn = rules.Conn{
		State: rules.Established, Reply: true, Status: rules.StatusDNAT | rules.StatusConfirmed | rules.StatusSeenReply,
		OrigSrc: netip.MustParseAddrPort("198.51.100.9:40000"), OrigDst: netip.MustParseAddrPort("198.51.100.1:8080"),
		NewSrc: netip.MustParseAddrPort("198.51.100.1:8080"),
	}
	// Before Docker 28.2, who knew the way could reach a published port of a
	// container directly, and what came from another bridge went to docker-proxy.
	direct := map[string]rules.End{"": rules.Dropped, "docker20": rules.Forwarded, "docker23": rules.Forwarded, "docker27": rules.Forwarded, "docker28": rules.Forwarded}
	bridges := map[string]rules.End{"": rules.Forwarded, "docker20": rules.Delivered, "docker23": rules.Delivered, "docker27": rules.Delivered, "docker28": rules.Delivered}
	all := func(e rules.End) map[string]rules.End { return map[string]rules.End{"": e} }
	return []scenario{
		{"published port from outside", syn("eth0", "198.51.100.9", "198.51.100.1", 8080), all(rules.Forwarded), "172.17.0.2:80"},
		{"reply of the container", reply, all(rules.Forwarded), "198.51.100.9:40000"},
		{"published port from the host", syn("", "198.51.100.1", "198.51.100.1", 8080), all(rules.Sent), "172.17.0.2:80"},
		{"published port from 127.0.0.1", syn("", "127.0.0.1", "127.0.0.1", 8080), all(rules.Delivered), "127.0.0.1:8080"},
		{"published port from its own container", syn("docker0", "172.17.0.2", "198.51.100.1", 8080), map[string]rules.End{"": rules.Delivered, "ufw": rules.Dropped}, "198.51.100.1:8080"},
		{"published port from another bridge", syn("br-app", "172.18.0.2", "198.51.100.1", 8080), bridges, "172.17.0.2:80"},
		{"container of another bridge", syn("br-app", "172.18.0.2", "172.17.0.2", 80), all(rules.Dropped), ""},
		{"container from outside, past its published port", syn("eth0", "198.51.100.9", "172.17.0.2", 80), direct, "172.17.0.2:80"},
		{"port that is not published", syn("eth0", "198.51.100.9", "172.17.0.2", 81), all(rules.Dropped), ""},
		{"container to outside", syn("docker0", "172.17.0.2", "203.0.113.9", 443), all(rules.Forwarded), "203.0.113.9:443"},
		{"host's port 22", syn("eth0", "198.51.100.9", "198.51.100.1", 22), all(rules.Delivered), "198.51.100.1:22"},
		{"host's port 23", syn("eth0", "198.51.100.9", "198.51.100.1", 23), map[string]rules.End{"": rules.Delivered, "ufw": rules.Dropped, "firewalld": rules.Dropped}, "198.51.100.1:23"},
	}
}

// fixture reads a layout: text of iptables-save by itself, rules of nft by way of
// the kernel.
func fixture(t *testing.T, file string) *rules.Set {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".nft") {
		ns := newNS(t)
		inNS(t, ns, string(text), "nft", "-f", "-")
		set, err := ReadRules(ns)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	set, err := rules.ParseSave(string(text), FamilyIP, rules.NFT)
	if err != nil {
		t.Fatal(err)
	}
	set.IPSets = map[string]*rules.IPSet{"docker-ext-bridges-v4": {
		Name: "docker-ext-bridges-v4", Type: "hash:net", Family: FamilyIP,
		Entries: []rules.IPSetEntry{{Net: netip.MustParsePrefix("172.17.0.0/16")}, {Net: netip.MustParsePrefix("172.18.0.0/16")}},
	}}
	return set
}

// Each layout of Docker, ufw and firewalld sends the packets of the scenarios
// where that version does, by the rules that golden files hold.
func TestLayouts(t *testing.T) {
	files, err := filepath.Glob("rules/testdata/layout-*")
	if err != nil || len(files) < 8 {
		t.Fatalf("fixtures %v: %v", files, err)
	}
	for _, file := range files {
		base := strings.TrimPrefix(filepath.Base(file), "layout-")
		if strings.HasSuffix(base, ".golden") {
			continue
		}
		t.Run(base, func(t *testing.T) {
			name, _, _ := strings.Cut(base, ".")
			set := fixture(t, file)
			ev := rules.NewEvaluator(set, layoutEnv())
			var told strings.Builder
			for _, s := range scenarios() {
				out := ev.Walk(s.packet)
				fmt.Fprintf(&told, "%s: %s, %s\n%s\n", s.name, out.Verdict, out.End, trail(out))
				want, ok := s.ends[name]
				if !ok {
					want = s.ends[""]
				}
				if out.End != want {
					t.Errorf("%s: %s, want %s; %v\n%s", s.name, out.End, want, out.Unknowns, trail(out))
				} else if got := netip.AddrPortFrom(out.Packet.Dst, out.Packet.DstPort).String(); want != rules.Dropped && want == s.ends[""] && got != s.to {
					t.Errorf("%s: goes to %s, want %s", s.name, got, s.to)
				}
			}
			golden.Compare(t, *update, file+".golden", told.String())
			whatIf(t, set)
		})
	}
}

// whatIf: without its ACCEPT, the published port is dropped; and so it is with a
// DROP before all of Docker's own rules.
func whatIf(t *testing.T, set *rules.Set) {
	t.Helper()
	first := syn("eth0", "198.51.100.9", "198.51.100.1", 8080)
	out := rules.NewEvaluator(set, layoutEnv()).Walk(first)
	var accept *rules.Rule
	for _, s := range out.Steps {
		if s.Rule != nil && s.Hook == "forward" && s.Does == "accept" && strings.Contains(s.Text, "172.17.0.2") {
			accept = s.Rule
		}
	}
	if accept == nil {
		t.Fatalf("no rule accepts the published port:\n%s", trail(out))
	}
	out = rules.NewEvaluator(set.Without(accept), layoutEnv()).Walk(first)
	if out.Verdict != rules.Drop || out.Decider == nil {
		t.Errorf("without %q: %s\n%s", accept.Text, out.Verdict, trail(out))
	}
	user := set.Chain(rules.NFT, FamilyIP, "filter", "DOCKER-USER")
	if user == nil {
		return // the nftables backend has none
	}
	drop := &rules.Rule{Number: 1, Stmts: []rules.Stmt{rules.CompareAddr(true, false, []byte{198, 51, 100, 9}, []byte{255, 255, 255, 255}), rules.Go{Kind: rules.GoDrop}}}
	set.Describe(user, drop)
	user.Rules = slices.Insert(user.Rules, 0, drop)
	out = rules.NewEvaluator(set, layoutEnv()).Walk(first)
	if out.Decider == nil || out.Decider.Rule != drop || out.Decider.Text != "-s 198.51.100.9/32 -j DROP" {
		t.Errorf("with a drop in DOCKER-USER: %v\n%s", out.Decider, trail(out))
	}
}
