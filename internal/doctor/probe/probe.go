// SPDX-License-Identifier: Apache-2.0

// Package probe finds out what package doctor judges: it reads /proc, /sys,
// netlink and the engine, and tries every hook, and a run, in a throw-away world
// of its own namespaces. In the machine's own ones it only reads.
package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/environment/probe"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/internal/rights"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Config says what to look at.
type Config struct {
	Version string
	Host    *netns.NS // where the bridge and the uplinks are
	// Targets are containers whose devices are to be looked at; none: what all
	// targets have in common.
	Targets []container.Container
	// Engine is asked about itself; nil where its address makes no sense.
	Engine *container.Docker
	Asked  bool // the engine was named, or a container was
	// Explain says what to do about an engine that does not answer.
	Explain func(error) (todo string, denied bool)
	// Root is where proc and sys are; "" is /.
	Root string
}

// Read finds out everything. What cannot be found out is told in the facts.
func Read(ctx context.Context, cfg Config) (doctor.Facts, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	at := files{cfg.Root}
	have, err := rights.Effective()
	if err != nil {
		return doctor.Facts{}, err
	}
	f := doctor.Facts{
		Version: cfg.Version, Time: time.Now(),
		Kernel: at.kernel(kernelFunctions()), Rights: at.rights(have), Cgroup: at.cgroup(),
	}
	surroundings := probe.Config{Host: cfg.Host, Tool: cfg.Version}
	if f.Engine = engine(ctx, cfg); f.Engine.Err == nil && cfg.Engine != nil {
		surroundings.Engine = func() (*environment.Docker, error) { return probe.ReadEngine(ctx, cfg.Engine.API()) }
	}
	// Who may not enter a namespace, not even the own one, reads the own one from within.
	if cfg.Host.Do(func() error { return nil }) != nil {
		surroundings.Host = nil
	}
	f.Environment = probe.Read(surroundings)
	f.Devices, f.DevicesErr = devices(cfg, surroundings.Host != nil)
	if err := in(surroundings.Host, func() error { f.Conntrack = at.conntrack(); return nil }); err != nil {
		return doctor.Facts{}, fmt.Errorf("read the table of connections: %w", err)
	}
	f.Unseen, f.UnseenErr = unseen(hostEntry(cfg, surroundings.Host != nil))
	f.Trial = try(ctx, cfg.Version)
	return f, ctx.Err()
}

// in runs fn in a namespace; nil is the one of this process.
func in(ns *netns.NS, fn func() error) error {
	if ns == nil {
		return fn()
	}
	return ns.Do(fn)
}

// unseen names the chains that no netfilter link can be attached beside: those of
// families that links do not have, and what runs at either end of the range of
// priorities, which links may not take.
func unseen(ns netfilter.Entry) ([]string, error) {
	chains, err := netfilter.BaseChains(ns)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, c := range chains {
		if !hidden(c) {
			continue
		}
		name := c.Name
		if c.Table != "" {
			name = c.Table + "/" + c.Name
		}
		if name = fmt.Sprintf("%s %s %s", c.Family, c.Hook, name); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, nil
}

func hidden(c netfilter.Chain) bool {
	switch c.Family {
	case netfilter.FamilyBridge, netfilter.FamilyARP, netfilter.FamilyNetdev:
		return c.Backend != netfilter.BackendKernel
	}
	if c.Hook == netfilter.HookIngress || c.Hook == netfilter.HookEgress {
		return true
	}
	return c.Priority == math.MinInt32 || c.Priority == math.MaxInt32
}

// engine asks whether somebody answers.
func engine(ctx context.Context, cfg Config) doctor.Engine {
	if cfg.Engine == nil {
		return doctor.Engine{Err: errors.New("no engine was asked")}
	}
	e := doctor.Engine{Host: cfg.Engine.Host(), Asked: cfg.Asked}
	names, err := cfg.Engine.Names(ctx)
	var asked *container.EngineError
	if e.Count = len(names); err != nil {
		e.Todo, e.Denied = cfg.Explain(err)
		if e.Err = err; errors.As(err, &asked) { // which says what to do itself
			e.Err = asked.Err
		}
	}
	return e
}

// here is the namespace of this process, which needs no right to be entered.
type here struct{}

// Do implements topology.Entry.
func (here) Do(fn func() error) error { return fn() }

// hostEntry is the host's namespace, from within where it may not be entered.
func hostEntry(cfg Config, enter bool) topology.Entry {
	if enter {
		return cfg.Host
	}
	return here{}
}
