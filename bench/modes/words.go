// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/internal/refbench"
)

// What the page says of its table follows from the figures in it: a sentence that
// another run would not bear out is not there.

// words are the items below the table.
func words(all []measurement) string {
	var items []string
	for _, say := range []func([]measurement) string{seen, unseen, overseen, containers, proxied, shareless} {
		if text := say(all); text != "" {
			items = append(items, "- "+text+".\n")
		}
	}
	return strings.Join(items, "")
}

// seen are the differences that the hops explain.
func seen(all []measurement) string {
	within := func(m measurement) bool { return m.Share != nil && m.Share.Lo <= 1 && m.Share.Hi >= 1 }
	return about("What the client waits longer is what the hops took longer, to within the interval: ", all, within)
}

// unseen are those of which a part is no hop. docker-proxy has its own sentence.
func unseen(all []measurement) string {
	less := func(m measurement) bool {
		return m.Share != nil && m.Share.Hi < 1 && m.Way != refbench.WayProxy
	}
	return about("The client waits longer than the hops tell: ", all, less)
}

// overseen are those of which the hops have more. Between containers there is a reason.
func overseen(all []measurement) string {
	return about("The hops took longer by more than the client waits longer: ", all, func(m measurement) bool {
		return above(m) && m.Way != refbench.WayContainer
	})
}

func containers(all []measurement) string {
	text := about("Between two containers the share is above 100% (", all, func(m measurement) bool {
		return above(m) && m.Way == refbench.WayContainer
	})
	if text == "" {
		return ""
	}
	return text + "): the hops begin at the other container's\n  veth, whose crossing is a hop there; the crossing of the client's own wire, in host mode, lies before the first stamp"
}

func above(m measurement) bool { return m.Share != nil && m.Share.Lo > 1 }

// proxied says why docker-proxy costs what it costs, where its packets' way is the
// smaller part of it.
func proxied(all []measurement) string {
	const most = 0.5
	var parts []string
	for _, m := range all {
		if m.Way == refbench.WayProxy && m.Share != nil && m.Share.Hi < most {
			parts = append(parts, fmt.Sprintf("%s: %s of %s µs", m.LoadTitle, percent(m.Share.Share), micros(m.Explained.Client.Ns)))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "docker-proxy costs by being woken twice for each direction and copying, not by its packets' way, which the hops see (" +
		strings.Join(parts, "; ") + ").\n  Its own time is that of the request; what it takes to hand the answer back is not seen.\n" +
		"  (This world's proxy is like Docker's, a process with a goroutine per direction, not Docker's own program.)"
}

// shareless says why some have no share.
func shareless(all []measurement) string {
	var reasons []string
	for _, m := range all {
		if m.Share == nil && m.Explained != nil && m.Reason != "" && !slices.Contains(reasons, m.Reason) {
			reasons = append(reasons, m.Reason)
		}
	}
	var parts []string
	for _, reason := range reasons {
		parts = append(parts, about("", all, func(m measurement) bool { return m.Share == nil && m.Reason == reason })+" ("+reason+")")
	}
	if len(parts) == 0 {
		return ""
	}
	return "No share is given: " + strings.Join(parts, "; ")
}

// about names the measurements of which something holds, after what is said; "" of none.
func about(say string, all []measurement, holds func(measurement) bool) string {
	var loads []string
	ways := map[string][]string{}
	for _, m := range all {
		if !holds(m) {
			continue
		}
		if !slices.Contains(loads, m.LoadTitle) {
			loads = append(loads, m.LoadTitle)
		}
		way := wayTitle(m.Way)
		if m.Share != nil {
			way += " " + percent(m.Share.Share)
		}
		ways[m.LoadTitle] = append(ways[m.LoadTitle], way)
	}
	if len(loads) == 0 {
		return ""
	}
	var parts []string
	for _, load := range loads {
		parts = append(parts, load+": "+strings.Join(ways[load], ", "))
	}
	return say + strings.Join(parts, "; ")
}
