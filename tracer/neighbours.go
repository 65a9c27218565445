package tracer

import (
	"context"
	"fmt"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// neighbours are the containers beside the targets on their bridges: they are
// no targets, but may be the other end of a path.
type neighbours struct {
	byIndex map[int]int // index of the host's end of a veth: number
	names   []string    // by number
}

func (n *neighbours) name(number int) string {
	if n == nil || number >= len(n.names) {
		return "unknown"
	}
	return n.names[number]
}

// findNeighbours makes the other ports of the targets' bridges known; t.mu is held.
func (t *Tracer) findNeighbours(view topology.Namespace) error {
	if t.foreign == nil {
		t.foreign = &neighbours{byIndex: map[int]int{}}
	}
	ours := map[int]bool{}
	for _, target := range t.targets {
		if target != nil {
			for _, index := range target.tracedLinks() {
				ours[index] = true
			}
		}
	}
	for _, port := range view.Links {
		if port.Kind != "veth" || !t.bridges[port.Master] || ours[port.Index] {
			continue
		}
		number, known := t.foreign.byIndex[port.Index]
		if !known {
			number = len(t.foreign.names)
			t.foreign.byIndex[port.Index] = number
			t.foreign.names = append(t.foreign.names, "")
		}
		t.foreign.names[number] = t.peerOf(port)
		if err := t.tables.setDevice(t.host.Inode(), port.Index, number, bpf.KernelVtRoleVT_ROLE_FOREIGN); err != nil {
			return fmt.Errorf("know the containers beside the targets: %w", err)
		}
	}
	return nil
}

func (t *Tracer) peerOf(port topology.Link) string {
	if t.cfg.PeerName != nil {
		if name := t.cfg.PeerName(port); name != "" {
			return name
		}
	}
	return port.Name
}

// watchHost keeps the names of devices and the containers beside the targets current until ctx ends.
func (t *Tracer) watchHost(ctx context.Context) {
	changes, err := topology.Watch(ctx, t.host)
	if err != nil {
		t.cfg.Log.Warn("changes of the host's devices are not followed", "error", err)
		return
	}
	for range changes {
		view, err := topology.Read(t.host)
		if err != nil {
			t.cfg.Log.Warn("read the host's devices", "error", err)
			continue
		}
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return
		}
		for _, link := range view.Links {
			t.hostNames[link.Index] = link.Name
		}
		t.dropNeighbours(view)
		err = t.findNeighbours(view)
		t.mu.Unlock()
		if err != nil {
			t.cfg.Log.Warn("follow the host's devices", "error", err)
		}
	}
}

// dropNeighbours forgets those whose veth has gone: the index may come back for another one.
func (t *Tracer) dropNeighbours(view topology.Namespace) {
	if t.foreign == nil {
		return
	}
	for index, number := range t.foreign.byIndex {
		if view.ByIndex(index) == nil {
			t.tables.dropDevices(number, bpf.KernelVtRoleVT_ROLE_FOREIGN)
			delete(t.foreign.byIndex, index)
		}
	}
}
