// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// NotFoundError tells that no target has that name or id.
type NotFoundError struct {
	Name string
	Near []string // similar names, nearest first
}

// Error says which names come near.
func (e *NotFoundError) Error() string {
	if len(e.Near) == 0 {
		return fmt.Sprintf("no target %q", e.Name)
	}
	return fmt.Sprintf("no target %q: did you mean %s?", e.Name, strings.Join(e.Near, ", "))
}

// NotRunningError tells that a container exists but has no process.
type NotRunningError struct {
	Name  string
	State string // exited, created, ...
}

// Error says what to do.
func (e *NotRunningError) Error() string {
	return fmt.Sprintf("container %s is not running (%s): start it first", e.Name, e.State)
}

// AmbiguousError tells that an id prefix fits several containers.
type AmbiguousError struct {
	Prefix  string
	Matches []string // NAME (ID, 12 digits)
}

// Error lists what the prefix fits.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q fits several containers: %s: give more digits or a name", e.Prefix, strings.Join(e.Matches, ", "))
}

// EngineError tells that an engine could not be asked.
type EngineError struct {
	Host string // as connected to: unix:///var/run/docker.sock
	Err  error
}

// Error says what to do.
func (e *EngineError) Error() string {
	return fmt.Sprintf("ask the engine at %s: %v: start it, name another with --docker-host, or trace without one by --pid or --netns", e.Host, e.Err)
}

// Unwrap returns the cause.
func (e *EngineError) Unwrap() error { return e.Err }

// HiddenError tells that a container's process can't be seen from here.
type HiddenError struct {
	Name string
	PID  int // as the engine says
	Err  error
}

// Error says what to do.
func (e *HiddenError) Error() string {
	return fmt.Sprintf("process %d of container %s is not visible here: %v: run vethtrace on the engine's machine, in its PID namespace (--pid=host)", e.PID, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *HiddenError) Unwrap() error { return e.Err }

// maxNear bounds how many similar names an error tells.
const maxNear = 5

// near returns the names similar to one, nearest first: those that contain it
// or are contained, and those a few typing errors away.
func near(name string, candidates []string) []string {
	type scored struct {
		name  string
		score int
	}
	var found []scored
	low := strings.ToLower(name)
	for _, c := range candidates {
		lc := strings.ToLower(c)
		distance := editDistance(low, lc)
		switch {
		case distance <= max(1, min(len(low), len(lc))/3):
			found = append(found, scored{c, distance})
		case len(low) >= 2 && len(lc) >= 2 && (strings.Contains(lc, low) || strings.Contains(low, lc)):
			found = append(found, scored{c, 100 + distance})
		}
	}
	slices.SortFunc(found, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, f := range found[:min(len(found), maxNear)] {
		names = append(names, f.name)
	}
	return slices.Compact(names)
}

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbor to make b of a.
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
