// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"slices"
	"strings"
)

// Outside is a place on no path of the host: the client's own device. Packets
// that wait there must move no hop.
const Outside = "client egress"

// place is how a place stands in a route.
func place(name string) string { return "@" + name }

// route is a packet's way in the lab's world, by what the kernel's sources say
// and not by the tracer: hooks by their names, and between them the places,
// marked by @, where packets can be made to wait.
func route(mode, direction string) []string {
	switch mode + " " + direction {
	case "bridge ingress":
		return slices.Concat(arriving(), []string{
			"host/forward/first", "@forward", "host/forward/last",
			"@postrouting nat", "host/postrouting/last", "@bridge egress, before",
			"bridge/egress", "@bridge egress", "port/egress", "@port egress", "netif_rx", "@device ingress, before",
			"device/ingress", "@device ingress", "@target prerouting", "@target input", "target/input/last",
		})
	case "bridge egress":
		return slices.Concat([]string{
			"target/output/first", "@target output", "@target postrouting",
			"device/egress", "@device egress", "netif_rx", "@port ingress, before", "port/ingress", "@port ingress",
		}, prerouting(), []string{
			"bridge/ingress", "@bridge ingress", "host/forward/first", "@forward", "host/forward/last",
		}, leaving())
	case "host ingress":
		return slices.Concat(arriving(), []string{"host/input/first", "@input nat", "host/input/last"})
	case "host egress":
		return slices.Concat([]string{
			"host/output/first", "@output defrag", "host/output/1", "@output conntrack",
			"host/output/2", "@output nat", "host/output/last",
		}, leaving())
	}
	return nil
}

func arriving() []string {
	return slices.Concat([]string{"uplink/ingress", "@uplink ingress"}, prerouting())
}

func prerouting() []string {
	return []string{
		"host/prerouting/first", "@prerouting defrag", "host/prerouting/1", "@prerouting conntrack",
		"host/prerouting/2", "@prerouting nat", "host/prerouting/last", "@prerouting, behind",
	}
}

func leaving() []string {
	return []string{
		"@postrouting nat", "host/postrouting/last", "@uplink egress, before",
		"uplink/egress", "@uplink egress", "net_dev_start_xmit",
	}
}

// PlacesOf are the places on a mode's paths, in the order of a request and its
// answer, behind Outside.
func PlacesOf(mode string) []string {
	all := []string{Outside}
	for _, direction := range Directions() {
		for _, station := range route(mode, direction) {
			if name, ok := strings.CutPrefix(station, "@"); ok && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}
