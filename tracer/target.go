package tracer

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// target is one traced target, from Add to the end of the tracer.
type target struct {
	number     int
	spec       TargetSpec
	ns         *netns.NS
	hostMode   bool
	wiring     topology.Wiring
	interfaces []Interface
	devices    map[int]string // of its namespace, by index
	links      links
	chains     *chainPlan
	base       [2]counts // what its number had counted for others before, by direction
	cut        [2]uint64 // journeys that its end cut, by direction

	before  [2]Total         // budget mode: what its devices had counted before
	counted map[int][2]Total // what the host's end of each had counted before any journey, by its index

	gone    bool
	totals  *[2]Total // once it is gone, as below
	end     time.Time // once it is gone
	account [2]counts // once it is gone
	drops   []Drop
}

// NoWayError says that a target has no device that packets could come by.
type NoWayError struct {
	Name, Mode, Reason string

	// Elsewhere is set where its device leads to a namespace that is neither the
	// target's nor the one that was named as the host's.
	Elsewhere bool
}

// Error says why, and what the mode means.
func (e *NoWayError) Error() string {
	if e.Mode == "none" {
		return fmt.Sprintf("%s has network mode none: no packet enters or leaves it, nothing to trace", e.Name)
	}
	return fmt.Sprintf("%s (mode %s) has no device that leads to the host: %s", e.Name, e.Mode, e.Reason)
}

// newTarget reads how a target is connected to the host, which has been read;
// nothing is attached yet.
func newTarget(host *netns.NS, view topology.Namespace, spec TargetSpec) (*target, error) {
	if spec.Netns == nil {
		return nil, fmt.Errorf("target %s: no network namespace", spec.Name)
	}
	ns, err := netns.Open(spec.Netns.Path())
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", spec.Name, err)
	}
	t := &target{spec: spec, ns: ns, hostMode: ns.Inode() == host.Inode(), devices: map[int]string{}}
	if t.wiring, err = topology.ReadTarget(host, view, ns); err != nil {
		return nil, closing(ns, fmt.Errorf("target %s: read how it is connected: %w", spec.Name, err))
	}
	for _, i := range t.wiring.Interfaces {
		t.devices[i.Dev.Index] = i.Dev.Name
		if t.hostMode || !i.Connected() {
			continue
		}
		t.interfaces = append(t.interfaces, describe(i))
	}
	if !t.hostMode && len(t.interfaces) == 0 {
		return nil, closing(ns, t.whyNotConnected())
	}
	return t, nil
}

func closing(ns *netns.NS, err error) error {
	_ = ns.Close() // the first error is what the caller needs
	return err
}

func (t *target) whyNotConnected() *NoWayError {
	why := &NoWayError{Name: t.spec.Name, Mode: t.spec.Mode, Reason: "it has only lo"}
	for _, i := range t.wiring.Interfaces {
		if !i.Dev.Loopback && i.Reason != "" {
			why.Reason, why.Elsewhere = i.Dev.Name+": "+i.Reason, i.Elsewhere
			break
		}
	}
	return why
}

func describe(i topology.Interface) Interface {
	d := Interface{Name: i.Dev.Name, Index: i.Dev.Index}
	if i.Peer != nil {
		d.Peer, d.PeerIndex = i.Peer.Name, i.Peer.Index
	}
	if i.Bridge != nil {
		d.Bridge = i.Bridge.Name
	}
	for _, prefix := range i.Dev.Addrs {
		if addr := prefix.Addr(); !addr.IsLinkLocalUnicast() {
			d.Addrs = append(d.Addrs, addr)
		}
	}
	return d
}

// tracedLinks are the indexes of the host's devices that only this target's
// packets (bridge: those of its network) use, so that they are no uplinks.
func (t *target) tracedLinks() []int {
	var traced []int
	for _, i := range t.wiring.Interfaces {
		if t.hostMode {
			break
		}
		if i.Peer != nil {
			traced = append(traced, i.Peer.Index)
		}
		if i.Bridge != nil {
			traced = append(traced, i.Bridge.Index)
		}
	}
	return traced
}

// addresses of the target's own devices.
func (t *target) addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, i := range t.wiring.Interfaces {
		if t.hostMode || i.Dev.Loopback {
			continue
		}
		for _, prefix := range i.Dev.Addrs {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs
}

// announce makes the target known to the programs: from now on its packets
// start journeys, so all that ends them is attached before. Its devices come
// before its addresses: they end what its addresses start.
func (t *target) announce(host *netns.NS, to tables) error {
	inode := t.ns.Inode()
	if !t.hostMode {
		if err := to.setDevice(inode, 0, t.number, bpf.KernelVtRoleVT_ROLE_NETNS); err != nil {
			return err
		}
	}
	if err := t.announceDevices(host, to); err != nil {
		return err
	}
	if err := t.announceAddresses(to); err != nil {
		return err
	}
	for _, port := range t.spec.Ports {
		if !t.hostMode {
			to.setPort(port.Protocol, port.Host.Port(), t.number, true)
		}
	}
	for _, listener := range t.spec.Listeners {
		if t.hostMode {
			to.setPort(listener.Protocol, listener.Port, t.number, false)
		}
	}
	return nil
}

// announceAddresses makes its addresses known: packets to them start a journey at the uplink or in the host.
func (t *target) announceAddresses(to tables) error {
	for _, addr := range t.addresses() {
		if err := to.setAddress(addr, uint32(t.number+1)); err != nil {
			return err
		}
	}
	return nil
}

// announceDevices makes its devices known: packets that have no journey yet start one there.
func (t *target) announceDevices(host *netns.NS, to tables) error {
	if t.hostMode {
		return nil
	}
	return t.announceInterfaces(host, to, t.wiring.Interfaces)
}

func (t *target) announceInterfaces(host *netns.NS, to tables, interfaces []topology.Interface) error {
	for _, i := range interfaces {
		if !i.Connected() {
			continue
		}
		if err := to.setDevice(t.ns.Inode(), i.Dev.Index, t.number, bpf.KernelVtRoleVT_ROLE_DEVICE); err != nil {
			return err
		}
		if i.Peer == nil {
			continue
		}
		if err := to.setDevice(host.Inode(), i.Peer.Index, t.number, bpf.KernelVtRoleVT_ROLE_PORT); err != nil {
			return err
		}
	}
	return nil
}

// withdraw makes the target unknown again: no further journey starts for it.
// Its devices go first: a packet that no longer starts on its way to them must
// not be taken for one that began unseen.
func (t *target) withdraw(from tables) {
	from.dropDevices(t.number, bpf.KernelVtRoleVT_ROLE_DEVICE, bpf.KernelVtRoleVT_ROLE_PORT)
	from.dropPorts(t.number)
	from.dropAddresses(uint32(t.number + 1))
	from.dropDevices(t.number, bpf.KernelVtRoleVT_ROLE_NETNS)
}

// groups are the processes whose sockets count for this target.
func (t *target) groups() []bpf.KernelVtGroup {
	var groups []bpf.KernelVtGroup
	if t.hostMode {
		group := bpf.KernelVtGroup{Cgroup: t.spec.Cgroup.ID, Target: uint16(t.number + 1)}
		if group.Cgroup == 0 {
			group.Tgid = uint32(t.spec.PID)
		}
		groups = append(groups, group)
	}
	for _, pid := range t.spec.Proxies {
		groups = append(groups, bpf.KernelVtGroup{
			Tgid: uint32(pid), Target: uint16(t.number + 1), Flags: uint16(bpf.KernelVtFlagVT_FLAG_PROXY),
		})
	}
	return groups
}
