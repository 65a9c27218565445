// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// reportIt is what to do where nothing else is known.
const reportIt = "report it, with this output: https://github.com/vethtrace/vethtrace/issues"

// hooks says of each row of the table what it gets.
func (j *judge) hooks() []Hook {
	j.section = SectionHooks
	rows := make([]Hook, 0, len(j.Trial.Hooks))
	for _, t := range j.Trial.Hooks {
		rows = append(rows, hook(t))
	}
	switch {
	case j.Trial.WorldErr != nil:
		j.add("tried", Fail, j.whyNoWorld(), "not at all: %v", j.Trial.WorldErr)
		return rows
	case j.Trial.HooksErr != nil:
		j.add("tried", Fail, todoOf(j.Trial.HooksErr), "not all: %v", j.Trial.HooksErr)
	}
	by, missing, lost := map[string]int{}, 0, 0
	for _, r := range rows {
		if r.Provider == "" {
			missing++
		} else {
			by[r.Provider]++
		}
		if r.State == Fail {
			lost++
		}
	}
	var parts []string
	for _, p := range slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(by[b]-by[a], strings.Compare(a, b)) }) {
		parts = append(parts, fmt.Sprintf("%s %d", p, by[p]))
	}
	what := fmt.Sprintf("%d of %d attached (%s)", len(rows)-missing, len(rows), strings.Join(parts, ", "))
	switch {
	case len(rows) == 0:
	case lost > 0:
		j.add("tried", Fail, "see the hooks below", "%s", what)
	case missing > 0:
		j.add("tried", Warn, "see the hooks below: what they see is left out", "%s", what)
	default:
		j.ok("tried", "%s", what)
	}
	return rows
}

// whyNoWorld says what to do where no world could be made.
func (j *judge) whyNoWorld() string {
	if len(j.Rights.Missing) > 0 || j.Rights.UserNamespace {
		return "see rights: they are needed to make it, too"
	}
	return "it takes network namespaces, veth and bridge: load these modules (modprobe veth bridge); nothing is known of hooks until then"
}

func hook(t tracer.Tryout) Hook {
	h := Hook{Hook: t.Hook, Program: t.Spec.Program, Is: t.Spec.Is, Details: []string{}, Provider: string(t.Provider), Tried: []Attempt{}}
	for _, d := range t.Spec.Details {
		h.Details = append(h.Details, string(d))
	}
	for _, a := range t.Tried {
		attempt := Attempt{Provider: string(a.Provider)}
		if a.Err != nil {
			attempt.Error = why(a.Err)
		}
		h.Tried = append(h.Tried, attempt)
	}
	switch {
	case t.Provider == "":
		h.State, h.Todo = Warn, todoOf(t.Err())
		if needed(t.Spec) {
			h.State = Fail
		}
	case len(t.Tried) > 1:
		h.State = Warn
	default:
		h.State = OK
	}
	return h
}

// needed tells whether the default detail cannot do without a hook: one that is
// attached always, and not in the place of another one.
func needed(h tracer.HookSpec) bool {
	return slices.Contains(h.Details, tracer.DetailHooks) && h.Duty == tracer.DutyAlways && h.By != tracer.ProviderTracepoint
}

// todoOf says what to do about an error of loading or attaching.
func todoOf(err error) string {
	var unsupported *tracer.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		return "needs " + unsupported.Needs
	case err != nil:
		return reportIt
	}
	return ""
}

// run says whether the default detail works.
func (j *judge) run() (works bool) {
	j.section = SectionHooks
	const name = "default detail"
	r := j.Trial.Run
	switch {
	case j.Trial.WorldErr != nil:
		j.add(name, Fail, j.whyNoWorld(), "not tried")
		return false
	case r.Err != nil:
		j.add(name, Fail, todoOf(r.Err), "%s", oneLine(r.Err))
		return false
	}
	var started, completed, lost uint64
	balance := int64(0)
	for _, t := range r.Seen.Targets {
		for _, a := range t.Accounting {
			started, completed = started+a.Started+a.Cloned, completed+a.Completed
			lost += a.Evicted + a.Expired
			balance += a.Balance()
		}
	}
	seen := fmt.Sprintf("%s: %d packets followed in a throw-away world, %d to their end", r.Detail, started, completed)
	switch {
	case silent(r.Seen) != "":
		j.add(name, Fail, reportIt, "%s; no packet of %s was followed to its end", seen, silent(r.Seen))
		return false
	case balance != 0 || lost > 0:
		j.add(name, Warn, reportIt, "%s, %d lost from sight, %d unaccounted", seen, lost, balance)
	default:
		j.ok(name, "%s", seen)
	}
	j.note("time", "attached in %d ms, detached in %d ms", r.Attach.Milliseconds(), r.Detach.Milliseconds())
	return true
}

// silent names a target and a direction of which nothing was seen; "": there is none.
func silent(s tracer.Snapshot) string {
	if len(s.Targets) == 0 {
		return "any target"
	}
	for _, t := range s.Targets {
		for direction, a := range t.Accounting {
			if a.Completed == 0 {
				return fmt.Sprintf("%s (%s)", t.Name, tracer.Direction(direction))
			}
		}
	}
	return ""
}

// why is an error's text; what would be needed is left to todoOf.
func why(err error) string {
	var unsupported *tracer.UnsupportedError
	if errors.As(err, &unsupported) {
		return unsupported.Feature + ": " + oneLine(unsupported.Err)
	}
	return oneLine(err)
}

// oneLine is an error's text without line ends.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
