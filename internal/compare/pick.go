// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"cmp"
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// class is what makes packets of two targets comparable.
type class struct {
	family, protocol, flow string
	peer                   string // "" where those of the two sides differ
}

// String names it as the report does: ipv4, tcp, uplink, established.
func (c class) String() string {
	return strings.Join([]string{c.family, c.protocol, cmp.Or(c.peer, "peers differ"), c.flow}, ", ")
}

// ways are the paths of one target that are compared; nil for none.
type ways [2]*tracer.Path

// busiest returns, per direction, the path of that class that most packets took.
func busiest(t tracer.Target, c class) (w ways) {
	for i := range t.Paths {
		p := &t.Paths[i]
		if p.Family != c.family || p.Protocol != c.protocol || p.Flow != c.flow || c.peer != "" && p.Peer != c.peer {
			continue
		}
		if best := w[p.Direction]; p.Packets > 0 && (best == nil || p.Packets > best.Packets) {
			w[p.Direction] = p
		}
	}
	return w
}

// packets is how much of a class two targets have in common: the fewest packets
// of any direction that either has.
func (w ways) packets() uint64 {
	least := uint64(0)
	for _, p := range w {
		if p == nil {
			continue
		}
		if least == 0 || p.Packets < least {
			least = p.Packets
		}
	}
	return least
}

// pick chooses the class whose packets both targets have most of: with the same
// peer if there is one, of established flows if there are any.
func pick(of, against tracer.Target) (class, ways, ways) {
	var best class
	var bestOf, bestAgainst ways
	score := func(c class, a, b ways) [4]uint64 {
		full := uint64(0)
		for d := range a {
			if a[d] != nil && b[d] != nil {
				full++
			}
		}
		return [4]uint64{full, flag(c.flow == "established"), flag(c.peer != ""), min(a.packets(), b.packets())}
	}
	var most [4]uint64
	for _, p := range of.Paths {
		for _, peer := range []string{p.Peer, ""} {
			c := class{p.Family, p.Protocol, p.Flow, peer}
			a, b := busiest(of, c), busiest(against, c)
			if s := score(c, a, b); s[0] > 0 && less(most, s) {
				most, best, bestOf, bestAgainst = s, c, a, b
			}
		}
	}
	return best, bestOf, bestAgainst
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func less(a, b [4]uint64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
