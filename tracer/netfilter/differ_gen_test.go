// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// part is a match or a target of a random rule: one of those that Docker, ufw and
// firewalld write.
type part struct {
	name  string // counted under
	hooks string // of P (prerouting), I, F, O, S (postrouting) where it may stand
	make  func(g *gen) string
}

// gen makes random rules for one family.
type gen struct {
	*rand.Rand
	v6    bool
	inet  bool            // the table of nf_tables is of both families
	used  map[string]bool // names of parts in the set
	lists int
	id    int
}

func (g *gen) net() string {
	if g.v6 {
		return pick(g.Rand, "2001:db8:1::/64", "2001:db8:2::/64", "2001:db8:2::2/128", "2001:db8:3::2/128", "2001:db8::/32", "2001:db8:4::3/128")
	}
	return pick(g.Rand, "198.51.100.0/24", "172.17.0.0/16", "172.17.0.2/32", "172.18.0.2/32", "172.16.0.0/12", "172.19.0.3/32", "172.17.0.0/255.255.0.0")
}

func (g *gen) host() string {
	return hostOf(pick(g.Rand, netDevs...), pick(g.Rand, 2, 3), g.v6).String()
}

func (g *gen) not() string { return pick(g.Rand, "", "", "! ") }

func (g *gen) port() string {
	return pick(g.Rand, fmt.Sprint(pick(g.Rand, portPool...)), fmt.Sprint(pick(g.Rand, portPool...)), "8000:8100", "1:1023", "20000:40000")
}

// l4 is a match that needs a protocol, with it.
func (g *gen) l4(proto, words string) string { return "-p " + proto + " " + words }

// iptMatches are the matches.
var iptMatches = []part{
	{"-s", "PIFOS", func(g *gen) string { return g.not() + "-s " + g.net() }},
	{"-d", "PIFOS", func(g *gen) string { return g.not() + "-d " + g.net() }},
	{"-i", "PIF", func(g *gen) string { return g.not() + "-i " + pick(g.Rand, "eth0", "docker0", "eth+", "br0", "lo") }},
	{"-o", "FOS", func(g *gen) string { return g.not() + "-o " + pick(g.Rand, "eth0", "docker0", "eth+", "br0", "lo") }},
	{"-p", "PIFOS", func(g *gen) string { return g.not() + "-p " + pick(g.Rand, "tcp", "udp", "sctp", g.icmpName(), "47") }},
	{"tcp", "PIFOS", func(g *gen) string {
		return g.l4("tcp", "-m tcp "+g.not()+pick(g.Rand, "--dport ", "--dport ", "--sport ")+g.port())
	}},
	{"tcp flags", "PIFOS", func(g *gen) string {
		return g.l4("tcp", "-m tcp "+g.not()+pick(g.Rand, "--tcp-flags FIN,SYN,RST,ACK SYN", "--tcp-flags SYN,RST SYN", "--tcp-flags ALL NONE", "--tcp-flags ACK ACK"))
	}},
	{"udp", "PIFOS", func(g *gen) string { return g.l4("udp", "-m udp "+g.not()+"--dport "+g.port()) }},
	{"sctp", "PIFOS", func(g *gen) string { return g.l4("sctp", "-m sctp "+g.not()+"--dport "+g.port()) }},
	{"multiport", "PIFOS", func(g *gen) string {
		return g.l4(pick(g.Rand, "tcp", "udp"), "-m multiport "+g.not()+pick(g.Rand, "--dports ", "--ports ", "--sports ")+"80,443,8000:8010,53")
	}},
	{"icmp", "PIFOS", func(g *gen) string {
		if g.v6 {
			return g.l4("ipv6-icmp", "-m icmp6 "+g.not()+"--icmpv6-type "+pick(g.Rand, "128", "129/0", "1/4", "135", "134"))
		}
		return g.l4("icmp", "-m icmp "+g.not()+"--icmp-type "+pick(g.Rand, "8", "8/0", "3/3", "13", "any"))
	}},
	{"addrtype", "PIFOS", func(g *gen) string {
		return "-m addrtype " + g.not() + pick(g.Rand, "--dst-type ", "--src-type ") + pick(g.Rand, "LOCAL", "LOCAL", "MULTICAST", "UNICAST", g.broadcast())
	}},
	{"conntrack", "PIFOS", func(g *gen) string {
		return "-m conntrack " + g.not() + "--ctstate " + pick(g.Rand, "RELATED,ESTABLISHED", "NEW", "INVALID", "ESTABLISHED", "UNTRACKED", "RELATED", "NEW,UNTRACKED")
	}},
	{"ctstate DNAT", "IFOS", func(g *gen) string {
		return "-m conntrack " + g.not() + "--ctstate " + pick(g.Rand, "DNAT", "DNAT,SNAT")
	}},
	{"ctstatus", "PIFOS", func(g *gen) string {
		return "-m conntrack " + g.not() + "--ctstatus " + pick(g.Rand, "SEEN_REPLY", "CONFIRMED", "EXPECTED")
	}},
	{"ctorig", "PIFOS", func(g *gen) string {
		return "-m conntrack " + g.not() + pick(g.Rand, "--ctorigdstport 8080", "--ctorigdst "+g.host(), "--ctorigsrc "+g.host(), "--ctproto 6")
	}},
	{"state", "PIFOS", func(g *gen) string {
		return "-m state " + g.not() + "--state " + pick(g.Rand, "NEW", "RELATED,ESTABLISHED")
	}},
	{"mark", "PIFOS", func(g *gen) string {
		return "-m mark " + g.not() + "--mark " + pick(g.Rand, "0x1", "0x10/0xff", "0x0", "0x1/0x1")
	}},
	{"connmark", "IFOS", func(g *gen) string {
		return "-m connmark " + g.not() + "--mark " + pick(g.Rand, "0x1", "0x0", "0x10/0xf0")
	}},
	{"comment", "PIFOS", func(*gen) string { return `-m comment --comment "a comment"` }},
	{"set", "PIFOS", func(g *gen) string {
		return "-m set " + g.not() + "--match-set " + g.ipset(pick(g.Rand, "net dst", "net src", "ip src", "ipport dst,dst"))
	}},
	{"limit", "PIFOS", func(*gen) string { return "-m limit --limit 3/min --limit-burst 20" }},
	{"recent set", "IFO", func(g *gen) string { return fmt.Sprintf("-m recent --set --name l%d_%d --rsource", g.id, g.lists) }},
	{"recent update", "IFO", func(g *gen) string {
		g.lists++
		return fmt.Sprintf("-m recent --update --seconds 30 --hitcount 12 --name l%d_%d --rsource", g.id, g.lists)
	}},
	{"pkttype", "PIF", func(g *gen) string {
		return "-m pkttype " + g.not() + "--pkt-type " + pick(g.Rand, "unicast", "broadcast", "multicast")
	}},
	{"mac", "PIF", func(g *gen) string {
		return "-m mac " + g.not() + "--mac-source " + pick(g.Rand, "02:00:00:00:02:02", "02:00:00:00:02:09")
	}},
	{"iprange", "PIFOS", func(g *gen) string {
		if g.v6 {
			return "-m iprange " + g.not() + "--dst-range 2001:db8:2::2-2001:db8:2::3"
		}
		return "-m iprange " + g.not() + pick(g.Rand, "--src-range 172.17.0.2-172.17.0.4", "--dst-range 172.18.0.1-172.19.0.3")
	}},
	{"ttl", "PIFOS", func(g *gen) string {
		if g.v6 {
			return "-m hl " + pick(g.Rand, "--hl-eq 255", "--hl-lt 64", "! --hl-eq 64")
		}
		return "-m ttl " + pick(g.Rand, "--ttl-eq 255", "--ttl-lt 64", "! --ttl-eq 64")
	}},
	{"length", "PIFOS", func(g *gen) string { return "-m length " + g.not() + "--length 40:60" }},
	{"dscp", "PIFOS", func(g *gen) string { return "-m dscp " + g.not() + "--dscp 0x2e" }},
	{"tos", "PIFOS", func(g *gen) string { return "-m tos " + g.not() + "--tos 0x10/0xff" }},
	{"rpfilter", "P", func(g *gen) string {
		return "-m rpfilter " + pick(g.Rand, "--invert", "--validmark --invert", "--loose", "--accept-local")
	}},
	{"rt", "PIFOS", func(g *gen) string {
		if !g.v6 {
			return ""
		}
		return "-m rt --rt-type 0"
	}},
	{"policy", "PIF", func(g *gen) string { return "-m policy --dir in --pol " + pick(g.Rand, "none", "ipsec") }},
	{"physdev", "F", func(g *gen) string {
		return "-m physdev " + g.not() + pick(g.Rand, "--physdev-is-bridged", "--physdev-in pa", "--physdev-is-in", "--physdev-in pb", "--physdev-out pb --physdev-is-bridged")
	}},
	{"u32", "PIFOS", func(g *gen) string {
		if g.v6 {
			return ""
		}
		return `-p udp -m u32 --u32 "` + pick(g.Rand, "0x0>>0x16&0x3c@0x0&0xffff=0x50,0x35", "0x6&0xff=0x11") + `"`
	}},
}

func (g *gen) icmpName() string {
	if g.v6 {
		return "ipv6-icmp"
	}
	return "icmp"
}

func (g *gen) broadcast() string {
	if g.v6 {
		return "LOCAL,MULTICAST"
	}
	return "BROADCAST"
}

func (g *gen) ipset(s string) string {
	if g.v6 {
		return "v6" + s
	}
	return "v4" + s
}

func (g *gen) nat(port bool) string {
	h := g.host()
	if !port {
		return h
	}
	if g.v6 {
		h = "[" + h + "]"
	}
	return h + ":" + pick(g.Rand, "80", "8080", "7000-7009/8075")
}

// iptTargets are targets of the filter table's chains.
var iptTargets = []part{
	{"ACCEPT", "PIFO", func(*gen) string { return "-j ACCEPT" }},
	{"DROP", "PIFO", func(*gen) string { return "-j DROP" }},
	{"RETURN", "PIFO", func(*gen) string { return "-j RETURN" }},
	{"REJECT", "IFO", func(g *gen) string {
		if g.v6 {
			return "-j REJECT --reject-with " + pick(g.Rand, "icmp6-port-unreachable", "icmp6-adm-prohibited")
		}
		return "-j REJECT --reject-with " + pick(g.Rand, "icmp-port-unreachable", "icmp-host-prohibited")
	}},
	{"LOG", "PIFO", func(*gen) string { return `-j NFLOG --nflog-prefix "[UFW BLOCK] "` }},
	{"none", "PIFO", func(*gen) string { return "" }},
}

// iptMangle are targets of the mangle table.
var iptMangle = []part{
	{"MARK", "PIFOS", func(g *gen) string {
		return "-j MARK --set-xmark " + pick(g.Rand, "0x1/0xffffffff", "0x10/0xff", "0x1/0x1", "0x3/0x0")
	}},
	{"CONNMARK", "PIFOS", func(g *gen) string {
		return "-j CONNMARK " + pick(g.Rand, "--save-mark --nfmask 0xff --ctmask 0xff", "--restore-mark --nfmask 0xff --ctmask 0xff", "--set-xmark 0x1/0xf")
	}},
	{"CHECKSUM", "S", func(*gen) string { return "-p udp -j CHECKSUM --checksum-fill" }},
	{"TCPMSS", "FS", func(*gen) string { return "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu" }},
}

// iptNAT are targets of the nat table.
var iptNAT = []part{
	{"DNAT", "PO", func(g *gen) string {
		if g.IntN(3) == 0 {
			return "-j DNAT --to-destination " + g.nat(false)
		}
		return "-p " + pick(g.Rand, "tcp", "udp", "sctp") + " -j DNAT --to-destination " + g.nat(true)
	}},
	{"REDIRECT", "P", func(g *gen) string {
		return "-p " + pick(g.Rand, "tcp", "udp") + " -j REDIRECT --to-ports " + pick(g.Rand, "80", "8080")
	}},
	{"MASQUERADE", "S", func(*gen) string { return "-j MASQUERADE" }},
	{"SNAT", "S", func(g *gen) string {
		return "-j SNAT --to-source " + hostOf(pick(g.Rand, netDevs...), 1, g.v6).String()
	}},
	{"RETURN", "POS", func(*gen) string { return "-j RETURN" }},
}

// spec makes a rule of one to three matches and a target.
func (g *gen) spec(hook string, matches, targets []part) string {
	for {
		var words []string
		proto := 0
		for range 1 + g.IntN(3) {
			if s := g.part(hook, matches); s != "" {
				words = append(words, s)
				proto += strings.Count(s, "-p ")
			}
		}
		t := g.part(hook, targets)
		proto += strings.Count(t, "-p ")
		line := strings.Join(append(words, t), " ")
		if proto > 1 || repeats(line) {
			continue
		}
		return strings.TrimSpace(line)
	}
}

func (g *gen) part(hook string, from []part) string {
	for {
		p := pick(g.Rand, from...)
		if !strings.Contains(p.hooks, hook) {
			continue
		}
		s := p.make(g)
		if s != "" || p.name == "none" {
			g.used[p.name] = true
			return s
		}
		if p.name == "rt" || p.name == "u32" {
			continue
		}
	}
}

// repeats: options that may stand once only.
func repeats(line string) bool {
	words := strings.Fields(line)
	for _, o := range []string{"-s", "-d", "-i", "-o", "-p"} {
		if n := slices.Index(words, o); n >= 0 && slices.Index(words[n+1:], o) >= 0 {
			return true
		}
	}
	for i, w := range words {
		if w == "-m" && slices.Contains(words[i+2:], words[i+1]) {
			return true
		}
	}
	return false
}

// iptables makes a random rule set of all tables.
func (g *gen) iptables() string {
	var b strings.Builder
	b.WriteString("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n")
	if g.IntN(3) == 0 {
		early := func(p part) bool {
			return strings.HasPrefix(p.name, "c") || p.name == "state" || p.name == "recent update"
		}
		g.rules(&b, "PREROUTING", "P", 1, slices.DeleteFunc(slices.Clone(iptMatches), early),
			append(iptTargets[:2:2], part{"CT --notrack", "P", func(*gen) string { return "-j CT --notrack" }}))
	}
	b.WriteString("COMMIT\n*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
	if g.IntN(2) == 0 {
		for chain, hook := range map[string]string{"PREROUTING": "P", "FORWARD": "F", "POSTROUTING": "S", "OUTPUT": "O"} {
			g.rules(&b, chain, hook, 1, iptMatches, iptMangle)
		}
	}
	b.WriteString("COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
	for chain, hook := range map[string]string{"PREROUTING": "P", "POSTROUTING": "S", "OUTPUT": "O"} {
		if g.IntN(3) == 0 {
			g.rules(&b, chain, hook, 2, iptMatches, iptNAT)
		}
	}
	b.WriteString("COMMIT\n*filter\n")
	for _, hook := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		fmt.Fprintf(&b, ":%s %s [0:0]\n", hook, pick(g.Rand, "ACCEPT", "ACCEPT", "DROP"))
		fmt.Fprintf(&b, ":%s-A - [0:0]\n:%s-B - [0:0]\n", hook, hook)
	}
	for _, chain := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		hook := chain[:1]
		jumps := append(slices.Clone(iptTargets), part{"jump", hook, func(g *gen) string {
			return pick(g.Rand, "-j ", "-j ", "-g ") + chain + "-A"
		}}, part{"jump", hook, func(*gen) string { return "-j " + chain + "-B" }})
		g.rules(&b, chain, hook, 3, iptMatches, jumps)
		g.rules(&b, chain+"-A", hook, 2, iptMatches, jumps[:len(jumps)-2])
		g.rules(&b, chain+"-B", hook, 2, iptMatches, append(slices.Clone(iptTargets), jumps[len(jumps)-2]))
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func (g *gen) rules(b *strings.Builder, chain, hook string, n int, matches, targets []part) {
	for range 1 + g.IntN(n) {
		fmt.Fprintf(b, "-A %s %s\n", chain, g.spec(hook, matches, targets))
	}
}
