// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func nft(family, hook string, priority int, table, name, typ string) Chain {
	return Chain{Family: family, Hook: hook, Priority: priority, Table: table, Name: name, Type: typ, Backend: BackendNFT}
}

// show writes brackets as "priority names, ...".
func show(brackets []Bracket) string {
	var parts []string
	for _, b := range brackets {
		parts = append(parts, fmt.Sprintf("%d %s", b.Priority, b.Name()))
	}
	return strings.Join(parts, ", ")
}

func TestBorders(t *testing.T) {
	chains := slices.Concat(
		legacyChains(FamilyIP, "raw"), legacyChains(FamilyIP, "mangle"), trackingHooks(FamilyIP),
		[]Chain{
			nft(FamilyIP, HookForward, 0, "filter", "FORWARD", "filter"),
			nft(FamilyIP, HookPrerouting, -100, "nat", "PREROUTING", "nat"),
			nft(FamilyInet, HookForward, 0, "firewalld", "filter_FORWARD", "filter"),
			nft(FamilyInet, HookForward, 10, "firewalld", "late", "filter"),
			nft(FamilyIP6, HookForward, 0, "filter", "FORWARD", "filter"),
			nft(FamilyBridge, HookForward, 0, "b", "f", "filter"),
			nft(FamilyIP, HookForward, -1, "filter", "FORWARD", "filter"), // not where iptables has it
			nft(FamilyIP, HookForward, -2, "mine", "FORWARD", "filter"),
		},
	)
	tests := []struct{ family, hook, want string }{
		{FamilyIP, HookPrerouting, "-400 defrag, -300 raw, -200 conntrack, -150 mangle, -100 nat"},
		{FamilyIP, HookForward, "-150 mangle, -2 mine/FORWARD, -1 filter/FORWARD, 0 filter+firewalld/filter_FORWARD, 10 firewalld/late"},
		{FamilyIP6, HookForward, "0 firewalld/filter_FORWARD+filter, 10 firewalld/late"},
		{FamilyBridge, HookForward, "0 b/f"},
		{FamilyIP, HookInput, "-150 mangle, 2147483647 confirm"},
		{FamilyIP6, HookInput, ""},
		{FamilyARP, HookForward, ""},
	}
	for _, tt := range tests {
		if got := show(Borders(chains, tt.family, tt.hook)); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.family, tt.hook, got, tt.want)
		}
	}
	if Borders(nil, FamilyIP, HookForward) != nil {
		t.Error("nothing registered gives brackets")
	}
}

func TestLegacyHooks(t *testing.T) {
	want := map[string]string{
		"raw":      "prerouting -300, output -300",
		"mangle":   "prerouting -150, input -150, forward -150, postrouting -150, output -150",
		"nat":      "prerouting -100, output -100, input 100, postrouting 100",
		"filter":   "input 0, forward 0, output 0",
		"security": "input 50, forward 50, output 50",
		"other":    "",
	}
	for table, want := range want {
		var got []string
		for _, c := range legacyChains(FamilyIP6, table) {
			got = append(got, fmt.Sprintf("%s %d", c.Hook, c.Priority))
			if c.Family != FamilyIP6 || c.Backend != BackendLegacy || c.Name != strings.ToUpper(c.Hook) || c.Label() != table {
				t.Errorf("%+v", c)
			}
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %s, want %s", table, s, want)
		}
	}
}

func TestInfer(t *testing.T) {
	all := "defrag prerouting, defrag output, conntrack prerouting, conntrack output, confirm input, confirm postrouting"
	filter := nft(FamilyIP, HookForward, 0, "filter", "FORWARD", "filter")
	tests := []struct {
		name    string
		facts   facts
		ip, ip6 string
	}{
		{"nothing", facts{}, "", ""},
		{"a chain that needs no tracking", facts{chains: []Chain{filter}, rules: []rule{{FamilyIP, []string{"payload", "cmp", "match comment", "target LOG"}}}}, "", ""},
		{"nat of inet with a rule", facts{rules: []rule{{FamilyInet, []string{"meta", "masq"}}}}, all, all},
		{"legacy nat", facts{chains: legacyChains(FamilyIP, "nat")}, all, ""},
		{"ct expression", facts{rules: []rule{{FamilyIP6, []string{"meta", "ct"}}}}, "", all},
		{"ct expression of inet", facts{rules: []rule{{FamilyInet, []string{"ct"}}}}, all, all},
		{"iptables-nft -m conntrack", facts{rules: []rule{{FamilyIP, []string{"match conntrack", "counter"}}}}, all, ""},
		{"ct of the bridge family", facts{rules: []rule{{FamilyBridge, []string{"ct"}}}}, "", ""},
		{"connections, whatever asked for them", facts{tracked: 1}, all, all},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			chains := infer(tt.facts)
			for family, want := range map[string]string{FamilyIP: tt.ip, FamilyIP6: tt.ip6} {
				var got []string
				for _, c := range chains {
					if c.Backend == BackendKernel && c.Family == family && c.Name != "nat" {
						got = append(got, c.Name+" "+c.Hook)
					}
				}
				if s := strings.Join(got, ", "); s != want {
					t.Errorf("%s: %q, want %q", family, s, want)
				}
			}
			for _, c := range tt.facts.chains {
				if !slices.Contains(chains, c) {
					t.Errorf("lost %+v", c)
				}
			}
		})
	}
}

// Whatever priority a nat chain was made with, the kernel calls it from a
// function of its own, which it registers at all four hooks.
func TestInferNAT(t *testing.T) {
	chains := infer(facts{chains: []Chain{
		nft(FamilyInet, HookPostrouting, 90, "late", "p", "nat"),
		nft(FamilyIP, HookPostrouting, 10, "early", "p", "nat"),
		nft(FamilyIP, HookForward, 0, "filter", "FORWARD", "filter"),
	}})
	tests := []struct{ family, hook, want string }{
		{FamilyIP, HookPrerouting, "-100 nat"},
		{FamilyIP, HookInput, "100 nat"},
		{FamilyIP, HookForward, "0 filter"},
		{FamilyIP, HookOutput, "-100 nat"},
		{FamilyIP, HookPostrouting, "100 early/p+late/p"},
		{FamilyIP6, HookPostrouting, "100 late/p"},
		{FamilyIP6, HookInput, "100 nat"},
	}
	for _, tt := range tests {
		if got := show(Borders(chains, tt.family, tt.hook)); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.family, tt.hook, got, tt.want)
		}
	}
	if got := natHooks(FamilyIP6, []Chain{nft(FamilyIP, HookPostrouting, 90, "n", "p", "nat")}); got != nil {
		t.Errorf("nat of the other family: %+v", got)
	}
}

// dump is what Linux 6.12 lists in a host like Docker's with vethtrace attached.
func dump() []registered {
	at := func(hook string, priority int, function string) registered {
		return registered{family: FamilyIP, hook: hook, priority: priority, function: function}
	}
	chain := func(hook string, priority int, function, family, table, name string) registered {
		r := at(hook, priority, function)
		r.info, r.chainFamily, r.table, r.chain = infoNFTables, family, table, name
		return r
	}
	bpf := at(HookForward, -1, "nf_hook_run_bpf")
	bpf.info = infoBPF
	six := chain(HookForward, 0, "nft_do_chain_inet", FamilyInet, "fw", "guard")
	six.family = FamilyIP6
	return []registered{
		at(HookPrerouting, -400, "ipv4_conntrack_defrag"),
		at(HookPrerouting, -300, "ipt_do_table"),
		at(HookPrerouting, -200, "ipv4_conntrack_in"),
		at(HookPrerouting, -100, "nf_nat_ipv4_pre_routing"),
		at(HookInput, 100, "nf_nat_ipv4_local_in"),
		at(HookInput, 2147483647, "nf_confirm"),
		bpf,
		chain(HookForward, 0, "nft_do_chain_inet", FamilyInet, "fw", "guard"),
		chain(HookForward, 0, "nft_do_chain", FamilyIP, "filter", "FORWARD"),
		six,
		at(HookForward, 50, "iptable_security_hook"),
		at(HookPostrouting, -225, "apparmor_ip_postroute"),
		at(HookPostrouting, 300, "nf_conntrack_helper"),
		at(HookPostrouting, 1, "some_new_function"),
		at(HookPostrouting, 2, ""),
	}
}

func TestFromHooks(t *testing.T) {
	known := []Chain{
		nft(FamilyInet, HookForward, 0, "fw", "guard", "filter"),
		nft(FamilyIP, HookForward, 0, "filter", "FORWARD", "filter"),
		nft(FamilyIP, HookPrerouting, -100, "nat", "PREROUTING", "nat"),
		nft(FamilyIP, HookPrerouting, -100, "mine", "dnat", "nat"),
		nft(FamilyNetdev, HookIngress, 0, "n", "in", "filter"),
		nft(FamilyIP, HookOutput, 0, "unregistered", "o", "filter"), // removed between the two questions
	}
	chains := fromHooks(dump(), known)
	tests := []struct{ family, hook, want string }{
		{FamilyIP, HookPrerouting, "-400 defrag, -300 raw, -200 conntrack, -100 nat+mine/dnat"},
		{FamilyIP, HookInput, "100 nat, 2147483647 confirm"},
		{FamilyIP, HookForward, "0 fw/guard+filter, 50 security"}, // in the dump's order, no BPF
		{FamilyIP6, HookForward, "0 fw/guard"},
		{FamilyIP, HookPostrouting, "-225 apparmor, 1 some_new_function, 2 unknown, 300 helper"},
		{FamilyIP, HookOutput, ""},
		{FamilyNetdev, HookIngress, "0 n/in"},
	}
	for _, tt := range tests {
		if got := show(Borders(chains, tt.family, tt.hook)); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.family, tt.hook, got, tt.want)
		}
	}
	inet := 0
	for _, c := range chains {
		if c.Name == "guard" {
			inet++
			if c.Type != "filter" || c.Backend != BackendNFT {
				t.Errorf("%+v", c)
			}
		}
	}
	if inet != 1 {
		t.Errorf("a chain of inet is listed %d times", inet)
	}
}
