// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// Chain is a chain of the host's rules, with all of them.
type Chain struct {
	Backend  string
	Family   string // ip, ip6, inet, bridge, arp, netdev
	Table    string
	Name     string
	Hook     string // of a base chain; "" for one that only others jump to
	Priority int
	Policy   string // of a base chain: accept or drop
	Rules    []Rule
}

// NamedSet is a set that rules ask: of nf_tables, or of ipset(8).
type NamedSet struct {
	Family, Table string // of nf_tables; empty for ipset(8)
	Name          string
	Elements      int
	Content       string // a hash: other elements have another one
}

// Chains are the host's chains, nil where the rules were not read.
func (f *Facts) Chains() []Chain {
	if f.Host.Rules == nil {
		return nil
	}
	var list []Chain
	for _, c := range f.Host.Rules.Chains {
		chain := Chain{Backend: string(c.Backend), Family: c.Family, Table: c.Table, Name: c.Name}
		if c.Base != nil {
			chain.Hook, chain.Priority, chain.Policy = c.Base.Hook, c.Base.Priority, c.Base.Policy.String()
		}
		for _, r := range c.Rules {
			chain.Rules = append(chain.Rules, *ruleOf(c, r))
		}
		list = append(list, chain)
	}
	return list
}

// Sets are the sets that somebody fills, by name: none that is written into a
// rule, and none that packets themselves add to.
func (f *Facts) Sets() []NamedSet {
	if f.Host.Rules == nil {
		return nil
	}
	var list []NamedSet
	for key, s := range f.Host.Rules.Sets {
		if s.Anonymous || s.Dynamic {
			continue
		}
		list = append(list, NamedSet{Family: key.Family, Table: key.Table, Name: key.Name, Elements: len(s.Elems), Content: content(s)})
	}
	for name, s := range f.Host.Rules.IPSets {
		list = append(list, NamedSet{Name: name, Elements: len(s.Entries), Content: digest(s.Entries)})
	}
	slices.SortFunc(list, func(a, b NamedSet) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// content is a hash of a set's elements. Pointers are followed: their values
// differ from one reading to the next.
func content(s *rules.NFSet) string {
	var all []any
	add := func(e rules.Element) {
		all = append(all, e.Key, e.End, e.Data)
		if e.Jump != nil {
			all = append(all, *e.Jump)
		}
	}
	for _, e := range s.Elems {
		add(e)
	}
	if s.CatchAll != nil {
		add(*s.CatchAll)
	}
	return digest(all)
}

func digest(v any) string {
	h := fnv.New128a()
	fmt.Fprint(h, v)
	return hex.EncodeToString(h.Sum(nil))
}
