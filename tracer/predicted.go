package tracer

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/predict"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Unpredicted is a path that packets took and that the model of the wiring does
// not have: something on the way (a program of traffic control or XDP, a flow
// table, a device that was moved) does what is not known of it.
type Unpredicted struct {
	Path      string // Path.ID
	Packets   uint64
	After     string   // the place at which it left what was predicted: uplink/ingress eth0; "" for its first one
	Seen      string   // the place that it came to: port/egress vethef1372a
	Predicted []string // the places that it should have come to
}

// Unseen is the reverse: a way that the model has, through a pair of devices
// that counted packets, and that no journey was seen on.
type Unseen struct {
	Direction Direction
	Device    string // of the target
	Peer      string // the host's end
	Packets   uint64 // that the devices counted and nothing accounts for
}

// fewPackets may be under way when tracing begins, or while something changes:
// so many make a way unseen, and a path that was found then unpredicted.
const fewPackets = 16

// learn takes over what was read of the host's devices as what predicts paths; t.mu is held.
func (t *Tracer) learn(view topology.Namespace) error {
	switches, err := topology.ReadSwitches(t.host)
	if err != nil {
		return fmt.Errorf("know what bridges do with packets: %w", err)
	}
	now := predict.NewHost(view, switches, slices.Collect(maps.Keys(t.uplinks)), slices.Collect(maps.Keys(t.bridges)))
	now.LateStacked = t.devicesBy == ProviderTracepoint
	if !reflect.DeepEqual(now, t.ways) {
		t.settlePaths() // those that the old one predicted
		t.changing()
		t.ways = now
	}
	return nil
}

// changing notes that hooks, or what is known of the host, change while packets
// are under way: a few of these have some stamps of the old world and some of
// the new one. t.mu is held.
func (t *Tracer) changing() {
	if t.ways != nil { // at the beginning nothing is under way
		t.changed = time.Now().Add(t.cfg.Interval + time.Second) // by then they have been read
	}
}

// settlePaths holds what was seen so far against what is known so far; t.mu is held.
func (t *Tracer) settlePaths() {
	if t.ways == nil || t.seen == nil {
		return
	}
	t.seen.read(t)
	for _, state := range t.seen.paths {
		t.hold(state)
	}
}

// hold compares a path with the model. One that was predicted once stays so:
// what changes later says nothing of it.
func (t *Tracer) hold(state *pathState) {
	if state.predicted || !state.end.IsZero() || t.ways == nil {
		return
	}
	state.deviation = nil
	state.predicted = true
	model := predict.Model{
		Host: t.ways, Own: &state.target.wiring, IPv6: state.flags&uint8(bpf.KernelVtFlagVT_FLAG_IPV6) != 0,
		HostBorders: t.borders(ScopeHost, t.chains), OwnBorders: t.borders(ScopeTarget, state.target.chains),
	}
	if number, ok := targetOfPeer(state.peer); ok {
		other := t.byNumber(number, state.target)
		if other == nil {
			return // it has gone, and nobody can tell how it was connected
		}
		model.Other, model.OtherBorders = &other.wiring, t.borders(ScopeTarget, other.chains)
	}
	stamps := make([]predict.Stamp, 0, len(state.hooks))
	for i, hook := range state.hooks {
		stamps = append(stamps, predict.Stamp{Hook: hook, Device: state.ifindex[i]})
	}
	state.deviation = model.Check(stamps)
	state.predicted = state.deviation == nil
}

// borders are the netfilter hooks of a namespace at which every packet is stamped.
func (t *Tracer) borders(scope Scope, plan *chainPlan) predict.Borders {
	found := predict.Borders{}
	if t.cfg.budgeted() {
		return found // they come and go and, where an NFQUEUE is bound, do not come
	}
	for _, h := range slices.Concat(t.rows(scope), plan.borders(scope)) {
		if h.Provider == ProviderNetfilter {
			found[h.Point] = true
		}
	}
	return found
}

// unpredicted are a target's paths that the model does not have, most packets
// first; there are none where paths lack borders: what was left out is no way
// that packets did not take.
func (t *Tracer) unpredicted(states []*pathState) []Unpredicted {
	var found []Unpredicted
	for _, state := range states {
		if t.hold(state); state.deviation == nil || len(state.series) == 0 {
			continue
		}
		u := Unpredicted{
			Path: state.id, Packets: state.series[0].total.Count(),
			After: state.deviation.After, Seen: state.deviation.Seen, Predicted: state.deviation.Predicted,
		}
		if last := len(found) - 1; last >= 0 && found[last].Path == u.Path {
			found[last].Packets += u.Packets // as paths are merged
			continue
		}
		if underWay := state.found.Before(t.changed) && u.Packets < fewPackets; u.Packets > 0 && !underWay {
			found = append(found, u)
		}
	}
	slices.SortStableFunc(found, func(a, b Unpredicted) int { return cmp.Compare(b.Packets, a.Packets) })
	return found
}

// noteCounted keeps what the devices of new targets had counted before any of
// their journeys, so that what they count from here on is theirs; t.mu is held.
func (t *Tracer) noteCounted(targets []*target) error {
	counted, err := readDevices(t.host)
	if err != nil {
		return err
	}
	for _, target := range targets {
		target.counted = map[int][2]Total{}
		t.noteDevices(target, target.interfaces, counted)
	}
	return nil
}

func (t *Tracer) noteDevices(target *target, interfaces []Interface, counted map[string][2]Total) {
	for _, i := range interfaces {
		if now, ok := counted[i.Peer]; ok && i.Peer != "" {
			target.counted[i.PeerIndex] = now
		}
	}
}

// unseen are the ways through a target's devices on which packets were counted
// and none was seen. Everything else that can become of packets is taken for
// what became of these: a way is unseen only where nothing accounts for it.
func (t *Tracer) unseen(of *target, result *Target, states []*pathState, counted map[string][2]Total) []Unseen {
	if of.gone || of.hostMode || t.cfg.budgeted() {
		return nil
	}
	var found []Unseen
	for _, direction := range []Direction{Ingress, Egress} {
		account := result.Accounting[direction]
		explained := account.Dropped + account.Merged + account.Evicted + account.Cut + t.account(of)[direction].Unpathed
		for _, skip := range result.Skipped[direction] {
			explained += skip.Count
		}
		for _, i := range of.interfaces {
			before, known := of.counted[i.PeerIndex]
			now, there := counted[i.Peer]
			if !known || !there || passes(states, direction, i.Index) {
				continue
			}
			// what is sent towards the target arrives at it
			packets := now[1-direction].since(before[1-direction]).Packets
			if packets < explained+fewPackets {
				continue
			}
			// only now: to look for those under way takes a walk over the whole table
			if packets = grown(packets, explained+t.underWay(of, direction)); packets >= fewPackets {
				found = append(found, Unseen{Direction: direction, Device: i.Name, Peer: i.Peer, Packets: packets})
			}
		}
	}
	return found
}

// longUnderWay is how long packets are on their way at most, unless something
// holds them. What has taken them out of the stack without a word leaves their
// journeys under way until the memory of the packets is used again.
const longUnderWay = uint64(time.Second)

// underWay is how many of a target's journeys may still end.
func (t *Tracer) underWay(of *target, direction Direction) (n uint64) {
	now := uint64(monotonic())
	if !t.ended.IsZero() {
		now -= uint64(time.Since(t.ended))
	}
	t.kernel.mem.eachLive(func(slot int, targets [2]uint16) {
		held := t.hostQueue || now < t.kernel.mem.slots[slot].Start+longUnderWay
		if held && int(targets[direction]) == of.number+1 {
			n++
		}
	})
	return n
}

// passes tells whether a journey of that direction was seen at a target's own device.
func passes(states []*pathState, direction Direction, device int) bool {
	hook := journey.DeviceIngress
	if direction == Egress {
		hook = journey.DeviceEgress
	}
	return slices.ContainsFunc(states, func(state *pathState) bool {
		if state.egress != (direction == Egress) || len(state.series) == 0 || state.series[0].total.Count() == 0 {
			return false
		}
		for i, h := range state.hooks {
			if h == hook && state.ifindex[i] == device {
				return true
			}
		}
		return false
	})
}

// lastLook reads once more what predicts paths, before everything is detached:
// what has changed since the last look was no deviation. Where the host cannot
// be read any more, what was known before stays.
func (t *Tracer) lastLook() {
	if t.kernel == nil || t.ways == nil {
		return
	}
	counted, err := readDevices(t.host)
	if err == nil {
		t.counted = counted
	}
	if view, err := topology.ReadBrief(t.host); err == nil {
		err = t.learn(view)
		t.cfg.Log.Debug("look at the wiring for the last time", "error", err)
	}
}

// unpredictedSince are those that had packets since prev.
func unpredictedSince(now, prev []Unpredicted) []Unpredicted {
	var all []Unpredicted
	for _, u := range now {
		if i := slices.IndexFunc(prev, func(p Unpredicted) bool { return p.Path == u.Path }); i >= 0 {
			u.Packets = grown(u.Packets, prev[i].Packets)
		}
		if u.Packets > 0 {
			all = append(all, u)
		}
	}
	return all
}

// unseenSince are those whose devices have counted more since prev.
func unseenSince(now, prev []Unseen) []Unseen {
	var all []Unseen
	for _, u := range now {
		same := func(p Unseen) bool { return p.Direction == u.Direction && p.Device == u.Device && p.Peer == u.Peer }
		if i := slices.IndexFunc(prev, same); i >= 0 {
			u.Packets = grown(u.Packets, prev[i].Packets)
		}
		if u.Packets > 0 {
			all = append(all, u)
		}
	}
	return all
}
