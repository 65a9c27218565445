// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/accuracy/report"
	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/tracer"
)

const (
	flatRounds  = 13
	flatWindows = 3 // of a tracer, one after the other
	// flatQuick is the quantile of the rounds that is taken: what else runs on the core makes hops longer, never shorter.
	flatQuick = 0.25
)

// extras are how many more null stamps lie beside those of every run.
func extras() []int { return []int{0, 1, 2, 4, 8} }

// beside are hops that null stamps lie in, by what kind of hook those are at.
func beside() []report.Flat {
	return []report.Flat{
		{Type: "netfilter", Hop: "egress netfilter/output"},
		{Type: "tcx", Hop: "egress veth"},
		{Type: "tracepoint", Hop: "egress softirq"},
		{Type: "tracepoint", Hop: "ingress softirq"},
	}
}

// medians are a hop's as measured and its zero line's, in ns.
type medians struct{ raw, null float64 }

// flatness measures the same hops with more and more null stamps beside them.
// Each number has a tracer of its own; they take turns in random order.
//
// The zero line is that of the tracers without more of them, in which each null
// hop lies behind a stamp, as in every run. One that lies behind another null
// hop is shorter, and no measure of what a stamp costs.
func (w *world) flatness(ctx context.Context, seed uint64) ([]report.Flat, error) {
	random := rand.New(rand.NewPCG(seed, 3))
	seen := map[string]map[int][]medians{}
	for range flatRounds {
		for _, i := range random.Perm(len(extras())) {
			extra := extras()[i]
			hops, err := w.flat(ctx, extra)
			if err != nil {
				return nil, fmt.Errorf("%d more null stamps: %w", extra, err)
			}
			for hop, m := range hops {
				if seen[hop] == nil {
					seen[hop] = map[int][]medians{}
				}
				seen[hop][extra] = append(seen[hop][extra], m)
			}
		}
	}
	all := beside()
	for i := range all {
		f := &all[i]
		for _, extra := range extras() {
			values := seen[f.Hop][extra]
			if len(values) != flatRounds || len(seen[f.Hop][0]) != flatRounds {
				return nil, fmt.Errorf("%s was measured %d times with %d more null stamps", f.Hop, len(values), extra)
			}
			var raw, null []float64
			for round, m := range values {
				raw, null = append(raw, m.raw), append(null, seen[f.Hop][0][round].null)
			}
			quick := stats.Quantile(raw, flatQuick)
			f.Extra = append(f.Extra, extra)
			f.Ns, f.Raw = append(f.Ns, round1(quick-stats.Quantile(null, flatQuick))), append(f.Raw, round1(quick))
			f.Spread = max(f.Spread, round1((stats.Quantile(raw, 0.75)-quick)/2))
		}
	}
	return all, nil
}

// flat traces for a few windows and returns the medians of all hops, by direction and name.
func (w *world) flat(ctx context.Context, extra int) (hops map[string]medians, err error) {
	cfg := tracer.Config{Host: w.lab.Host.NS, Detail: tracer.DetailHooks, ExtraNulls: extra, KeepWindows: true}
	t, err := tracer.Open(ctx, cfg, w.targets()[:1]...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	b := matrix.Block{Mode: "bridge", Family: "ipv4", Protocol: "udp"}
	if _, err := w.game.Play(w.number[wayOf(b)], flatWindows, windowLength); err != nil {
		return nil, err
	}
	snapshot, err := t.Snapshot()
	if err != nil {
		return nil, err
	}
	hops = map[string]medians{}
	for _, direction := range matrix.Directions() {
		path, err := busiest(snapshot, b, direction)
		if err != nil {
			return nil, err
		}
		for _, hop := range path.Hops {
			hops[direction+" "+hop.Name] = medians{matrix.Median(&hop.Latency.Hist), hop.Latency.Null.MedianNs}
		}
	}
	return hops, nil
}

func round1(ns float64) float64 { return float64(int64(ns*10+0.5)) / 10 }
