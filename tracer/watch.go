package tracer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/tracer/predict"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// lookPeriod is how often the wiring is looked at beside the kernel's events:
// addresses and routes, and devices inside a target, change without one here.
const lookPeriod = 3 * time.Second

// calmFactor is how many times as long as a look took is waited before the next
// one: with a thousand targets there is always something.
const calmFactor = 120

// Of more targets, so many are looked at each time, in turns, beside those that
// the host's own devices show to have got a new one: reading a namespace takes a
// quarter of a millisecond.
const lookTargets = 32

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
			drainChanges(changes)
		case <-ticker.C:
		}
		begin := time.Now()
		if err := t.look(); err != nil {
			t.cfg.Log.Warn("follow the host's devices", "error", err)
		}
		if !sleep(ctx, calmFactor*time.Since(begin)) {
			return
		}
	}
}

// drainChanges takes what else has changed: one look sees all of it.
func drainChanges(changes <-chan topology.Change) {
	for {
		select {
		case _, ok := <-changes:
			if !ok {
				return
			}
		default:
			return
		}
	}
}

// look reads the wiring and attaches what is new.
func (t *Tracer) look() error {
	view, err := topology.ReadBrief(t.host)
	if err != nil {
		return fmt.Errorf("read the host's devices: %w", err)
	}
	t.mu.Lock()
	ports := t.besides(view)
	targets := t.due(view)
	t.mu.Unlock()
	names := t.peersOf(ports)
	wirings := make([]topology.Wiring, len(targets))
	for i, target := range targets {
		// one that has just ended cannot be read: its removal is under way
		wirings[i], _ = topology.ReadTarget(t.host, view, target.ns)
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
	errs = append(errs, t.announceHost(view), t.attachHost(view), t.setNeighbours(ports, names), t.learn(view))
	for _, target := range targets {
		if t.targets[target.number] == target {
			errs = append(errs, target.announceAddresses(t.tables))
		}
	}
	return errors.Join(errs...)
}

// due are the targets to look at now; t.mu is held. The next look goes on behind
// the last of them.
func (t *Tracer) due(view topology.Namespace) []*target {
	known := map[int]bool{} // devices of the host that lead to targets
	byID := map[int]*target{}
	for _, target := range t.targets {
		if target == nil || target.hostMode {
			continue
		}
		byID[target.wiring.NetnsID] = target
		for _, i := range target.wiring.Interfaces {
			if i.Peer != nil {
				known[i.Peer.Index] = true
			}
		}
	}
	due := map[*target]bool{}
	for _, link := range view.Links {
		if of := byID[link.ParentNetnsID]; of != nil && !known[link.Index] && link.ParentNetnsID >= 0 {
			due[of] = true
		}
	}
	turn := 0
	for range t.targets {
		target := t.targets[t.nextLook%len(t.targets)]
		t.nextLook++
		if target == nil || target.hostMode {
			continue
		}
		due[target] = true
		if turn++; turn == lookTargets {
			break
		}
	}
	return slices.Collect(maps.Keys(due))
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

// rewire takes over how a target is connected now; what its paths were before
// is held against how it was; t.mu is held.
func (t *Tracer) rewire(target *target, wiring topology.Wiring) {
	if !predict.Same(target.wiring, wiring) {
		t.settlePaths()
		t.changing()
	}
	target.wiring = wiring
}

func describeAll(interfaces []topology.Interface) []Interface {
	var all []Interface
	for _, i := range interfaces {
		all = append(all, describe(i))
	}
	return all
}

// rename tells the devices of a target by the names that they have now.
func (t *target) rename(wiring topology.Wiring) {
	now := map[int]Interface{}
	for _, i := range wiring.Interfaces {
		if i.Connected() {
			now[i.Dev.Index] = describe(i)
			t.devices[i.Dev.Index] = i.Dev.Name
		}
	}
	renamed := slices.Clone(t.interfaces) // snapshots have the others
	for n, i := range renamed {
		if is, ok := now[i.Index]; ok && is.PeerIndex == i.PeerIndex {
			renamed[n] = is
		}
	}
	t.interfaces = renamed
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
	target.rename(wiring)
	if len(added) == 0 {
		if len(wiring.Interfaces) > 0 {
			t.rewire(target, wiring) // addresses may have changed
		}
		return nil
	}
	t.rewire(target, wiring)
	if counted, err := readDevices(t.host); err == nil {
		t.noteDevices(target, describeAll(added), counted)
	}
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
