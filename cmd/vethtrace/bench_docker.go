// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/internal/refbench"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// ownedWorld closes what the world was made with.
type ownedWorld struct {
	*refbench.Docker
	engine *container.Docker
	spaces []*netns.NS
}

// Close removes the containers and gives everything back.
func (w *ownedWorld) Close() error {
	err := w.Docker.Close()
	for _, ns := range w.spaces {
		err = errors.Join(err, ns.Close())
	}
	return errors.Join(err, w.engine.Close())
}

// dockerWorld starts containers. The engine is the world's from here on.
func (o *benchOptions) dockerWorld(ctx context.Context, engine *container.Docker, cpu int, run *session) (refbench.World, error) {
	w := &ownedWorld{engine: engine}
	give := func(err error) (refbench.World, error) {
		for _, ns := range w.spaces {
			err = errors.Join(err, ns.Close())
		}
		return nil, errors.Join(err, engine.Close())
	}
	// An engine that does not answer is told as by every other command.
	if _, err := engine.Names(ctx); err != nil {
		return give(err)
	}
	host, err := netns.Current()
	if err != nil {
		return give(fmt.Errorf("open our own network namespace: %w", err))
	}
	w.spaces = append(w.spaces, host)
	var client *netns.NS
	if o.client != "" {
		if client, err = openNetns(o.client); err != nil {
			return give(err)
		}
		w.spaces = append(w.spaces, client)
	}
	m := mapper{host: host.Inode(), log: run.log}
	if m.mounts, err = readMounts(); err != nil {
		return give(err)
	}
	w.Docker, err = refbench.NewDocker(ctx, refbench.DockerConfig{
		API: engine.API(), Image: o.image, Host: host, Client: client, CPU: cpu, Log: run.log,
		Six: o.family == familySix, Translated: translated,
		Spec: func(ctx context.Context, id string) (tracer.TargetSpec, error) {
			c, err := engine.Find(ctx, id)
			if err != nil {
				return tracer.TargetSpec{}, err
			}
			return m.spec(member{Container: c})
		},
	})
	if err != nil {
		return give(err)
	}
	return w, nil
}

// translated tells whether rules of our own namespace lead ports to an address.
func translated(to netip.Addr) (bool, error) {
	set, err := hostRules()
	if err != nil {
		return false, fmt.Errorf("see who answers published ports: %w", err)
	}
	return len(wiring.PortsByRules(set, []netip.Addr{to})) > 0, nil
}

// openNetns opens a network namespace by its path or name.
func openNetns(path string) (*netns.NS, error) {
	c, err := container.FromNetns(path)
	if errors.Is(err, netns.ErrNotNamespace) {
		return nil, notNamespace(path, err)
	}
	if err != nil {
		return nil, explainTarget(err, howNetns)
	}
	ns, err := netns.Open(c.NetnsPath)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return ns, nil
}
