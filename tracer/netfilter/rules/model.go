// SPDX-License-Identifier: Apache-2.0

// Package rules says what the netfilter rules of a network namespace do to a
// packet, without asking the kernel: rules are values, evaluating is a function.
//
//	netfilter.ReadRules ─┐                    ┌─> Hook: one hook's chains
//	ParseSave (text) ────┴─> Set ──┐          │
//	netfilter.ReadEnv ───────> Env ┼─ Machine ┴─> Walk: the way through the host
//	                        Packet ┘               └─> Outcome: verdict and trail
//
// What it does not know is Unknown, never guessed. Where a rule cannot be
// decided (a rate, a match without a model) both answers are followed; only if
// they come to different ends the verdict is Unknown.
package rules

import (
	"net/netip"
	"slices"
)

// Backend is who holds a chain.
type Backend string

// The backends.
const (
	NFT    Backend = "nft"    // nf_tables: of nft, of iptables-nft, of a program
	Legacy Backend = "legacy" // iptables-legacy
)

// Set is all rules of a network namespace, or as much of them as was read.
type Set struct {
	Chains []*Chain          // in the order in which they were listed
	Sets   map[SetKey]*NFSet // sets, maps and verdict maps of nf_tables
	IPSets map[string]*IPSet // sets of ipset(8), by name
	// Notes say what could not be read, and so what a verdict may miss.
	Notes []string
}

// Chain finds a chain; nil if there is none.
func (s *Set) Chain(backend Backend, family, table, name string) *Chain {
	i := slices.IndexFunc(s.Chains, func(c *Chain) bool {
		return c.Backend == backend && c.Family == family && c.Table == table && c.Name == name
	})
	if i < 0 {
		return nil
	}
	return s.Chains[i]
}

// Without returns a copy of the set that lacks one rule: the answer to "what if
// it were missing". The set itself is not changed.
func (s *Set) Without(r *Rule) *Set {
	out := *s
	out.Chains = make([]*Chain, len(s.Chains))
	for i, c := range s.Chains {
		out.Chains[i] = c
		if at := slices.Index(c.Rules, r); at >= 0 {
			changed := *c
			changed.Rules = slices.Delete(slices.Clone(c.Rules), at, at+1)
			out.Chains[i] = &changed
		}
	}
	return &out
}

// Chain is a list of rules.
type Chain struct {
	Backend Backend
	Family  string // ip, ip6, inet, bridge, arp, netdev
	Table   string
	Name    string
	Base    *Base // nil for a chain that only others jump to
	Rules   []*Rule
}

// IPTables tells that the chain is one of iptables' own tables, of either
// backend: its rules are written in the words of iptables.
func (c *Chain) IPTables() bool {
	if c.Backend == Legacy {
		return true
	}
	return (c.Family == "ip" || c.Family == "ip6") &&
		slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, c.Table)
}

// Base is where a chain is called from.
type Base struct {
	Hook     string // prerouting, input, forward, output, postrouting, ingress, egress
	Priority int    // lower ones first
	Type     string // filter, nat, route
	Policy   Verdict
	Counter  *Counter // of the policy; nil where the kernel has none
}

// Counter is what a rule has seen since it was made.
type Counter struct{ Packets, Bytes uint64 }

// Rule is one rule of a chain.
type Rule struct {
	Handle  uint64 // of nf_tables; 0 with iptables-legacy, where Number tells rules apart
	Number  int    // its place in its chain, from 1
	Text    string // as its user would write it: iptables-save's or nft's words, without the counter
	Comment string
	Counter *Counter // nil without one
	Stmts   []Stmt   // in order; a condition that fails ends the rule
}

// Verdict is what became of a packet at a hook or on its whole way.
type Verdict uint8

// The verdicts. The zero value is Unknown.
const (
	Unknown Verdict = iota // depends on something that is not known
	Accept                 // goes on
	Drop                   // is dropped without a word
	Reject                 // is dropped, its sender is told
	Queue                  // is handed to a program (NFQUEUE, TPROXY)
)

// String is the verdict in lower case.
func (v Verdict) String() string {
	names := [...]string{"unknown", "accept", "drop", "reject", "queue"}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// SetKey names a set of nf_tables.
type SetKey struct{ Family, Table, Name string }

// NFSet is a set, a map or a verdict map of nf_tables.
type NFSet struct {
	Name      string
	Anonymous bool  // written into its only rule
	Interval  bool  // elements are ranges
	Map       bool  // elements carry Data or a Jump
	Dynamic   bool  // rules add to it while packets pass: what was read ages
	KeyLen    int   // bytes
	DataLen   int   // bytes, of a map that is none of verdicts
	Fields    []int // lengths in bytes of a concatenated key's parts, without padding; nil otherwise
	Elems     []Element
	CatchAll  *Element // "*": what holds for all that is in no other element
}

// Element is an element of a set of nf_tables. Key and End are as the kernel
// compares them, End inclusive; they are the same without intervals.
type Element struct {
	Key, End []byte
	Data     []byte // of a map
	Jump     *Go    // of a verdict map
}

// IPSet is a set of ipset(8).
type IPSet struct {
	Name    string
	Type    string // hash:net, hash:ip,port, ...
	Family  string // ip or ip6
	Entries []IPSetEntry
}

// IPSetEntry is an element of an IPSet; fields that its type lacks are zero.
type IPSetEntry struct {
	Net, Net2 netip.Prefix
	Proto     uint8
	Port      uint16
	Iface     string
	MAC       [6]byte
	Mark      uint32
	NoMatch   bool // an exception: what it covers is not in the set
}
