// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/tracer"
)

// compareModes says in one line what bridge mode adds over host mode: the
// difference of the medians of established flows with the uplink.
func compareModes(w io.Writer, s tracer.Snapshot, raw bool) error {
	if len(s.Targets) != 2 {
		return nil
	}
	bridge, host := s.Targets[0], s.Targets[1]
	line := ""
	for _, direction := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
		a, okA := median(bridge, direction, raw)
		b, okB := median(host, direction, raw)
		if !okA || !okB {
			return nil // the sentences say what is missing
		}
		if line != "" {
			line += "; "
		}
		word := map[tracer.Direction]string{tracer.Ingress: "in", tracer.Egress: "out"}[direction]
		line += fmt.Sprintf("%s %s against %s (%s)", word, text.Duration(a), text.Duration(b), difference(a-b))
	}
	_, err := fmt.Fprintf(w, "\nbridge mode against host mode, median: %s\n", line)
	return err
}

func difference(ns float64) string {
	if ns < 0 {
		return "-" + text.Duration(-ns)
	}
	return "+" + text.Duration(ns)
}

// median of a target's established flows with the uplink, in ns.
func median(t tracer.Target, d tracer.Direction, raw bool) (float64, bool) {
	var all tracer.Latency
	for _, p := range t.Paths {
		if p.Direction == d && p.Peer == "uplink" && p.Flow == "established" {
			if p.Latency.Hist.Count() > all.Null.Count {
				all.Null = p.Latency.Null
			}
			all.Hist.Merge(&p.Latency.Hist)
		}
	}
	summary := all.Corrected()
	if raw {
		summary = all.Raw()
	}
	if summary.P50Ns == nil {
		return 0, false
	}
	return *summary.P50Ns, true
}
