// SPDX-License-Identifier: Apache-2.0

package change

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

func (d *differ) chains(old, now []wiring.Chain) {
	key := func(c wiring.Chain) string {
		// a chain that hooks in elsewhere is another one
		return fmt.Sprintf("%s %s %s %s %s %d", c.Backend, c.Family, c.Table, c.Name, c.Hook, c.Priority)
	}
	gone := func(c wiring.Chain) { d.add(Removed, "chain", host, chainName(c), chainText(c)) }
	came := func(c wiring.Chain) {
		d.add(Added, "chain", host, chainName(c), chainText(c))
		d.rules(wiring.Chain{}, c)
	}
	pair(old, now, key, gone, came, func(a, b wiring.Chain) {
		d.field("chain", host, chainName(b), "policy", a.Policy, b.Policy)
		d.rules(a, b)
	})
}

func chainName(c wiring.Chain) string { return fmt.Sprintf("%s %s/%s", c.Family, c.Table, c.Name) }

func chainText(c wiring.Chain) string {
	text := plural(len(c.Rules), "rule")
	if c.Hook != "" {
		text = fmt.Sprintf("%s, priority %d, policy %s, %s", c.Hook, c.Priority, c.Policy, text)
	}
	return text + ", " + c.Backend
}

// rules compares the rules of one chain by their text. Rules of the same text
// are counted.
func (d *differ) rules(old, now wiring.Chain) {
	before, after := counted(old.Rules), counted(now.Rules)
	kept := func(list []wiring.Rule, there map[string]int, does string) (common []string) {
		seen := map[string]int{}
		for i := range list {
			r := &list[i]
			if seen[r.Text]++; seen[r.Text] <= there[r.Text] {
				common = append(common, r.Text)
				continue
			}
			d.list = append(d.list, Change{
				Does: does, Kind: "rule", Place: host, Name: fmt.Sprintf("%s %s/%s rule %d", r.Family, r.Table, r.Chain, r.Number), Text: r.Text, Rule: r,
			})
		}
		return common
	}
	was := kept(old.Rules, after, Removed)
	is := kept(now.Rules, before, Added)
	if !slices.Equal(was, is) {
		d.list = append(d.list, Change{Does: Changed, Kind: "chain", Place: host, Name: chainName(now), Field: "order", Text: "its rules are in another order"})
	}
}

func counted(list []wiring.Rule) map[string]int {
	n := map[string]int{}
	for i := range list {
		n[list[i].Text]++
	}
	return n
}

func (d *differ) sets(old, now []wiring.NamedSet) {
	tell := func(does string) func(wiring.NamedSet) {
		return func(s wiring.NamedSet) { d.add(does, "set", host, setName(s), plural(s.Elements, "element")) }
	}
	pair(old, now, setName, tell(Removed), tell(Added), func(a, b wiring.NamedSet) {
		d.field("set", host, setName(b), "elements", strconv.Itoa(a.Elements), strconv.Itoa(b.Elements))
		if a.Elements == b.Elements && a.Content != b.Content {
			d.list = append(d.list, Change{Does: Changed, Kind: "set", Place: host, Name: setName(b), Field: "elements", Text: "has other elements"})
		}
	})
}

func setName(s wiring.NamedSet) string {
	if s.Table == "" {
		return "ipset " + s.Name
	}
	return fmt.Sprintf("%s %s/%s", s.Family, s.Table, s.Name)
}
