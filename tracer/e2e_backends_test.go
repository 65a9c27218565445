package tracer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// TestDropRulesLegacy: Docker's rules by iptables-legacy; what they drop is told with the rule.
func TestDropRulesLegacy(t *testing.T) {
	for name, c := range map[string]struct{ add, hop, want string }{
		"policy":      {"", "netfilter/forward", "policy drop of ip filter/FORWARD"},
		"DOCKER-USER": {"-I DOCKER-USER -p udp --dport 7 -j DROP", "netfilter/forward", "ip filter/DOCKER-USER rule 1: -p udp -m udp --dport 7 -j DROP"},
		"raw":         {"-t raw -A PREROUTING -p udp --dport 7 -j DROP", "netfilter/prerouting", "ip raw/PREROUTING rule 1: -p udp -m udp --dport 7 -j DROP"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, lab.Config{Rules: lab.RulesLegacy})
			if c.add != "" {
				_, err := s.world.Host.Output(s.ctx, "iptables-legacy", strings.Fields(c.add)...)
				s.must(err)
			}
			s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 3, lab.LoadConfig{})) // its rules are there
			s.droppedBy(c.hop, c.want)
		})
	}
}

// dockerNFT is what Docker writes since version 29 with --firewall-backend=nftables, as far as it decides.
const dockerNFT = `table ip docker-bridges {
	map filter-forward-in-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-in__docker0 }; }
	map filter-forward-out-jumps { type ifname : verdict; elements = { "docker0" : jump filter-forward-out__docker0 }; }
	map nat-postrouting-out-jumps { type ifname : verdict; elements = { "docker0" : jump nat-postrouting-out__docker0 }; }
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		oifname vmap @filter-forward-in-jumps
		iifname vmap @filter-forward-out-jumps
	}
	chain nat-OUTPUT {
		type nat hook output priority -100; policy accept;
		ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		iifname vmap @nat-postrouting-out-jumps
	}
	chain nat-PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter jump nat-prerouting-and-output
	}
	chain nat-prerouting-and-output {
		iifname != "docker0" tcp dport 8080 counter dnat to 172.17.0.2:80 comment "DNAT"
	}
	chain filter-forward-in__docker0 {
		ct state established,related counter accept
		iifname "docker0" counter accept comment "ICC"
		ip daddr 172.17.0.2 tcp dport 80 counter accept
		counter drop comment "UNPUBLISHED PORT DROP"
	}
	chain filter-forward-out__docker0 {
		ct state established,related counter accept
		counter accept comment "OUTGOING"
	}
	chain nat-postrouting-out__docker0 {
		oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade comment "MASQUERADE"
	}
}
`

// TestDropRulesNFT: Docker's rules by nft itself; what they drop is told with the rule.
func TestDropRulesNFT(t *testing.T) {
	s := newStage(t, lab.Config{Rules: lab.RulesNone})
	file := filepath.Join(t.TempDir(), "rules.nft")
	s.must(os.WriteFile(file, []byte(dockerNFT), 0o600))
	_, err := s.world.Host.Output(s.ctx, "nft", "-f", file)
	s.must(err)
	s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 3, lab.LoadConfig{}))
	s.droppedBy("netfilter/forward", "ip docker-bridges/filter-forward-in__docker0 rule 4: ")
}

// droppedBy sends what nobody lets through to nginx by its own address, and holds which rule is named.
func (s *stage) droppedBy(hop, rule string) {
	s.t.Helper()
	const sent = 25
	nginx := s.world.Container("nginx")
	_, err := s.world.Client.Output(s.ctx, "ip", "route", "add", nginx.IP4.String()+"/32", "via", s.world.Host.IP4.String())
	s.must(err)
	s.open(tracer.Config{DropRules: true}, "nginx")
	s.send(s.world.Client, nginx.IP4.String()+":7", sent, 32)
	s.await("drops", func() bool {
		return targetOf(s.t, s.snapshot(), "nginx").Accounting[tracer.Ingress].Dropped >= sent
	})
	target := targetOf(s.t, s.stop(), "nginx")
	if len(target.Drops) != 1 || target.Drops[0].Hop != hop || len(target.Drops[0].Rules) != 1 {
		s.t.Fatalf("drops: %+v", target.Drops)
	}
	if r := target.Drops[0].Rules[0]; r.Count != sent || r.Rule == nil || !strings.HasPrefix(r.Rule.String(), rule) {
		s.t.Errorf("%d by rule %v, why %q; want %d by %s", r.Count, r.Rule, r.Why, sent, rule)
	}
}
