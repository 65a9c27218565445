// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// runtimesEnv is a host with Podman's default network.
func runtimesEnv() rules.Env {
	env := layoutEnv()
	bridge := netip.MustParsePrefix("10.88.0.1/16")
	env.Devices["podman0"] = rules.Device{Index: 9, Addrs: []netip.Prefix{bridge}, RouteLocalnet: true}
	env.Routes.Routes = append(env.Routes.Routes,
		rules.Route{Table: rules.TableLocal, Dst: netip.PrefixFrom(bridge.Addr(), 32), Type: rules.RouteLocal, Dev: "podman0"},
		rules.Route{Table: rules.TableMain, Dst: bridge.Masked(), Type: rules.RouteUnicast, Dev: "podman0"})
	return env
}

// loadByKernel reads a rule set by way of the kernel.
func loadByKernel(t *testing.T, file string) *rules.Set {
	t.Helper()
	text, err := os.ReadFile("rules/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	ns := newNS(t)
	if strings.HasSuffix(file, ".nft") {
		inNS(t, ns, string(text), "nft", "-f", "-")
	} else {
		inNS(t, ns, string(text), "iptables-nft-restore")
	}
	set, err := ReadRules(ns)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Rules of netavark, by both of its drivers, and of CNI's plugins send packets
// where these say, and tell which ports are published.
func TestRuntimesRules(t *testing.T) {
	scenarios := []struct {
		name   string
		packet rules.Packet
		end    rules.End
		to     string
		src    string // "" where it stays
	}{
		{"published port from outside", syn("eth0", "198.51.100.9", "198.51.100.1", 8080), rules.Forwarded, "10.88.0.2:80", ""},
		{"of a range", syn("eth0", "198.51.100.9", "198.51.100.1", 9003), rules.Forwarded, "10.88.0.2:81", ""},
		{"from the host", syn("", "198.51.100.1", "198.51.100.1", 8080), rules.Sent, "10.88.0.2:80", ""},
		{"from 127.0.0.1", syn("", "127.0.0.1", "127.0.0.1", 8080), rules.Sent, "10.88.0.2:80", "10.88.0.1"},
		{"hairpin", syn("podman0", "10.88.0.2", "198.51.100.1", 9002), rules.Forwarded, "10.88.0.2:80", "10.88.0.1"},
		{"container to outside", syn("podman0", "10.88.0.2", "203.0.113.9", 443), rules.Forwarded, "203.0.113.9:443", "198.51.100.1"},
		{"port that is not published", syn("eth0", "198.51.100.9", "198.51.100.1", 9004), rules.Delivered, "198.51.100.1:9004", ""},
	}
	var want []rules.PortForward
	for host, port := range map[uint16]uint16{8080: 80, 9000: 78, 9001: 79, 9002: 80, 9003: 81} {
		want = append(want, rules.PortForward{
			Proto: rules.TCP, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), host), To: netip.AddrPortFrom(netip.MustParseAddr("10.88.0.2"), port),
		})
	}
	for _, file := range []string{"netavark.nft", "netavark.save", "cni.save"} {
		t.Run(file, func(t *testing.T) {
			set := loadByKernel(t, file)
			if len(set.Notes) > 0 {
				t.Errorf("notes: %q", set.Notes)
			}
			ev := rules.NewEvaluator(set, runtimesEnv())
			for _, s := range scenarios {
				out := ev.Walk(s.packet)
				src := s.packet.Src.String()
				if s.src != "" {
					src = s.src
				}
				if to := netip.AddrPortFrom(out.Packet.Dst, out.Packet.DstPort).String(); out.End != s.end || to != s.to || out.Packet.Src.String() != src {
					t.Errorf("%s: %s from %s to %s, want %s from %s to %s; %v\n%s", s.name, out.End, out.Packet.Src, to, s.end, src, s.to, out.Unknowns, trail(out))
				}
			}
			got := set.PortForwards([]netip.Addr{netip.MustParseAddr("10.88.0.2")})
			if !samePorts(got, want) {
				t.Errorf("published: %v, want %v", got, want)
			}
			if other := set.PortForwards([]netip.Addr{netip.MustParseAddr("10.88.0.3")}); len(other) > 0 {
				t.Errorf("published by nobody: %v", other)
			}
		})
	}
}

func samePorts(a, b []rules.PortForward) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(f rules.PortForward) bool { return !slices.Contains(b, f) })
}

// What is written in other words, or leaves the kernel a choice, is told as it is
// or not at all.
func TestPortForwards(t *testing.T) {
	for _, tt := range []struct{ rule, want string }{
		{"-d 198.51.100.7/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.4.0.2:5353", "198.51.100.7:53 10.4.0.2:5353"},
		{"-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.4.0.2", "0.0.0.0:80 10.4.0.2:80"},
		{"-p tcp -m multiport --dports 443 -j DNAT --to-destination 10.4.0.2:8443", "0.0.0.0:443 10.4.0.2:8443"},
		{"-p tcp -m tcp --dport 80:81 -j DNAT --to-destination 10.4.0.2:90-91/80", "0.0.0.0:80 10.4.0.2:90 0.0.0.0:81 10.4.0.2:91"},
		{"-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.4.0.2:90-91", ""},
		{"-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.4.0.2-10.4.0.3", ""},
		{"-p tcp -m tcp ! --dport 80 -j DNAT --to-destination 10.4.0.2:80", ""},
		{"-p tcp -m tcp --dport 1024:65535 -j DNAT --to-destination 10.4.0.2", ""},
		{"-p tcp -j DNAT --to-destination 10.4.0.2:80", ""},
		{"-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080", ""},
	} {
		set, err := rules.ParseSave("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING "+tt.rule+"\nCOMMIT\n", FamilyIP, rules.NFT)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range set.PortForwards([]netip.Addr{netip.MustParseAddr("10.4.0.2")}) {
			got = append(got, f.Host.String(), f.To.String())
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, text, tt.want)
		}
	}
}
