// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/tracer"
)

// accounting has what became of every journey that was started.
func accounting(sides []*side) table {
	t := table{head: []string{"", "Direction", "Started", "Cloned", "Completed", "Dropped", "Merged", "Evicted", "Expired", "Cut", "In flight", "Unaccounted"}, left: 2}
	for _, s := range sides {
		if s.target == nil {
			continue
		}
		for d, a := range s.target.Accounting {
			direction := tracer.Direction(d).String()
			cells := []template.HTML{text(s.name), text(direction)}
			at := s.at + "/targets/0/accounting/" + direction + "/"
			for _, f := range []struct {
				n   uint64
				key string
			}{
				{a.Started, "started"},
				{a.Cloned, "cloned"},
				{a.Completed, "completed"},
				{a.Dropped, "dropped"},
				{a.Merged, "merged"},
				{a.Evicted, "evicted"},
				{a.Expired, "expired"},
				{a.Cut, "cut"},
				{a.InFlight, "in_flight"},
			} {
				cells = append(cells, count(f.n, at+f.key))
			}
			t.add(append(cells, text(strconv.FormatInt(a.Balance(), 10)))...)
		}
	}
	return t
}

// losses has what was dropped, and what was not traced, and why.
func losses(sides []*side) table {
	t := table{head: []string{"", "Direction", "What", "Where", "Why", "Packets"}, left: 5}
	for _, s := range sides {
		if s.target == nil {
			continue
		}
		for i, d := range s.target.Drops {
			t.add(text(s.name), text(d.Direction.String()), "dropped", text(d.Hop), text(d.Reason),
				count(d.Count, fmt.Sprintf("%s/targets/0/drops/%d/count", s.at, i)))
			for j, r := range d.Rules {
				by := "rule unknown"
				if r.Rule != nil {
					by = r.Rule.String()
				}
				t.add(text(s.name), text(d.Direction.String()), "of these", text(d.Hop), text(by),
					count(r.Count, fmt.Sprintf("%s/targets/0/drops/%d/rules/%d/count", s.at, i, j)))
			}
		}
		for d, skipped := range s.target.Skipped {
			direction := tracer.Direction(d).String()
			for i, k := range skipped {
				t.add(text(s.name), text(direction), "not traced", "", text(k.Reason),
					count(k.Count, fmt.Sprintf("%s/targets/0/skipped/%s/%d/count", s.at, direction, i)))
			}
		}
	}
	return t
}

// cost has what measuring took.
func cost(sides []*side) table {
	t := table{head: []string{"", "A stamp costs", "Stamps", "Of one CPU", "Journeys not recorded", "Without a path", "Missed by recursion"}, left: 2}
	for _, s := range sides {
		o, at := s.snapshot.Observer, s.at+"/observer"
		var stamps []template.HTML
		for _, kind := range slices.Sorted(maps.Keys(o.StampNs)) {
			stamps = append(stamps, text(kind+" ")+nanos(o.StampNs[kind], at+"/stamp_ns/"+kind))
		}
		t.add(text(s.name), joined(stamps), count(o.Stamps, at+"/stamps"), data(page.Percent(o.CPUShare), o.CPUShare, at+"/cpu_share"),
			count(o.RingLost, at+"/ring_lost"), count(o.Unpathed, at+"/unpathed"), count(o.RecursionMisses, at+"/recursion_misses"))
		if words := budgeted(o); words != "" {
			t.add(text(s.name), text(words), "", "", "", "", "")
		}
	}
	return t
}

// budgeted says what tracing was allowed, and what it was measured to add.
func budgeted(o tracer.Observer) string {
	var parts []string
	if b := o.Budget; b != nil {
		parts = append(parts, fmt.Sprintf("budget of %s of one CPU, attached %d times (%s)", page.Percent(b.MaxShare), b.Windows, b.State))
	}
	if c := o.SelfCheck; c != nil {
		measured := fmt.Sprintf("processor time per packet ×%.3f [%.3f, %.3f]", c.CPU.Value, c.CPU.Low, c.CPU.High)
		parts = append(parts, "self-check: "+cmp.Or(c.Unreliable, measured))
	}
	return strings.Join(parts, "; ")
}

func joined(parts []template.HTML) template.HTML {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(p))
	}
	return template.HTML(b.String())
}

// sentence says in one line what an environment is.
func sentence(e *environment.Environment) string {
	kind := ""
	if e.CPU.Virtual {
		kind = ", virtual"
	}
	parts := []string{
		"Linux " + e.Kernel.Release + " " + e.Kernel.Arch,
		fmt.Sprintf("%d × %s%s", e.CPU.Count, e.CPU.Model, kind),
		"governor " + cmp.Or(e.CPU.Governor, "none"),
		"clock " + e.CPU.ClockSource,
		fmt.Sprintf("%s, %d rules", e.Netfilter.Backend, e.Netfilter.Rules),
	}
	if e.Docker != nil {
		parts = append(parts, "Docker "+e.Docker.Version)
	}
	return page.Escape(strings.Join(append(parts, "vethtrace "+e.Tool), "; "))
}

// environmentTable has every key of environments, one column each.
func environmentTable(all []surroundings) (table, error) {
	t := table{head: []string{"Key"}, left: 1 + len(all)}
	values := make([]map[string]string, len(all))
	keys := map[string]bool{}
	for i, s := range all {
		t.head = append(t.head, cmp.Or(page.Escape(s.name), "Value"))
		var err error
		if values[i], err = flat(s.env); err != nil {
			return t, err
		}
		for k := range values[i] {
			keys[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		cells := []template.HTML{text(k)}
		for _, v := range values {
			cells = append(cells, text(v[k]))
		}
		t.add(cells...)
	}
	return t, nil
}

// flat is an environment as keys with dots, and their values.
func flat(e *environment.Environment) (map[string]string, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	out := map[string]string{}
	flatten("", tree, out)
	return out, nil
}

func flatten(at string, v any, out map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			flatten(strings.TrimPrefix(at+"."+key, "."), value, out)
		}
	case []any:
		words := make([]string, 0, len(v))
		for i, value := range v {
			if device, ok := value.(map[string]any); ok {
				flatten(at+"."+fmt.Sprint(cmp.Or(device["name"], any(i))), value, out)
				continue
			}
			words = append(words, fmt.Sprint(value))
		}
		if len(words) > 0 {
			out[at] = strings.Join(words, " ")
		}
	case nil:
	default:
		if s := fmt.Sprint(v); s != "" {
			out[at] = s
		}
	}
}
