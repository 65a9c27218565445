// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// pairOf is two hops that stand in one row; nil is an empty cell.
type pairOf struct {
	of, against *tracer.Hop
}

// align puts two lists of hops beside each other, in the order of both, so that
// as many hops as possible stand beside their like.
func align(of, against []tracer.Hop) []pairOf {
	// best[i][j] is the most that of[i:] and against[j:] can have in common.
	best := make([][]int, len(of)+1)
	for i := range best {
		best[i] = make([]int, len(against)+1)
	}
	for i := len(of) - 1; i >= 0; i-- {
		for j := len(against) - 1; j >= 0; j-- {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if like := likeness(of[i], against[j]); like > 0 {
				best[i][j] = max(best[i][j], best[i+1][j+1]+like)
			}
		}
	}
	var rows []pairOf
	i, j := 0, 0
	for i < len(of) || j < len(against) {
		switch {
		case i < len(of) && j < len(against) && likeness(of[i], against[j]) > 0 &&
			best[i][j] == best[i+1][j+1]+likeness(of[i], against[j]):
			rows = append(rows, pairOf{&of[i], &against[j]})
			i, j = i+1, j+1
		case j == len(against) || i < len(of) && best[i][j] == best[i+1][j]:
			rows = append(rows, pairOf{of: &of[i]})
			i++
		default:
			rows = append(rows, pairOf{against: &against[j]})
			j++
		}
	}
	return rows
}

// likeness says how much two hops are the same: a hop of the target's own
// namespace is that of the host where the target has no namespace of its own;
// one that is divided by tables is like the first piece of it.
func likeness(a, b tracer.Hop) int {
	switch {
	case a.Name == b.Name && a.Side == b.Side:
		return 4
	case a.Name == b.Name:
		return 3
	case strings.HasPrefix(a.Name, b.Name+"/") || strings.HasPrefix(b.Name, a.Name+"/"):
		return 1
	}
	return 0
}

// The layers that are not simply a hop's name.
const (
	LayerContainer = "container" // the target's own stack, where its socket is
	LayerSocket    = "socket"    // from the end of LOCAL_IN to data ready
	LayerSoftirq   = "softirq"   // waiting for the softirq that receives
	LayerDevice    = "device"    // of the uplink, and of devices upon devices
)

// layer is what a row is a part of. ofHost and againstHost tell which side has
// no namespace of its own: its transport layer is the host's.
func layer(p pairOf, ofHost, againstHost bool) string {
	name, own := "", false
	for _, cell := range []struct {
		hop      *tracer.Hop
		hostMode bool
	}{{p.of, ofHost}, {p.against, againstHost}} {
		if cell.hop == nil {
			continue
		}
		name = cell.hop.Name
		end := strings.HasPrefix(name, "netfilter/input") || strings.HasPrefix(name, "netfilter/output")
		own = own || cell.hop.Side == tracer.SideTarget || cell.hostMode && end
	}
	switch name {
	case "softirq", "gro":
		return LayerSoftirq
	case "veth", "bridge", "loopback":
		return name
	}
	if own {
		return LayerContainer
	}
	switch name {
	case "uplink", "qdisc", "device", "ip":
		return LayerDevice
	}
	return name
}
