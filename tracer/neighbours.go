package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// neighbours are the containers beside the targets on their bridges: they are
// no targets, but may be the other end of a path.
type neighbours struct {
	byIndex map[int]int // index of the host's end of a veth: number
	names   []string    // by number
	inner   []int       // by number: index of the container's own end
	links   map[int]*links
}

func (n *neighbours) name(number int) string {
	if n == nil || number >= len(n.names) {
		return "unknown"
	}
	return n.names[number]
}

// behind names the container whose own device has that index. Indexes are of
// its namespace, which the host cannot tell: where two have the same, it is
// not known which one it is.
func (n *neighbours) behind(inner int) string {
	found := "unknown"
	if n == nil {
		return found
	}
	for _, number := range n.byIndex {
		if n.inner[number] != inner {
			continue
		}
		if found != "unknown" {
			return "unknown"
		}
		found = n.names[number]
	}
	return found
}

// drop forgets the one at that port and detaches from it.
func (n *neighbours) drop(index int) error {
	if n == nil || n.links[index] == nil {
		return nil
	}
	held := n.links[index]
	delete(n.byIndex, index)
	delete(n.links, index)
	return held.close()
}

// takeDevices leaves what is attached at their ports to the caller.
func (n *neighbours) takeDevices() []link.Link {
	if n == nil {
		return nil
	}
	var taken []link.Link
	for _, held := range n.links {
		taken = append(taken, held.takeDevices()...)
	}
	return taken
}

// close detaches from all of them.
func (n *neighbours) close() error {
	if n == nil {
		return nil
	}
	var errs []error
	for _, held := range n.links {
		errs = append(errs, held.close())
	}
	return errors.Join(errs...)
}

// besides are the ports of the targets' bridges that are no target's; t.mu is held.
func (t *Tracer) besides(view topology.Namespace) []topology.Link {
	ours := map[int]bool{}
	for _, target := range t.targets {
		if target != nil {
			for _, index := range target.tracedLinks() {
				ours[index] = true
			}
		}
	}
	var ports []topology.Link
	for _, port := range view.Links {
		if port.Kind == "veth" && t.bridges[port.Master] && !ours[port.Index] {
			ports = append(ports, port)
		}
	}
	return ports
}

// peersOf names the containers behind these ports. It may ask an engine, so t.mu is not held.
func (t *Tracer) peersOf(ports []topology.Link) []string {
	names := make([]string, len(ports))
	for i, port := range ports {
		if t.cfg.PeerName != nil {
			names[i] = t.cfg.PeerName(port)
		}
		if names[i] == "" {
			names[i] = port.Name
		}
	}
	return names
}

// setNeighbours makes these ports known; t.mu is held.
func (t *Tracer) setNeighbours(ports []topology.Link, names []string) error {
	if t.foreign == nil {
		t.foreign = &neighbours{byIndex: map[int]int{}, links: map[int]*links{}}
	}
	for i, port := range ports {
		number, known := t.foreign.byIndex[port.Index]
		if !known {
			number = len(t.foreign.names)
			t.foreign.byIndex[port.Index] = number
			t.foreign.names = append(t.foreign.names, "")
			t.foreign.inner = append(t.foreign.inner, 0)
		}
		t.foreign.inner[number] = port.Parent
		t.foreign.names[number] = names[i]
		if err := t.tables.setDevice(t.host.Inode(), port.Index, number, bpf.KernelVtRoleVT_ROLE_FOREIGN); err != nil {
			return fmt.Errorf("know the containers beside the targets: %w", err)
		}
		if err := t.attachNeighbour(port.Index); err != nil {
			return err
		}
	}
	return nil
}

// lookBeside takes a target that has been removed, and lives on, for a
// container beside the others; t.mu is held.
func (t *Tracer) lookBeside() error {
	view, err := topology.Read(t.host)
	if err != nil {
		return fmt.Errorf("read the host's devices: %w", err)
	}
	ports := t.besides(view)
	return t.setNeighbours(ports, t.peersOf(ports))
}

// attachNeighbour attaches what detail devices needs at such a port, once.
func (t *Tracer) attachNeighbour(index int) error {
	if t.foreign.links[index] != nil {
		return nil
	}
	held := &links{}
	for _, h := range t.wanted(ScopeForeign) {
		if err := t.in(t.host).device(held, h, index); err != nil {
			return errors.Join(err, held.close())
		}
	}
	t.foreign.links[index] = held
	return nil
}

// dropNeighbours forgets those whose veth has gone: the index may come back for another one.
func (t *Tracer) dropNeighbours(view topology.Namespace) {
	if t.foreign == nil {
		return
	}
	for index, number := range t.foreign.byIndex {
		if view.ByIndex(index) == nil {
			t.tables.dropDevices(number, bpf.KernelVtRoleVT_ROLE_FOREIGN)
			if err := t.foreign.drop(index); err != nil {
				t.cfg.Log.Warn("detach from a device that has gone", "error", err)
			}
		}
	}
}
