// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// Before connection tracking has seen it, every packet is INVALID to rules, also
// one that connection tracking leaves alone afterwards; only a rule makes it
// UNTRACKED there.
func TestStateBeforeTracking(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      rules.Verdict
	}{
		{"invalid", "-A PREROUTING -m conntrack --ctstate INVALID -j DROP\n", rules.Drop},
		{"not yet untracked", "-A PREROUTING -m conntrack --ctstate UNTRACKED -j DROP\n", rules.Accept},
		{"untracked by a rule", "-A PREROUTING -j CT --notrack\n-A PREROUTING -m conntrack --ctstate UNTRACKED -j DROP\n", rules.Drop},
		{"no longer invalid", "-A PREROUTING -j CT --notrack\n-A PREROUTING -m conntrack --ctstate INVALID -j DROP\n", rules.Accept},
		{"untracked afterwards", "COMMIT\n*mangle\n-A PREROUTING -m conntrack --ctstate UNTRACKED -j DROP\n", rules.Drop},
		{"not invalid afterwards", "COMMIT\n*mangle\n-A PREROUTING -m conntrack --ctstate INVALID -j DROP\n", rules.Accept},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := rules.ParseSave("*raw\n"+c.raw+"COMMIT\n", "ip6", rules.NFT)
			if err != nil {
				t.Fatal(err)
			}
			solicitation := rules.Packet{
				In: "eth0", Src: netip.MustParseAddr("2001:db8::2"), Dst: netip.MustParseAddr("2001:db8::3"),
				Proto: rules.ICMPv6, ICMPType: 135, Conn: rules.Conn{State: rules.Untracked},
			}
			if out := rules.NewEvaluator(set, rules.Env{}).Hook("prerouting", solicitation); out.Verdict != c.want {
				t.Errorf("%v, want %v: %v", out.Verdict, c.want, out.Steps)
			}
		})
	}
}
