// SPDX-License-Identifier: Apache-2.0

// Package matrix is the plan of the injection matrix: where packets are made to
// wait, which hop must show it, what is measured for `make test`, and how what
// was measured is judged. It is pure.
package matrix

import (
	"fmt"
	"slices"
	"time"
)

// Block is what is measured in one go: packets of one kind wait at one place,
// by each of some delays in turn.
type Block struct {
	Detail   string `json:"detail"` // devices, hooks, tables
	Mode     string `json:"mode"`   // bridge, host
	Place    string `json:"place"`
	Family   string `json:"family"`   // ipv4, ipv6
	Protocol string `json:"protocol"` // tcp, udp
}

// String names the block, for messages.
func (b Block) String() string {
	return fmt.Sprintf("%s/%s/%s/%s/%s", b.Detail, b.Mode, b.Place, b.Family, b.Protocol)
}

// Cell is one delay of a block. It is judged in each direction that passes its place.
type Cell struct {
	Block
	Delay time.Duration
}

// Delays are those that are injected.
func Delays() []time.Duration {
	return []time.Duration{
		time.Microsecond, 5 * time.Microsecond, 20 * time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond,
	}
}

// Directions of a path.
func Directions() []string { return []string{"ingress", "egress"} }

func details() []string   { return []string{"devices", "hooks", "tables"} }
func modes() []string     { return []string{"bridge", "host"} }
func families() []string  { return []string{"ipv4", "ipv6"} }
func protocols() []string { return []string{"tcp", "udp"} }

// Blocks is the whole matrix, what shares a tracer side by side.
func Blocks() []Block {
	var all []Block
	for _, detail := range details() {
		for _, mode := range modes() {
			for _, place := range PlacesOf(mode) {
				for _, family := range families() {
					for _, protocol := range protocols() {
						all = append(all, Block{detail, mode, place, family, protocol})
					}
				}
			}
		}
	}
	return all
}

// Directions are those whose packets pass the block's place.
func (b Block) Directions() []string {
	var through []string
	for _, direction := range Directions() {
		if slices.Contains(route(b.Mode, direction), place(b.Place)) {
			through = append(through, direction)
		}
	}
	return through
}

// Ends are the hooks that a hop lies between, by their names.
type Ends struct{ From, To string }

// UnknownHookError says that a path has a hook that the plan does not know of.
type UnknownHookError struct{ Mode, Direction, Hook string }

// Error says which.
func (e *UnknownHookError) Error() string {
	return fmt.Sprintf("plan of %s, %s: no hook %s where it should be", e.Mode, e.Direction, e.Hook)
}

// Hop returns the number of the one hop of a path that a packet is in while it
// waits at the block's place; -1 where the path begins behind it or ends before
// it, as at detail devices. A path without gaps has every place between its ends.
func (b Block) Hop(direction string, path []Ends) (int, error) {
	stations := route(b.Mode, direction)
	at := slices.Index(stations, place(b.Place))
	last, hop := -1, -1
	for i, ends := range path {
		from, to := slices.Index(stations, ends.From), slices.Index(stations, ends.To)
		switch {
		case from < 0 || i > 0 && from != last:
			return -1, &UnknownHookError{b.Mode, direction, ends.From}
		case to <= from:
			return -1, &UnknownHookError{b.Mode, direction, ends.To}
		}
		if last = to; at > from && at < to {
			hop = i
		}
	}
	return hop, nil
}
