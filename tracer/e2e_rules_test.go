package tracer_test

import (
	"net"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// TestDropRules: what netfilter drops is told with the rule that drops it, if
// its counter says so.
func TestDropRules(t *testing.T) {
	const sent = 25
	for name, c := range map[string]struct {
		rules []string // iptables' words; those of nft begin with nft
		under bool     // while it is traced
		port  string
		hop   string
		rule  string // empty: unknown
		why   string
	}{
		"policy":                   {port: "7", hop: "netfilter/forward", rule: "policy drop of ip filter/FORWARD"},
		"DOCKER-USER":              {rules: []string{"-I DOCKER-USER -p udp --dport 7 -j DROP"}, port: "7", hop: "netfilter/forward", rule: "ip filter/DOCKER-USER rule 1: -p udp -m udp --dport 7 -j DROP"},
		"by source":                {rules: []string{"-I DOCKER-USER -s 198.51.100.99 -j DROP", "-A DOCKER-USER -s 198.51.100.0/24 -p udp -m udp --dport 7 -j DROP", "-D DOCKER-USER -j RETURN"}, port: "7", hop: "netfilter/forward", rule: "ip filter/DOCKER-USER rule 2: -s 198.51.100.0/24"},
		"REJECT":                   {rules: []string{"-I FORWARD -p udp --dport 7 -j REJECT"}, port: "7", hop: "netfilter/forward", rule: "ip filter/FORWARD rule 1: -p udp -m udp --dport 7 -j REJECT"},
		"raw":                      {rules: []string{"-t raw -A PREROUTING -p udp --dport 7 -j DROP"}, port: "7", hop: "netfilter/prerouting", rule: "ip raw/PREROUTING rule 1: -p udp -m udp --dport 7 -j DROP"},
		"added while it is traced": {rules: []string{"-I DOCKER-USER -p udp --dport 7 -j DROP"}, under: true, port: "7", hop: "netfilter/forward", rule: "ip filter/DOCKER-USER rule 1: "},
		"nft with a counter": {
			rules: []string{"nft add table inet mine", "nft add chain inet mine guard { type filter hook forward priority -5 ; }", "nft add rule inet mine guard udp dport 7 counter drop"},
			port:  "7", hop: "netfilter/forward", rule: "inet mine/guard rule 1: udp dport 7 drop",
		},
		"nft without a counter": {
			rules: []string{"nft add table inet mine", "nft add chain inet mine guard { type filter hook forward priority -5 ; }", "nft add rule inet mine guard udp dport 7 drop"},
			port:  "7", hop: "netfilter/forward", why: "perhaps inet mine/guard rule 1: udp dport 7 drop, which has no counter",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, lab.Config{})
			nginx := s.world.Container("nginx")
			_, err := s.world.Client.Output(s.ctx, "ip", "route", "add", nginx.IP4.String()+"/32", "via", s.world.Host.IP4.String())
			s.must(err)
			load := func() {
				for _, r := range c.rules {
					if words := strings.Fields(r); words[0] == "nft" {
						_, err := s.world.Host.Output(s.ctx, "nft", words[1:]...)
						s.must(err)
					} else {
						s.ruled(r)
					}
				}
			}
			if !c.under {
				load()
			}
			s.open(tracer.Config{DropRules: true}, "nginx")
			if c.under {
				load()
			}
			s.send(s.world.Client, nginx.IP4.String()+":"+c.port, sent, 32)
			s.await("drops", func() bool {
				return targetOf(t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Dropped >= sent
			})
			target := targetOf(t, s.stop(), "nginx")
			if len(target.Drops) != 1 || target.Drops[0].Hop != c.hop || len(target.Drops[0].Rules) != 1 {
				t.Fatalf("drops: %+v", target.Drops)
			}
			r := target.Drops[0].Rules[0]
			if r.Count != sent || !strings.HasPrefix(r.Packet, "198.51.100.2:") || !strings.HasSuffix(r.Packet, " -> 172.17.0.2:7 udp") {
				t.Errorf("%+v", r)
			}
			if c.rule == "" {
				if r.Rule != nil || r.Why != c.why {
					t.Errorf("rule %v, why %q; want %q", r.Rule, r.Why, c.why)
				}
			} else if r.Rule == nil || !strings.HasPrefix(r.Rule.String(), c.rule) {
				t.Errorf("rule %v, why %q; want %q", r.Rule, r.Why, c.rule)
			}
		})
	}
}

// TestDropRulesSeveral: each of several rules is told with its own packets, on
// both ways, and in the target's own namespace; nobody asks, nothing is read.
func TestDropRulesSeveral(t *testing.T) {
	s := newStage(t, lab.Config{})
	nginx := s.world.Container("nginx")
	_, err := s.world.Client.Output(s.ctx, "ip", "route", "add", nginx.IP4.String()+"/32", "via", s.world.Host.IP4.String())
	s.must(err)
	s.ruled("-I DOCKER-USER -p udp --dport 7 -j DROP")
	s.ruled("-I FORWARD -p udp --dport 99 -j DROP")
	_, err = nginx.Output(s.ctx, "iptables", "-A", "OUTPUT", "-p", "udp", "--dport", "98", "-j", "REJECT")
	s.must(err)
	s.open(tracer.Config{DropRules: true}, "nginx")
	s.send(s.world.Client, nginx.IP4.String()+":7", 5, 32)
	s.send(s.world.Client, nginx.IP4.String()+":8", 7, 32)
	s.send(nginx.Node, s.world.Client.IP4.String()+":99", 9, 32)
	s.await("drops", func() bool {
		a := targetOf(t, s.snapshot(), "nginx").Accounting
		return a[tracer.Ingress].Dropped >= 12 && a[tracer.Egress].Dropped >= 9
	})
	target := targetOf(t, s.stop(), "nginx")
	got := map[string]uint64{}
	for _, d := range target.Drops {
		for _, r := range d.Rules {
			if r.Rule == nil {
				t.Errorf("%s in %s: %+v", d.Direction, d.Hop, r)
				continue
			}
			got[d.Direction.String()+" "+r.Rule.String()] = r.Count
		}
	}
	for rule, n := range map[string]uint64{
		"ingress ip filter/DOCKER-USER rule 1: -p udp -m udp --dport 7 -j DROP": 5,
		"ingress policy drop of ip filter/FORWARD":                              7,
		"egress ip filter/FORWARD rule 1: -p udp -m udp --dport 99 -j DROP":     9,
	} {
		if got[rule] != n {
			t.Errorf("%s: %d, want %d: %v", rule, got[rule], n, got)
		}
	}
}

// TestDropRulesElsewhere: packets that a bridge forwards by itself, of IPv6, at
// a detail that stamps no netfilter hook, and in the target's own namespace.
func TestDropRulesElsewhere(t *testing.T) {
	const sent = 10
	for name, c := range map[string]struct {
		detail tracer.Detail
		rule   string // of the host
		inside string // of nginx
		from   string
		six    bool
		want   string
	}{
		"bridged":           {rule: "-I FORWARD -i docker0 -o docker0 -p udp --dport 7 -j DROP", from: "other", want: "ip filter/FORWARD rule 1: "},
		"by detail devices": {rule: "-I DOCKER-USER -p udp --dport 7 -j DROP", detail: tracer.DetailDevices, from: "client", want: "ip filter/DOCKER-USER rule 1: "},
		"by detail tables":  {rule: "-I DOCKER-USER -p udp --dport 7 -j DROP", detail: tracer.DetailTables, from: "client", want: "ip filter/DOCKER-USER rule 1: "},
		"IPv6":              {from: "client", six: true, want: "policy drop of ip6 filter/FORWARD"},
		"inside":            {rule: "-I DOCKER-USER -j ACCEPT", inside: "-A INPUT -p udp --dport 7 -j DROP", from: "client", want: "ip filter/INPUT rule 1: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, lab.Config{Names: []string{"nginx", "other"}, IPv6: true})
			nginx := s.world.Container("nginx")
			from, to := s.world.Client, nginx.IP4.String()
			via := s.world.Host.IP4.String()
			if c.six {
				to, via = nginx.IP6.String(), s.world.Host.IP6.String()
			}
			if c.from == "other" {
				from = s.world.Container("other").Node
			} else {
				_, err := from.Output(s.ctx, "ip", "route", "add", to, "via", via)
				s.must(err)
			}
			if c.rule != "" {
				s.ruled(c.rule)
			}
			if c.inside != "" {
				_, err := nginx.Output(s.ctx, "iptables", strings.Fields(c.inside)...)
				s.must(err)
			}
			s.open(tracer.Config{DropRules: true, Detail: c.detail}, "nginx")
			s.send(from, net.JoinHostPort(to, "7"), sent, 32)
			s.await("the rule", func() bool { // which is asked for while tracing goes on
				var count uint64
				for _, d := range targetOf(t, s.snapshot(), "nginx").Drops {
					for _, r := range d.Rules {
						if r.Rule != nil && strings.HasPrefix(r.Rule.String(), c.want) {
							count += r.Count
						}
					}
				}
				return count == sent
			})
		})
	}
}
