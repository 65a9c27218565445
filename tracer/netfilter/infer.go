// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"cmp"
	"slices"
)

// facts are what a kernel without a hook dump tells.
type facts struct {
	chains  []Chain // of nf_tables (tables that are not dormant) and of legacy tables
	rules   []rule
	tracked int // connections that the namespace tracks now
}

// rule is what is used of a rule of nf_tables.
type rule struct {
	family string
	exprs  []string // expressions; for those of xtables "match NAME", "target NAME"
}

// infer adds the kernel's own hooks to the chains that are known.
//
// Connection tracking registers its hooks (and defragmentation) in a namespace,
// for a family, when a rule there needs it, and takes them away with the last
// such rule. It counts as in use for a family when
//   - a rule of nf_tables of that family uses an expression that needs it, or
//   - the family has a legacy nat table: it is of no use without, and what legacy
//     tables' rules need can't be read by netlink, or
//   - the namespace tracks connections: something needed it, of either family.
//
// This errs towards "in use": then a bracket has nothing in it and measures as
// a null hop, whereas a hook that is missed would be charged to its neighbor.
// Hooks of other modules (ipvs, synproxy, security modules) are not found.
func infer(f facts) []Chain {
	chains := slices.DeleteFunc(slices.Clone(f.chains), func(c Chain) bool { return c.Type == "nat" })
	for _, family := range []string{FamilyIP, FamilyIP6} {
		for _, c := range natHooks(family, f.chains) {
			if !slices.Contains(chains, c) { // one of inet is of both families
				chains = append(chains, c)
			}
		}
		if f.tracks(family) {
			chains = append(chains, trackingHooks(family)...)
		}
	}
	return chains
}

func (f facts) tracks(family string) bool {
	of := func(other string) bool { return other == family || other == FamilyInet }
	if f.tracked > 0 {
		return true
	}
	if slices.ContainsFunc(f.chains, func(c Chain) bool { return of(c.Family) && c.Type == "nat" && c.Backend == BackendLegacy }) {
		return true
	}
	return slices.ContainsFunc(f.rules, func(r rule) bool {
		return of(r.family) && slices.ContainsFunc(r.exprs, needsTracking)
	})
}

// natHooks are what a family's nat chains make the kernel register: as soon as
// there is one, a function at each of the four hooks where addresses change,
// always at the same priorities, which calls the chains.
func natHooks(family string, known []Chain) []Chain {
	isNAT := func(c Chain) bool { return c.Type == "nat" && (c.Family == family || c.Family == FamilyInet) }
	if !slices.ContainsFunc(known, isNAT) {
		return nil
	}
	var chains []Chain
	for _, h := range legacyHooks("nat") {
		chains = append(chains, natAt(family, h.hook, h.priority, known)...)
	}
	return chains
}

// natAt returns the nat chains that the kernel's function at a hook calls, by
// the priority they were made with, at the priority where they really run; the
// function itself where there is none to call.
func natAt(family, hook string, priority int, known []Chain) []Chain {
	var chains []Chain
	for _, c := range known {
		if c.Type == "nat" && c.at(family, hook) {
			chains = append(chains, c)
		}
	}
	if chains == nil {
		return []Chain{kernelChain(family, hook, priority, "nat")}
	}
	slices.SortStableFunc(chains, func(a, b Chain) int { return cmp.Compare(a.Priority, b.Priority) })
	for i := range chains {
		chains[i].Priority = priority
	}
	return chains
}

// trackingHooks are the hooks that connection tracking registers for a family.
func trackingHooks(family string) []Chain {
	return []Chain{
		kernelChain(family, HookPrerouting, PriorityDefrag, "defrag"),
		kernelChain(family, HookOutput, PriorityDefrag, "defrag"),
		kernelChain(family, HookPrerouting, PriorityConntrack, "conntrack"),
		kernelChain(family, HookOutput, PriorityConntrack, "conntrack"),
		kernelChain(family, HookInput, PriorityConfirm, "confirm"),
		kernelChain(family, HookPostrouting, PriorityConfirm, "confirm"),
	}
}

// needsTracking tells whether an expression makes the kernel call
// nf_ct_netns_get when a rule with it is added.
func needsTracking(expr string) bool {
	switch expr {
	case "ct", "nat", "masq", "redir", "connlimit", "flow_offload", "synproxy",
		"match conntrack", "match state", "match connmark", "match connlabel", "match connlimit",
		"match connbytes", "match helper", "match cluster",
		"target DNAT", "target SNAT", "target MASQUERADE", "target REDIRECT", "target NETMAP",
		"target CONNMARK", "target CONNSECMARK", "target CT", "target SYNPROXY":
		return true
	}
	return false
}
