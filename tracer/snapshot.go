package tracer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
)

// monotonic is CLOCK_MONOTONIC, the clock of stamps.
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // impossible: the clock exists on every Linux
	}
	return time.Duration(ts.Nano())
}

// Snapshot returns all that was seen so far. After Stop its accounting is exact.
func (t *Tracer) Snapshot() (Snapshot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kernel == nil {
		return Snapshot{}, errors.New("read what was seen: the tracer is closed")
	}
	if t.final {
		t.endRound()
	}
	t.seen.read(t)
	s := Snapshot{
		Version: t.cfg.Version, Kernel: release(), Detail: t.cfg.shown(), Start: t.start,
		Duration: time.Since(t.start), Final: t.final, Notes: t.allNotes(),
		Environment: t.cfg.Environment,
	}
	drops, err := t.drops()
	if err != nil {
		return Snapshot{}, err
	}
	t.judge.judge(t.final)
	for of, list := range drops {
		t.judge.attach(of, list, t.kernel.reason)
	}
	inFlight := t.inFlight()
	null := t.nulls()
	paths := t.seen.byTarget()
	devices := t.counted
	if devices == nil || t.cfg.budgeted() {
		if devices, err = readDevices(t.host); err != nil {
			return Snapshot{}, err
		}
	}
	all, whole := t.all(), !t.lacksBorders()
	s.Targets = make([]Target, len(all)) // of 8 kB each: written in place
	for i, target := range all {
		result := &s.Targets[i]
		t.targetResult(result, target, paths[target], null, drops[target], inFlight[target.number])
		if whole {
			result.Unpredicted = t.unpredicted(paths[target])
		}
		result.Unseen = t.unseen(target, result, paths[target], devices)
		if result.Totals, err = t.totals(target, result, devices); err != nil {
			return Snapshot{}, err
		}
	}
	for _, record := range t.seen.records {
		s.Journeys = append(s.Journeys, t.journey(record)...)
	}
	s.Observer, s.Hooks, s.Missing = t.observer(s, null), t.attachments(), t.missing()
	return s, nil
}

// all are the targets, those that have gone last.
func (t *Tracer) all() []*target {
	var all []*target
	for _, target := range t.targets {
		if target != nil {
			all = append(all, target)
		}
	}
	return append(all, t.removed...)
}

func release() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}

func (t *Tracer) inFlight() map[int][2]uint64 {
	live := map[int][2]uint64{}
	t.kernel.mem.eachLive(func(_ int, targets [2]uint16) {
		for direction, number := range targets {
			if number != 0 {
				counts := live[int(number)-1]
				counts[direction]++
				live[int(number)-1] = counts
			}
		}
	})
	return live
}

func (t *Tracer) targetResult(result *Target, of *target, paths []*pathState, null nullLines, drops []Drop, inFlight [2]uint64) {
	result.Name, result.Aliases, result.ID, result.Mode = of.spec.Name, of.spec.Aliases, of.spec.ID, of.spec.Mode
	result.PID, result.Netns, result.Interfaces, result.Ports = of.spec.PID, of.ns.Inode(), of.interfaces, of.spec.Ports
	result.Drops, result.Gone = drops, of.gone
	if of.gone {
		inFlight = [2]uint64{}
	}
	for direction := range result.Accounting {
		account := of.account
		if !of.gone {
			account = t.account(of)
		}
		result.Accounting[direction] = account[direction].accounting(of.cut[direction], inFlight[direction])
		result.Skipped[direction] = account[direction].skips()
	}
	naming := t.naming(of)
	if len(paths) > 0 {
		result.Paths = make([]Path, 0, len(paths))
	}
	for _, state := range paths {
		result.Paths = append(result.Paths, t.path(state, naming, null))
	}
	result.Paths = merged(result.Paths)
	slices.SortStableFunc(result.Paths, func(a, b Path) int { return int(b.Packets) - int(a.Packets) })
	waiting := t.seen.waiting[of.number]
	if waiting == nil && len(of.spec.Proxies) > 0 {
		waiting = &[3]*series{{}, {}, {}}
	}
	if waiting != nil && !of.gone {
		result.Waiting = Waiting{Transport: waiting[0].latency(Null{}), Reader: waiting[1].latency(Null{})}
		if done := result.Accounting[Ingress].Completed; done > 0 {
			result.Waiting.Share = min(1, float64(waiting[1].total.Count())/float64(done))
		}
		if len(of.spec.Proxies) > 0 {
			result.Proxied = proxied(of, result.Paths, waiting[2])
		}
	}
}

// merged makes one of neighbours with the same ID: a path can come to stand
// twice in the kernel's table, when another one before it has been removed.
func merged(paths []Path) []Path {
	all := paths[:0] // in place: they are large, and rarely does one go
	for i := range paths {
		path, last := &paths[i], len(all)-1
		if last < 0 || all[last].ID != path.ID || len(all[last].Hops) != len(path.Hops) {
			all = append(all, *path)
			continue
		}
		same := &all[last]
		same.Packets += path.Packets
		same.Segments += path.Segments
		same.Bytes += path.Bytes
		same.Latency.Hist.Merge(&path.Latency.Hist)
		for i := range same.Hops {
			same.Hops[i].Latency.Hist.Merge(&path.Hops[i].Latency.Hist)
			same.Hops[i].Own = mergeOwn(same.Hops[i].Own, path.Hops[i].Own)
			same.Hops[i].Functions = mergeCalls(same.Hops[i].Functions, path.Hops[i].Functions)
		}
	}
	return all
}

// proxied is set when docker-proxy answered: when a path of the target has it at the other end.
func proxied(of *target, paths []Path, own *series) *Proxied {
	for _, path := range paths {
		if path.Peer == "proxy" {
			return &Proxied{PID: of.spec.Proxies[0], Proxy: own.latency(Null{})}
		}
	}
	return nil
}

func (s *series) latency(null Null) Latency {
	return Latency{Hist: s.total, Null: null, Rounds: slices.Clone(s.rounds)}
}

func (t *Tracer) path(state *pathState, naming journey.Context, null nullLines) Path {
	path := Path{
		ID: state.id, Family: "ipv4", Protocol: protocolName(state.protocol),
		Peer: t.peer(state), Flow: "established",
	}
	if state.flags&uint8(bpf.KernelVtFlagVT_FLAG_IPV6) != 0 {
		path.Family = "ipv6"
	}
	if state.flags&uint8(bpf.KernelVtFlagVT_FLAG_NEW) != 0 {
		path.Flow = "new"
	}
	if state.egress {
		path.Direction = Egress
	}
	if len(state.series) == 0 {
		return path
	}
	whole := state.series[0]
	path.Packets, path.Segments, path.Bytes = whole.total.Count(), whole.segments, whole.bytes
	var sum Null
	hops := journey.Hops(state.hooks, naming)
	if len(hops) > 0 {
		path.Hops = make([]Hop, 0, len(hops))
	}
	for i, hop := range hops {
		from, to := state.hooks[i], state.hooks[i+1]
		cost := null.between(from, to)
		sum = sum.plus(cost)
		side := SideHost
		if hop.Target {
			side = SideTarget
		}
		own, calls := t.calls(state, i+1)
		path.Hops = append(path.Hops, Hop{
			Index: i, Name: hop.Name, Side: side, Device: t.deviceName(state, i+1),
			From: from.String(), To: to.String(), Latency: state.series[i+1].latency(cost),
			Own: own, Functions: calls,
		})
	}
	path.Latency = whole.latency(sum)
	return path
}

func protocolName(number uint8) string {
	switch number {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	}
	return strconv.Itoa(int(number))
}

// peer names the other end of a path.
func (t *Tracer) peer(state *pathState) string {
	if state.peerName != "" {
		return state.peerName
	}
	return t.peerOf(state.target, state.peer, state.egress, state.hooks, state.ifindex)
}

// peerOf names it by what the kernel knew or, for a container that is no
// target, by the device at which the packet left what is traced.
func (t *Tracer) peerOf(of *target, peer uint16, egress bool, hooks []journey.Hook, ifindex []int) string {
	last := len(hooks) - 1
	crossed := last >= 0 && (hooks[last] == journey.NetifRx || hooks[last] == journey.GROReceive)
	if peer != uint16(bpf.KernelVtPeerVT_PEER_UNKNOWN) || !egress || !crossed {
		return t.peerName(of, peer)
	}
	if name := t.foreign.behind(ifindex[last]); name != "unknown" {
		return "container:" + name
	}
	return "unknown"
}

func (t *Tracer) peerName(of *target, peer uint16) string {
	switch {
	case peer == uint16(bpf.KernelVtPeerVT_PEER_UPLINK):
		return "uplink"
	case peer == uint16(bpf.KernelVtPeerVT_PEER_HOST):
		return "host"
	case peer == uint16(bpf.KernelVtPeerVT_PEER_PROXY):
		return "proxy"
	case peer >= uint16(bpf.KernelVtPeerVT_PEER_FOREIGN):
		return "container:" + t.foreign.name(int(peer)-int(bpf.KernelVtPeerVT_PEER_FOREIGN))
	case peer >= uint16(bpf.KernelVtPeerVT_PEER_TARGET):
		number := int(peer) - int(bpf.KernelVtPeerVT_PEER_TARGET)
		if number == of.number {
			return "self"
		}
		if number < len(t.targets) && t.targets[number] != nil {
			return "container:" + t.targets[number].spec.Name
		}
	}
	return "unknown"
}

func (t *Tracer) drops() (map[*target][]Drop, error) {
	byTarget := map[*target][]Drop{}
	if err := t.judge.gather(t); err != nil {
		return nil, err
	}
	var key bpf.KernelVtDropKey
	var count uint64
	entries := t.kernel.maps.VtDrops.Iterate()
	for entries.Next(&key, &count) {
		number := int(key.Target) - 1
		if number < 0 || number >= len(t.targets) || t.targets[number] == nil {
			continue
		}
		of := t.targets[number]
		drop := Drop{Direction: Direction(key.Direction), Reason: t.kernel.reason(key.Reason), Count: count}
		drop.Hop = "transport"
		if key.AfterEnd == 0 {
			drop.Hop = journey.Next(unpack(key.History), t.naming(of)).Name
		}
		byTarget[of] = addDrop(byTarget[of], drop)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read drops: %w", err)
	}
	for _, target := range t.removed {
		byTarget[target] = slices.Clone(target.drops)
	}
	for _, drops := range byTarget {
		slices.SortFunc(drops, func(a, b Drop) int { return int(b.Count) - int(a.Count) })
	}
	return byTarget, nil
}

// unpack returns the hooks of a drop's history, oldest first.
func unpack(history uint64) []journey.Hook {
	var hooks []journey.Hook
	for shift := 56; shift >= 0; shift -= 8 {
		if hook := journey.Hook(history >> shift); hook != 0 {
			hooks = append(hooks, hook)
		}
	}
	return hooks
}

// observer says what measuring costs and what it missed.
func (t *Tracer) observer(s Snapshot, null nullLines) Observer {
	o := Observer{StampNs: null.medians(), Unpathed: t.forgotten.unpathed}
	spent := t.forgotten
	for _, state := range t.seen.all() {
		spent.add(state, null)
	}
	o.Stamps = spent.stamps
	cost := spent.cost
	o.Observed, o.Recorded = s.Duration, t.seen.recorded
	if t.cycle != nil {
		cost = t.cycle.describe(&o)
	}
	if s.Duration > 0 {
		o.CPUShare = cost / float64(s.Duration)
	}
	o.RecursionMisses = t.kernel.misses()
	var perCPU []bpf.KernelVtGlobal
	if err := t.kernel.maps.VtGlobals.Lookup(uint32(0), &perCPU); err == nil {
		for _, global := range perCPU {
			o.RingLost += global.RingLost
			o.CallsLost += global.CallsLost
		}
	}
	for _, target := range t.all() {
		account := target.account
		if !target.gone {
			account = t.account(target)
		}
		o.Unpathed += account[Ingress].Unpathed + account[Egress].Unpathed
	}
	return o
}

// account reads what a target's number has counted, less what it had before this target.
func (t *Tracer) account(of *target) [2]counts {
	mem := t.kernel.mem
	var sum [2]counts
	for direction := range sum {
		for shard := range mem.shards {
			sum[direction].add(mem.accounts.at((of.number*2+direction)*mem.shards + shard))
		}
		sum[direction].subtract(of.base[direction])
	}
	return sum
}

// pathID is a path's name: short, and stable as long as its hooks and devices are.
func pathID(key uint64) string { return fmt.Sprintf("%012x", key>>16) }
