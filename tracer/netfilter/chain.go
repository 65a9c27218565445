// SPDX-License-Identifier: Apache-2.0

// Package netfilter tells what a packet passes at each netfilter hook of a
// network namespace: base chains of nf_tables, tables of legacy iptables, and
// the kernel's own functions (defragmentation, connection tracking).
//
//	hook dump (exact) ──────────────┐
//	nf_tables chains, /proc (else) ─┴─> BaseChains ─> Borders (pure) ─> []Bracket
//
// The kernel lists its registered hooks since Linux 5.14, where it is built
// with CONFIG_NETFILTER_NETLINK_HOOK. Elsewhere what is registered is concluded
// from what registers it; see infer.
package netfilter

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Families, as nft names them.
const (
	FamilyIP     = "ip"
	FamilyIP6    = "ip6"
	FamilyInet   = "inet" // both of the above
	FamilyARP    = "arp"
	FamilyBridge = "bridge"
	FamilyNetdev = "netdev"
)

// Hooks, as nft names them.
const (
	HookPrerouting  = "prerouting"
	HookInput       = "input"
	HookForward     = "forward"
	HookOutput      = "output"
	HookPostrouting = "postrouting"
	HookIngress     = "ingress"
	HookEgress      = "egress"
)

// Backend is who registered a chain.
type Backend string

// The backends.
const (
	BackendNFT    Backend = "nft"    // nf_tables, of nft or of iptables-nft
	BackendLegacy Backend = "legacy" // iptables-legacy
	BackendKernel Backend = "kernel" // a function of the kernel without rules
)

// Priorities that the kernel gives its own hooks (enum nf_ip_hook_priorities).
const (
	PriorityDefrag    = -400
	PriorityRaw       = -300
	PriorityConntrack = -200
	PriorityMangle    = -150
	PriorityDNAT      = -100
	PriorityFilter    = 0
	PrioritySecurity  = 50
	PrioritySNAT      = 100
	PriorityConfirm   = math.MaxInt32
)

// Chain is something registered at a netfilter hook.
type Chain struct {
	Family   string // ip, ip6, inet, arp, bridge, netdev
	Hook     string // prerouting, input, forward, output, postrouting, ingress, egress
	Priority int    // where it runs, lower ones first; nat chains run where the kernel's nat function does
	Table    string // "" for the kernel's functions
	Name     string // of the chain; of a legacy table's hook: PREROUTING, ...; of a kernel function: conntrack, defrag, confirm, ...
	Type     string // filter, nat, route; "" where unknown
	Backend  Backend
}

// Label is the chain's short name: the table for iptables' own chains (nft or
// legacy), table/chain for others, the function for the kernel's.
func (c Chain) Label() string {
	switch {
	case c.Backend == BackendKernel:
		return c.Name
	case c.Backend == BackendLegacy, c.iptables():
		return c.Table
	}
	return c.Table + "/" + c.Name
}

// iptables tells that a chain of nf_tables is one that iptables-nft made, as
// far as its name, hook and priority can tell.
func (c Chain) iptables() bool {
	if c.Family != FamilyIP && c.Family != FamilyIP6 || c.Name != strings.ToUpper(c.Hook) {
		return false
	}
	for _, h := range legacyHooks(c.Table) {
		if h.hook == c.Hook && h.priority == c.Priority {
			return true
		}
	}
	return false
}

// at tells whether packets of a family (ip, ip6, ...) meet the chain at a hook.
func (c Chain) at(family, hook string) bool {
	if c.Hook != hook {
		return false
	}
	return c.Family == family || c.Family == FamilyInet && (family == FamilyIP || family == FamilyIP6)
}

// Bracket is all that runs at one priority of a hook.
type Bracket struct {
	Priority int
	Names    []string // labels, in the order in which they run where the kernel tells it
}

// Name joins the names by "+".
func (b Bracket) Name() string { return strings.Join(b.Names, "+") }

// Borders groups what packets of a family meet at a hook by priority, in the
// order in which it runs; nil where nothing is registered.
func Borders(chains []Chain, family, hook string) []Bracket {
	var brackets []Bracket
	for _, c := range chains {
		if !c.at(family, hook) {
			continue
		}
		i := slices.IndexFunc(brackets, func(b Bracket) bool { return b.Priority == c.Priority })
		if i < 0 {
			i = len(brackets)
			brackets = append(brackets, Bracket{Priority: c.Priority})
		}
		if !slices.Contains(brackets[i].Names, c.Label()) {
			brackets[i].Names = append(brackets[i].Names, c.Label())
		}
	}
	slices.SortFunc(brackets, func(a, b Bracket) int { return cmp.Compare(a.Priority, b.Priority) })
	return brackets
}

// legacyHook is where a table of iptables is registered.
type legacyHook struct {
	hook     string
	priority int
	typ      string
}

// legacyHooks returns the hooks of one of iptables' tables, the same for IPv4
// and IPv6; nil for other tables.
func legacyHooks(table string) []legacyHook {
	at := func(priority int, typ string, hooks ...string) []legacyHook {
		var list []legacyHook
		for _, h := range hooks {
			list = append(list, legacyHook{h, priority, typ})
		}
		return list
	}
	switch table {
	case "raw":
		return at(PriorityRaw, "filter", HookPrerouting, HookOutput)
	case "mangle":
		return slices.Concat(
			at(PriorityMangle, "filter", HookPrerouting, HookInput, HookForward, HookPostrouting),
			at(PriorityMangle, "route", HookOutput),
		)
	case "nat":
		return slices.Concat(
			at(PriorityDNAT, "nat", HookPrerouting, HookOutput),
			at(PrioritySNAT, "nat", HookInput, HookPostrouting),
		)
	case "filter":
		return at(PriorityFilter, "filter", HookInput, HookForward, HookOutput)
	case "security":
		return at(PrioritySecurity, "filter", HookInput, HookForward, HookOutput)
	}
	return nil
}

// legacyChains returns the chains of a legacy table that is in use.
func legacyChains(family, table string) []Chain {
	var chains []Chain
	for _, h := range legacyHooks(table) {
		chains = append(chains, Chain{
			Family: family, Hook: h.hook, Priority: h.priority, Table: table,
			Name: strings.ToUpper(h.hook), Type: h.typ, Backend: BackendLegacy,
		})
	}
	return chains
}

// kernelChain is one of the kernel's own functions.
func kernelChain(family, hook string, priority int, name string) Chain {
	return Chain{Family: family, Hook: hook, Priority: priority, Name: name, Backend: BackendKernel}
}
