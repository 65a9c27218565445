// SPDX-License-Identifier: Apache-2.0

// Package change tells what changed between two moments of a wiring.
//
//	wiring.Facts ─> Moment ─┐
//	wiring.Facts ─> Moment ─┴─ Between (pure) ─> []Change
//
// What packets themselves change (counters, forwarding tables, sets that rules
// fill) is none.
package change

import (
	"fmt"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// What a change does.
const (
	Begins  = "begins"  // the first one of a watch: what there is
	Added   = "added"   // was not there
	Removed = "removed" // is no longer there
	Changed = "changed" // another value of a field
)

// Change is one thing that is otherwise than before. Its contract is
// docs/topology-change-schema.json, which a test makes from the struct here.
type Change struct {
	Time   string       `json:"time" doc:"when it was noticed, RFC 3339; some milliseconds after it happened"`
	Does   string       `json:"does" doc:"begins for the first line, which says what there is" enum:"begins,added,removed,changed"`
	Kind   string       `json:"kind" doc:"of thing" enum:"watch,host,uplink,device,bridge,port,network,container,interface,address,published,listener,proxy,chain,rule,set,note"`
	Place  string       `json:"place" doc:"host, or the name of a target: whose namespace it is in"`
	Name   string       `json:"name" doc:"of the thing"`
	Field  string       `json:"field" doc:"of the thing, where one changed; empty otherwise"`
	Before string       `json:"before" doc:"the field's value; empty otherwise"`
	After  string       `json:"after" doc:"the field's value; empty otherwise"`
	Text   string       `json:"text" doc:"the thing, or the change, in words"`
	Rule   *wiring.Rule `json:"rule" doc:"of kind rule; null otherwise"`
}

// Moment is what is compared.
type Moment struct {
	Document wiring.Document
	Chains   []wiring.Chain
	Sets     []wiring.NamedSet
}

// At makes the moment of facts.
func At(f *wiring.Facts, version string) Moment {
	return Moment{Document: f.Document(version), Chains: f.Chains(), Sets: f.Sets()}
}

// Between lists the changes from one moment to another: the host's devices
// first, then targets, then rules. Their Time is empty.
func Between(old, now Moment) []Change {
	d := &differ{}
	d.host(old.Document.Host, now.Document.Host)
	d.devices(old.Document, now.Document)
	d.targets(old.Document.Targets, now.Document.Targets)
	d.proxies(old.Document.Proxies, now.Document.Proxies)
	d.chains(old.Chains, now.Chains)
	d.sets(old.Sets, now.Sets)
	d.notes(old.Document.Notes, now.Document.Notes)
	return d.list
}

// Start is the first change of a watch: what there is.
func Start(m Moment) Change {
	rules := 0
	for _, c := range m.Chains {
		rules += len(c.Rules)
	}
	ports := 0
	for _, b := range m.Document.Bridges {
		ports += len(b.Ports)
	}
	return Change{Does: Begins, Kind: "watch", Place: host, Name: host, Text: fmt.Sprintf(
		"net:[%d]  %s, %s, %s with %s, %s in %s", m.Document.Host.Netns, plural(len(m.Document.Targets), "target"), plural(len(m.Document.Uplinks), "uplink"),
		plural(len(m.Document.Bridges), "bridge"), plural(ports, "port"), plural(rules, "rule"), plural(len(m.Chains), "chain"))}
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

const host = "host" // the place

// differ gathers changes.
type differ struct{ list []Change }

func (d *differ) add(does, kind, place, name, text string) {
	d.list = append(d.list, Change{Does: does, Kind: kind, Place: place, Name: name, Text: text})
}

// field adds a change of a value, if it is one.
func (d *differ) field(kind, place, name, field, before, after string) {
	if before == after {
		return
	}
	d.list = append(d.list, Change{
		Does: Changed, Kind: kind, Place: place, Name: name, Field: field, Before: before, After: after,
		Text: fmt.Sprintf("%s %s -> %s", field, none(before), none(after)),
	})
}

// flag is field for a switch.
func (d *differ) flag(kind, place, name, field string, before, after bool) {
	d.field(kind, place, name, field, onOff(before), onOff(after))
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// pair compares two lists by a key: what is gone first, then what is new and
// what is in both, as the new list has them.
func pair[T any](old, now []T, key func(T) string, gone, came func(T), both func(before, after T)) {
	before, after := map[string]T{}, map[string]bool{}
	for _, x := range old {
		before[key(x)] = x
	}
	for _, x := range now {
		after[key(x)] = true
	}
	for _, x := range old {
		if !after[key(x)] {
			gone(x)
		}
	}
	for _, x := range now {
		if was, ok := before[key(x)]; ok {
			both(was, x)
		} else {
			came(x)
		}
	}
}

// values compares two lists of strings.
func (d *differ) values(kind, place, name string, old, now []string) {
	for _, s := range old {
		if !slices.Contains(now, s) {
			d.add(Removed, kind, place, s, name)
		}
	}
	for _, s := range now {
		if !slices.Contains(old, s) {
			d.add(Added, kind, place, s, name)
		}
	}
}

func (d *differ) notes(old, now []string) { d.values("note", host, "", old, now) }
