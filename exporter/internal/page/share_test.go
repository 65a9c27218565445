// SPDX-License-Identifier: Apache-2.0

package page

import (
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// With little traffic null hops take more than stamps do: a hop that comes out
// below 0 is none, and shares are of what the others took.
func TestSharesOfHopsBelowNull(t *testing.T) {
	hop := func(name string, ns uint64) tracer.Hop {
		l := tracer.Latency{Null: tracer.Null{Count: 100, MeanNs: 300, MedianNs: 300, SpreadNs: 10}, Hist: histogram.Histogram{}}
		l.Hist.AddN(ns, 10)
		return tracer.Hop{Name: name, Latency: l}
	}
	path := tracer.Path{Hops: []tracer.Hop{hop("netfilter/output", 150), hop("null", 300), hop("qdisc", 350), hop("netfilter/postrouting", 450)}}
	path.Latency = tracer.Latency{Null: tracer.Null{Count: 300, MeanNs: 900, MedianNs: 900, SpreadNs: 10}, Hist: histogram.Histogram{}}
	path.Latency.Hist.AddN(950, 10)
	var got []string
	for _, r := range (Options{}).rows(path) {
		got = append(got, strings.TrimSpace(r.cells[0])+" "+strings.TrimSpace(r.cells[8]))
		if r.bar < 0 || r.bar > 1 {
			t.Errorf("%s: a bar of %v of the longest", r.cells[0], r.bar)
		}
	}
	want := "netfilter/output ~0, qdisc 25%, netfilter/postrouting 75%, whole path"
	if all := strings.TrimSpace(strings.Join(got, ", ")); all != want {
		t.Errorf("%s, want %s", all, want)
	}
}
