// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/result"
)

// stored is what is kept of two benches: their differences, without buckets,
// rounds and hops, and without what names the machine.
type stored struct {
	Date    string        `json:"date"`
	Version string        `json:"version"`
	Kernel  string        `json:"kernel"`
	CPU     string        `json:"cpu"`
	CPUs    int           `json:"cpus"`
	Virtual bool          `json:"virtual"`
	Backend string        `json:"netfilter_backend"`
	Rules   int           `json:"netfilter_rules"`
	Four    []measurement `json:"ipv4"`
	Six     []measurement `json:"ipv6"`
	Others  result.Others `json:"others"`
}

// measurement is a way against host mode, under one load.
type measurement struct {
	Load      string            `json:"load"`
	LoadTitle string            `json:"load_title"`
	Way       string            `json:"way"`
	Rounds    int               `json:"rounds"`
	Explained *result.Explained `json:"explained"`
	Share     *result.Share     `json:"explained_share"`
	Reason    string            `json:"explained_share_reason"`
	Layers    []result.Layer    `json:"layers"`
}

func store(four, six result.Document) stored {
	s := stored{Version: four.Version, Four: measurements(four), Six: measurements(six), Others: worse(four.Bench.Others, six.Bench.Others)}
	if t, err := time.Parse(time.RFC3339Nano, four.Start); err == nil {
		s.Date = t.UTC().Format(time.DateOnly)
	}
	e := four.Environment
	if e == nil {
		e = &environment.Environment{}
	}
	s.Kernel, s.CPU, s.CPUs, s.Virtual = e.Kernel.Release, e.CPU.Model, e.CPU.Count, e.CPU.Virtual
	s.Backend, s.Rules = e.Netfilter.Backend, e.Netfilter.Rules
	return s
}

func measurements(d result.Document) []measurement {
	all := make([]measurement, 0, len(d.Comparisons))
	for _, c := range d.Comparisons {
		m := measurement{Load: c.Load, LoadTitle: c.Load, Way: c.Of, Rounds: c.Rounds[0], Explained: c.Explained, Share: c.ExplainedShare, Reason: c.ExplainedReason, Layers: c.Layers}
		for _, l := range d.Bench.Loads {
			if l.Name == c.Load {
				m.LoadTitle = l.Title
			}
		}
		all = append(all, m)
	}
	return all
}

// worse is the one in which more is to be said.
func worse(a, b result.Others) result.Others {
	if a.Caution == "" {
		return b
	}
	return a
}
