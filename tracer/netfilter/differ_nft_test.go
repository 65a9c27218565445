// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"strings"
)

func (g *gen) ip() string {
	if g.v6 {
		return "ip6"
	}
	return "ip"
}

func (g *gen) ne() string { return pick(g.Rand, "", "", "!= ") }

func (g *gen) nftPort() string { return strings.ReplaceAll(g.port(), ":", "-") }

func (g *gen) nftNet() string { return strings.Replace(g.net(), "/255.255.0.0", "/16", 1) }

// nftMatches are the conditions of the new Docker's and firewalld's rules.
var nftMatches = []part{
	{"nft iifname", "PIF", func(g *gen) string {
		return "iifname " + g.ne() + pick(g.Rand, `"eth0"`, `"docker0"`, `{ "eth0", "br0" }`, `"eth*"`, `"lo"`)
	}},
	{"nft oifname", "FOS", func(g *gen) string {
		return "oifname " + g.ne() + pick(g.Rand, `"eth0"`, `"docker0"`, `{ "eth0", "br0" }`, `"lo"`)
	}},
	{"nft saddr", "PIFOS", func(g *gen) string { return g.ip() + " saddr " + g.ne() + g.nftNet() }},
	{"nft daddr", "PIFOS", func(g *gen) string { return g.ip() + " daddr " + g.ne() + g.nftNet() }},
	{"nft set", "PIFOS", func(g *gen) string { return g.ip() + pick(g.Rand, " saddr ", " daddr ") + g.ne() + "@nets" }},
	{"nft anonymous set", "PIFOS", func(g *gen) string {
		return g.ip() + " daddr " + g.ne() + "{ " + g.host() + ", " + pick(g.Rand, "192.0.2.0/24", "192.0.2.7") + " }"
	}},
	{"nft dport", "PIFOS", func(g *gen) string { return pick(g.Rand, "tcp", "udp", "sctp") + " dport " + g.ne() + g.nftPort() }},
	{"nft dport set", "PIFOS", func(g *gen) string { return pick(g.Rand, "tcp", "udp") + " dport " + g.ne() + "{ 80, 53, 8000-8100 }" }},
	{"nft th dport", "PIFOS", func(g *gen) string { return "meta l4proto { tcp, udp } th dport " + g.nftPort() }},
	{"nft tcp flags", "PIFOS", func(g *gen) string {
		return pick(g.Rand, "tcp flags & (fin | syn | rst | ack) == syn", "tcp flags syn", "tcp flags & (syn | rst) != syn")
	}},
	{"nft l4proto", "PIFOS", func(g *gen) string {
		return "meta l4proto " + g.ne() + pick(g.Rand, "tcp", "{ tcp, udp }", "{ icmp, icmpv6 }", "sctp")
	}},
	{"nft icmp type", "PIFOS", func(g *gen) string {
		if g.v6 {
			return "icmpv6 type " + g.ne() + pick(g.Rand, "echo-request", "{ nd-neighbor-solicit, nd-router-advert }", "destination-unreachable")
		}
		return "icmp type " + g.ne() + pick(g.Rand, "echo-request", "{ destination-unreachable, timestamp-request }")
	}},
	{"nft ct state", "PIFOS", func(g *gen) string {
		return "ct state " + pick(g.Rand, "established,related", "new", "invalid", "{ established, related }", "untracked", "!= new", "new,untracked")
	}},
	{"nft ct status", "IFOS", func(g *gen) string { return "ct status " + pick(g.Rand, "dnat", "snat", "dnat,snat", "seen-reply") }},
	{"nft ct direction", "PIFOS", func(g *gen) string { return "ct direction " + pick(g.Rand, "original", "reply") }},
	{"nft ct original", "PIFOS", func(g *gen) string {
		return "ct original " + pick(g.Rand, g.ip()+" daddr "+g.host(), g.ip()+" saddr "+g.host())
	}},
	{"nft ct mark", "IFOS", func(g *gen) string { return "ct mark " + g.ne() + pick(g.Rand, "0x1", "0x0", "0x10-0x20") }},
	{"nft mark", "PIFOS", func(g *gen) string {
		return pick(g.Rand, "meta mark 0x1", "meta mark != 0x0", "meta mark & 0xff == 0x10", "meta mark and 0x1 != 0x1")
	}},
	{"nft fib type", "PIFOS", func(g *gen) string {
		return "fib " + pick(g.Rand, "daddr", "saddr") + " type " + g.ne() + pick(g.Rand, "local", "local", "multicast", "{ local, multicast }")
	}},
	{"nft fib oif", "P", func(g *gen) string {
		return "fib saddr . " + pick(g.Rand, "iif", "mark . iif") + " oif " + pick(g.Rand, "missing", "exists")
	}},
	{"nft pkttype", "PIF", func(g *gen) string { return "meta pkttype " + g.ne() + pick(g.Rand, "host", "multicast", "broadcast") }},
	{"nft ttl", "PIFOS", func(g *gen) string {
		if g.v6 {
			return "ip6 hoplimit " + pick(g.Rand, "255", "< 64", "!= 64")
		}
		return "ip ttl " + pick(g.Rand, "255", "< 64", "!= 64")
	}},
	{"nft ether saddr", "PI", func(g *gen) string {
		return "ether saddr " + g.ne() + pick(g.Rand, "02:00:00:00:02:02", "02:00:00:00:02:09")
	}},
	{"nft length", "PIFOS", func(g *gen) string { return "meta length " + pick(g.Rand, "40-60", "> 50") }},
	{"nft nfproto", "PIFOS", func(g *gen) string {
		if !g.inet {
			return "meta protocol " + g.ip()
		}
		return "meta nfproto " + pick(g.Rand, "ipv4", "ipv6")
	}},
	{"nft concatenation", "PIFOS", func(g *gen) string { return g.ip() + " daddr . tcp dport @pairs" }},
	{"nft limit", "PIFOS", func(g *gen) string { return "limit rate " + pick(g.Rand, "", "over ") + "10/minute burst 20 packets" }},
	{"nft rt0", "PIFOS", func(g *gen) string {
		if g.v6 {
			return "rt type 0"
		}
		return "ip protocol " + pick(g.Rand, "tcp", "udp", "47")
	}},
}

// nftTargets are statements of filter chains.
var nftTargets = []part{
	{"nft accept", "PIFOS", func(*gen) string { return "accept" }},
	{"nft drop", "PIFOS", func(*gen) string { return "drop" }},
	{"nft return", "PIFOS", func(*gen) string { return "return" }},
	{"nft continue", "PIFOS", func(*gen) string { return "" }},
	{"nft reject", "IFO", func(g *gen) string {
		return "reject" + pick(g.Rand, "", " with icmpx admin-prohibited", " with icmpx port-unreachable")
	}},
	{"nft log", "PIFOS", func(*gen) string { return `log prefix "filter: " group 5` }},
	{"nft mark set", "PIFOS", func(g *gen) string {
		return "meta mark set " + pick(g.Rand, "0x1", "0x10", "ct mark", "meta mark or 0x1", "meta mark & 0xffffff0f | 0x10")
	}},
	{"nft ct mark set", "IFOS", func(g *gen) string { return "ct mark set " + pick(g.Rand, "0x1", "meta mark", "ct mark or 0x10") }},
	{"nft jump", "PIFOS", nil},
	{"nft goto", "PIFOS", nil},
	{"nft vmap", "IF", nil},
	{"nft ct vmap", "PIFOS", nil},
}

// nftNAT are statements of nat chains.
var nftNAT = []part{
	{"nft dnat", "PO", func(g *gen) string {
		if g.IntN(3) == 0 {
			return "dnat " + g.ip() + " to " + g.host()
		}
		return pick(g.Rand, "tcp", "udp") + " dport " + g.nftPort() + " counter dnat " + g.ip() + " to " + g.nat(true)
	}},
	{"nft dnat map", "PO", func(g *gen) string {
		return "dnat " + g.ip() + " to tcp dport map { 80 : " + g.host() + ", 8080 : " + g.host() + " }"
	}},
	{"nft redirect", "P", func(g *gen) string {
		return "meta l4proto { tcp, udp } counter redirect to :" + pick(g.Rand, "80", "8080")
	}},
	{"nft masquerade", "S", func(*gen) string { return "masquerade" }},
	{"nft snat", "S", func(g *gen) string {
		return "snat " + g.ip() + " to " + hostOf(pick(g.Rand, netDevs...), 1, g.v6).String()
	}},
	{"nft nat return", "POS", func(*gen) string { return "return" }},
}

// end makes a statement; those that lead elsewhere know their chains.
func (g *gen) end(hook, prefix string, from []part) string {
	for {
		p := pick(g.Rand, from...)
		if !strings.Contains(p.hooks, hook) {
			continue
		}
		g.used[p.name] = true
		if p.make != nil {
			return p.make(g)
		}
		switch p.name {
		case "nft jump":
			return "jump " + prefix + "-a"
		case "nft goto":
			return "goto " + prefix + "-a"
		case "nft vmap":
			return "iifname vmap @" + prefix + "-in"
		}
		return "ct state vmap { invalid : drop, established : accept, related : jump " + prefix + "-a }"
	}
}

func (g *gen) nftRule(b *strings.Builder, hook, prefix string, ends []part) {
	end := g.end(hook, prefix, ends)
	var words []string
	for range 1 + g.IntN(2) {
		p := pick(g.Rand, nftMatches...)
		s := p.make(g)
		if !strings.Contains(p.hooks, hook) || asksProtocol(s) && asksProtocol(end+strings.Join(words, " ")) {
			continue
		}
		g.used[p.name] = true
		words = append(words, s)
	}
	if strings.Contains(end, " counter ") {
		words = append(words, end)
	} else {
		words = append(words, "counter", end)
	}
	fmt.Fprintf(b, "    %s\n", strings.TrimSpace(strings.Join(words, " ")))
}

// nft makes a random table as Docker's and firewalld's are built.
func (g *gen) nft() string {
	var b strings.Builder
	family := g.ip()
	if g.IntN(2) == 0 {
		family, g.inet = "inet", true
	}
	fmt.Fprintf(&b, "flush ruleset\ntable %s t {\n", family)
	kind, nets, pairs := "ipv4_addr", "172.17.0.0/16, 198.51.100.2", "172.17.0.2 . 80, 172.18.0.2 . 8000-8100"
	if g.v6 {
		kind, nets, pairs = "ipv6_addr", "2001:db8:2::/64, 2001:db8:1::2", "2001:db8:2::2 . 80, 2001:db8:3::2 . 8000-8100"
	}
	fmt.Fprintf(&b, "  set nets { type %s; flags interval; elements = { %s }; }\n", kind, nets)
	fmt.Fprintf(&b, "  set pairs { type %s . inet_service; flags interval; elements = { %s }; }\n", kind, pairs)
	for _, c := range []struct{ prefix, hook, base string }{
		{"p", "P", "filter hook prerouting priority " + pick(g.Rand, "-300", "-150", "-10")},
		{"i", "I", "filter hook input priority 0"},
		{"f", "F", "filter hook forward priority 0"},
		{"o", "O", pick(g.Rand, "filter", "route") + " hook output priority 0"},
		{"s", "S", "filter hook postrouting priority 0"},
	} {
		if (c.prefix == "p" || c.prefix == "s") && g.IntN(3) > 0 {
			continue
		}
		early := strings.HasSuffix(c.base, "-300")
		g.nftChains(&b, c.prefix, c.hook, c.base, early)
	}
	for _, c := range []struct{ prefix, hook, base string }{
		{"pn", "P", "nat hook prerouting priority -100"}, {"on", "O", "nat hook output priority -100"}, {"sn", "S", "nat hook postrouting priority 100"},
	} {
		if g.IntN(3) == 0 {
			fmt.Fprintf(&b, "  chain %s-base {\n    type %s; policy accept;\n", c.prefix, c.base)
			g.nftRule(&b, c.hook, c.prefix, nftNAT)
			g.nftRule(&b, c.hook, c.prefix, nftNAT)
			b.WriteString("  }\n")
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func (g *gen) nftChains(b *strings.Builder, prefix, hook, base string, early bool) {
	simple := nftTargets[:7]
	fmt.Fprintf(b, "  map %s-in { type ifname : verdict; elements = { \"eth0\" : jump %s-a, \"docker0\" : goto %s-b, \"br0\" : accept }; }\n", prefix, prefix, prefix)
	fmt.Fprintf(b, "  chain %s-b {\n", prefix)
	g.nftRule(b, hook, prefix, simple)
	fmt.Fprintf(b, "  }\n  chain %s-a {\n", prefix)
	g.nftRule(b, hook, prefix, simple)
	g.nftRule(b, hook, prefix, append(simple[:len(simple):len(simple)], part{"nft jump", "PIFOS", func(*gen) string { return "jump " + prefix + "-b" }}))
	fmt.Fprintf(b, "  }\n  chain %s-base {\n    type %s; policy %s;\n", prefix, base, pick(g.Rand, "accept", "accept", "drop"))
	if early && g.IntN(2) == 0 {
		g.used["nft notrack"] = true
		b.WriteString("    tcp dport 80 counter notrack\n")
	}
	for range 1 + g.IntN(3) {
		g.nftRule(b, hook, prefix, nftTargets)
	}
	b.WriteString("  }\n")
}

// asksProtocol: nft refuses rules that ask for two protocols.
func asksProtocol(s string) bool {
	for _, w := range []string{"dport", "tcp flags", "icmp", "l4proto", "ip protocol", "rt type"} {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
