package tracer

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// find gathers what loading depends on.
func (t *Tracer) find(view topology.Namespace, targets []*target) facts {
	f := facts{hostNetns: t.host.Inode(), programs: map[string]bool{}}
	t.devicesBy, f.switchable = devicesBy(t.cfg, len(targets))
	if t.cfg.Follow {
		f.bridge, f.hostMode, f.sockets, f.napi, f.cgroup = true, true, true, true, t.cfg.Controller
	}
	for _, target := range targets {
		f.add(target)
	}
	for _, uplink := range topology.Uplinks(view, tracedLinks(targets)...) {
		f.queue = f.queue || queues(uplink)
	}
	for border := range journey.Borders {
		f.programs[borderProgram(border)] = t.cfg.Detail == DetailTables
	}
	for _, h := range t.cfg.hooks() {
		if h.wants(t.cfg.Detail) && h.in(f.bridge, f.hostMode) && f.has(h.Duty) && (f.switchable || h.by(t.devicesBy)) {
			f.programs[h.Program] = true
		}
	}
	return f
}

// add takes in what one more target needs.
func (f *facts) add(target *target) {
	f.sockets = f.sockets || target.hostMode || len(target.spec.Proxies) > 0
	if target.hostMode {
		f.hostMode = true
		if f.cgroup == "" {
			f.cgroup = target.spec.Cgroup.Controller
		}
		return
	}
	f.bridge = true
	for _, i := range target.wiring.Interfaces {
		f.napi = f.napi || i.Dev.NAPI() || i.Peer != nil && i.Peer.NAPI()
		f.splits = f.splits || i.Dev.Small || i.Peer != nil && i.Peer.Small
	}
}

func tracedLinks(targets []*target) []int {
	var traced []int
	for _, target := range targets {
		traced = append(traced, target.tracedLinks()...)
	}
	return traced
}

// queues tells whether packets may wait at a device before they leave it.
func queues(l topology.Link) bool {
	return l.Qdisc != "" && l.Qdisc != "noqueue"
}

func (f facts) has(duty Duty) bool {
	switch duty {
	case DutyQueue:
		return f.queue
	case DutyNAPI:
		return f.napi
	case DutySplits:
		return f.splits
	case DutySockets, DutyOnce:
		return f.sockets
	}
	return true
}

// attachAll attaches what new targets need: their own hooks, and what the host
// does not have yet. Hooks that start journeys come last in the table, and
// nothing starts, here or at a device, before the target is announced.
func (t *Tracer) attachAll(view topology.Namespace, targets []*target) error {
	for _, link := range view.Links {
		t.hostNames[link.Index] = link.Name
	}
	if err := t.announceHost(view); err != nil {
		return err
	}
	if err := t.attachTargets(targets); err != nil {
		return err
	}
	if err := t.attachHost(view); err != nil {
		return err
	}
	ports := t.besides(view)
	if err := t.setNeighbours(ports, t.peersOf(ports)); err != nil {
		return err
	}
	if err := t.findQueues(); err != nil {
		return err
	}
	if err := errors.Join(t.noteTotals(targets), t.noteCounted(targets), t.learn(view)); err != nil {
		return err
	}
	if err := t.cycle.join(targets); err != nil {
		return err
	}
	for _, target := range targets {
		t.tables.setFilters(t.cfg.Ports, target.spec.Ports)
		if err := target.announce(t.host, t.tables); err != nil {
			return err
		}
	}
	return t.writeGroups()
}

// attachTargets attaches what lies in the targets' namespaces and at their devices' other ends.
func (t *Tracer) attachTargets(targets []*target) error {
	rows := t.wanted(ScopePort, ScopeDevice, ScopeTarget)
	for i, target := range targets {
		if target.hostMode {
			continue // its hooks are the host's
		}
		if !t.cfg.budgeted() {
			if err := t.attachChains(t.in(target.ns), &target.links, ScopeTarget, target.chains); err != nil {
				return fmt.Errorf("target %s: %w", target.spec.Name, err)
			}
		}
		for _, h := range rows {
			if err := t.attachTarget(h, target); err != nil {
				return fmt.Errorf("target %s: %w", target.spec.Name, err)
			}
		}
		if t.cfg.Progress != nil && t.later == nil {
			t.cfg.Progress(i+1, len(targets))
		}
	}
	return nil
}

// findSockets makes the connections known that new targets (in host mode) and
// their proxies have already.
func (t *Tracer) findSockets(targets []*target) error {
	const program = "vt_sockets_of_tasks"
	if !t.facts.programs[program] || !slices.ContainsFunc(targets, func(of *target) bool { return len(of.groups()) > 0 }) {
		return nil
	}
	return walkSockets(t.kernel.programs[program])
}

// walkSockets runs the iterator once, over all sockets of all processes.
func walkSockets(program *ebpf.Program) error {
	iterator, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return attachError("vt_sockets_of_tasks", "BPF iterators (Linux 5.8)", err)
	}
	defer iterator.Close()
	walk, err := iterator.Open()
	if err != nil {
		return fmt.Errorf("look for the connections of targets: %w", err)
	}
	defer walk.Close()
	if _, err := io.Copy(io.Discard, walk); err != nil {
		return fmt.Errorf("look for the connections of targets: %w", err)
	}
	return nil
}

// wanted are the rows of the table for these scopes that are attached for good.
func (t *Tracer) wanted(scopes ...Scope) []HookSpec {
	var rows []HookSpec
	for _, h := range t.rows(scopes...) {
		if !t.cfg.budgeted() || h.Stays {
			rows = append(rows, h)
		}
	}
	return rows
}

// rows are those of the table for these scopes that have no windows of their own.
func (t *Tracer) rows(scopes ...Scope) []HookSpec {
	var rows []HookSpec
	for _, h := range Hooks() {
		switch {
		case h.Duty == DutyWindows || h.Duty == DutyMinute || h.Duty == DutyOnce:
		case !t.facts.programs[h.Program] || !h.wants(t.cfg.Detail) || !h.by(t.devicesBy):
		case !h.in(t.facts.bridge, t.facts.hostMode) || !t.facts.has(h.Duty):
		case slices.Contains(scopes, h.Scope):
			rows = append(rows, h)
		}
	}
	return rows
}

func (t *Tracer) attachTarget(h HookSpec, target *target) error {
	if h.Scope == ScopeTarget {
		return t.in(target.ns).netfilter(&target.links, h, priorityOf(h))
	}
	return t.attachInterfaces(h, target, target.wiring.Interfaces)
}

// attachInterfaces attaches at these devices of a target, or at their other ends.
func (t *Tracer) attachInterfaces(h HookSpec, target *target, interfaces []topology.Interface) error {
	inside := t.in(target.ns)
	for _, i := range interfaces {
		if !i.Connected() {
			continue
		}
		var err error
		switch {
		case h.Scope == ScopeDevice:
			err = inside.device(&target.links, h, i.Dev.Index)
		case i.Peer != nil:
			err = t.in(t.host).device(&target.links, h, i.Peer.Index)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// attachHost attaches what the host does not have yet.
func (t *Tracer) attachHost(view topology.Namespace) error {
	host := t.in(t.host)
	uplinks, bridges := t.devicesOf(view)
	hostWide := !t.hostWide
	t.hostWide = true
	if hostWide && !t.cfg.budgeted() {
		if err := t.attachChains(host, &t.hostLinks, ScopeHost, t.chains); err != nil {
			return err
		}
	}
	for _, h := range t.wanted(ScopeBridge, ScopeUplink, ScopeLoopback, ScopeHost, ScopeMachine) {
		var err error
		switch h.Scope {
		case ScopeBridge:
			err = attachEach(host, &t.hostLinks, h, bridges, t.bridges)
		case ScopeUplink:
			err = attachEach(host, &t.hostLinks, h, uplinks, t.uplinks)
		case ScopeLoopback:
			if hostWide {
				err = host.device(&t.hostLinks, h, loopbackIndex)
			}
		case ScopeHost:
			if hostWide {
				err = host.netfilter(&t.hostLinks, h, priorityOf(h))
			}
		case ScopeMachine:
			if hostWide {
				err = host.tracepoint(&t.hostLinks, h)
			}
		}
		if err != nil {
			return err
		}
	}
	return t.announceDevices(uplinks, bridges)
}

// announceDevices tells the programs what the host's devices are.
func (t *Tracer) announceDevices(uplinks, bridges []int) error {
	for _, index := range uplinks {
		t.uplinks[index] = true
		if err := t.tables.setDevice(t.host.Inode(), index, 0, bpf.KernelVtRoleVT_ROLE_UPLINK); err != nil {
			return err
		}
	}
	for _, index := range bridges {
		t.bridges[index] = true
		if err := t.tables.setDevice(t.host.Inode(), index, 0, bpf.KernelVtRoleVT_ROLE_BRIDGE); err != nil {
			return err
		}
	}
	if t.facts.has(DutySockets) {
		return t.tables.setDevice(t.host.Inode(), loopbackIndex, 0, bpf.KernelVtRoleVT_ROLE_LOOPBACK)
	}
	return nil
}

// loopbackIndex is lo's index in every namespace (LOOPBACK_IFINDEX).
const loopbackIndex = 1

func attachEach(a attacher, to *links, h HookSpec, indexes []int, attached map[int]bool) error {
	for _, index := range indexes {
		if attached[index] {
			continue
		}
		if err := a.device(to, h, index); err != nil {
			return err
		}
	}
	return nil
}

// devicesOf returns the uplinks, and the bridges of all targets, by index.
func (t *Tracer) devicesOf(view topology.Namespace) (uplinks, bridges []int) {
	var live []*target
	for _, target := range t.targets {
		if target != nil {
			live = append(live, target)
		}
	}
	for _, uplink := range topology.Uplinks(view, tracedLinks(live)...) {
		uplinks = append(uplinks, uplink.Index)
	}
	have := map[int]bool{}
	for _, target := range live {
		for _, i := range target.wiring.Interfaces {
			if !target.hostMode && i.Bridge != nil && !have[i.Bridge.Index] {
				have[i.Bridge.Index] = true
				bridges = append(bridges, i.Bridge.Index)
			}
		}
	}
	return uplinks, bridges
}

// announceHost makes the host's own addresses known, and the containers beside the targets.
func (t *Tracer) announceHost(view topology.Namespace) error {
	for _, link := range view.Links {
		for _, prefix := range link.Addrs {
			if err := t.tables.setAddress(prefix.Addr(), bpf.AddressHost); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeGroups tells the programs whose processes' sockets to follow.
func (t *Tracer) writeGroups() error {
	var groups []bpf.KernelVtGroup
	for _, target := range t.targets {
		if target != nil {
			groups = append(groups, target.groups()...)
		}
	}
	if err := t.tables.setGroups(groups); err != nil {
		return errors.Join(errors.New("follow the sockets of host-mode targets"), err)
	}
	return nil
}

// findQueues notes that an NFQUEUE is bound in the host's namespace: detaching
// makes the kernel drop what waits there, so it is done once and last.
func (t *Tracer) findQueues() error {
	queues, err := netfilter.Queues(t.host)
	if err != nil {
		return fmt.Errorf("look for NFQUEUEs: %w", err)
	}
	if len(queues) > 0 && !t.hostQueue {
		t.hostQueue = true
		note := fmt.Sprintf("NFQUEUE %v is bound in the host's namespace: packets that wait there when vethtrace ends are dropped by the kernel, once", queues)
		if t.cfg.budgeted() {
			note += "; with a budget its netfilter hooks are not told apart, as what is attached there cannot go between windows"
		}
		t.notes = append(t.notes, note)
	}
	return nil
}
