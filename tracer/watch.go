package tracer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vethtrace/vethtrace/tracer/topology"
)

// lookPeriod is how often the wiring is looked at beside the kernel's events:
// addresses and routes, and devices inside a target, change without one here.
const lookPeriod = 3 * time.Second

// watchHost keeps up with the host until ctx ends: names of devices, containers
// beside the targets, uplinks that come, networks that a target is connected to.
func (t *Tracer) watchHost(ctx context.Context) {
	changes, err := topology.Watch(ctx, t.host)
	if err != nil {
		t.cfg.Log.Warn("changes of the host's devices are noticed late", "error", err)
	}
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil // ctx has ended, or the kernel's events have: the ticker goes on
				continue
			}
		case <-ticker.C:
		}
		if err := t.look(); err != nil {
			t.cfg.Log.Warn("follow the host's devices", "error", err)
		}
	}
}

// look reads the wiring and attaches what is new.
func (t *Tracer) look() error {
	view, err := topology.Read(t.host)
	if err != nil {
		return fmt.Errorf("read the host's devices: %w", err)
	}
	t.mu.Lock()
	ports := t.besides(view)
	var targets []*target
	for _, target := range t.targets {
		if target != nil && !target.hostMode {
			targets = append(targets, target)
		}
	}
	t.mu.Unlock()
	names := t.peersOf(ports)
	wirings := make([]topology.Wiring, len(targets))
	for i, target := range targets {
		// one that has just ended cannot be read: its removal is under way
		wirings[i], _ = topology.ReadWiring(t.host, target.ns)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	for _, link := range view.Links {
		t.hostNames[link.Index] = link.Name
	}
	t.forgetGone(view)
	var errs []error
	for i, target := range targets {
		if t.targets[target.number] == target {
			errs = append(errs, t.extend(target, wirings[i]))
		}
	}
	errs = append(errs, t.announceHost(view), t.attachHost(view), t.setNeighbours(ports, names))
	for _, target := range targets {
		if t.targets[target.number] == target {
			errs = append(errs, target.announceAddresses(t.tables))
		}
	}
	return errors.Join(errs...)
}

// forgetGone forgets devices that have gone: their indexes may come back for others.
func (t *Tracer) forgetGone(view topology.Namespace) {
	t.dropNeighbours(view)
	for index := range t.uplinks {
		if view.ByIndex(index) == nil {
			delete(t.uplinks, index)
			t.tables.dropDevice(t.host.Inode(), index)
		}
	}
	for index := range t.bridges {
		if view.ByIndex(index) == nil {
			delete(t.bridges, index)
			t.tables.dropDevice(t.host.Inode(), index)
		}
	}
}

// extend attaches to the devices that a target has been given since it was added.
func (t *Tracer) extend(target *target, wiring topology.Wiring) error {
	known := map[int]bool{}
	for _, i := range target.wiring.Interfaces {
		known[i.Dev.Index] = known[i.Dev.Index] || i.Connected()
	}
	var added []topology.Interface
	for _, i := range wiring.Interfaces {
		if i.Connected() && !known[i.Dev.Index] {
			added = append(added, i)
		}
	}
	if len(added) == 0 {
		if len(wiring.Interfaces) > 0 {
			target.wiring = wiring // addresses may have changed
		}
		return nil
	}
	target.wiring = wiring
	for _, i := range added {
		target.interfaces = append(target.interfaces, describe(i))
		target.devices[i.Dev.Index] = i.Dev.Name
		if i.Peer != nil {
			if err := t.foreign.drop(i.Peer.Index); err != nil {
				return err
			}
		}
	}
	for _, h := range t.wanted(ScopePort, ScopeDevice) {
		if err := t.attachInterfaces(h, target, added); err != nil {
			return fmt.Errorf("target %s: %w", target.spec.Name, err)
		}
	}
	return target.announceInterfaces(t.host, t.tables, added)
}
