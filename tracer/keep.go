package tracer

import (
	"slices"
	"time"
)

// forget lets go of targets that have been gone for longer than the
// configuration keeps them, so that a run of weeks does not grow. What other
// targets had to do with them stays theirs, under one peer; t.mu is held.
func (t *Tracer) forget(now time.Time) {
	if t.cfg.Keep <= 0 {
		return
	}
	old := func(of *target) bool { return of.gone && now.Sub(of.end) > t.cfg.Keep }
	if !slices.ContainsFunc(t.removed, old) && len(t.seen.retired) == 0 {
		return
	}
	null := t.nulls()
	for _, of := range t.removed {
		if old(of) {
			t.forgotten.unpathed += of.account[Ingress].Unpathed + of.account[Egress].Unpathed
		}
	}
	t.removed = slices.DeleteFunc(t.removed, old)
	kept := t.seen.retired[:0]
	for _, state := range t.seen.retired {
		switch {
		case old(state.target):
			t.forgotten.add(state, null)
			continue
		case !state.target.gone && now.Sub(state.end) > t.cfg.Keep && fold(kept, state):
			continue
		}
		kept = append(kept, state)
	}
	clear(t.seen.retired[len(kept):])
	t.seen.retired = kept
}

// forgotten is what targets that are kept no longer have had a part in: counts of
// the whole run do not go back when they go.
type forgotten struct {
	stamps   uint64
	cost     float64 // ns
	unpathed uint64
}

// add counts the stamps of a path, and what they cost.
func (f *forgotten) add(state *pathState, null nullLines) {
	if len(state.series) == 0 {
		return
	}
	count := state.series[0].total.Count()
	f.stamps += count * uint64(len(state.hooks))
	for _, hook := range state.hooks {
		f.cost += float64(count) * null.of(hook).MeanNs
	}
}

// goneName stands for peers that have been gone for long.
const goneName = "container:gone"

// fold adds a path to one with the same hops to a peer that has been gone for
// long, or makes it such a one; false: it stays.
func fold(kept []*pathState, state *pathState) bool {
	if state.peerName == goneName {
		return false
	}
	for _, into := range kept {
		same := into.peerName == goneName && into.target == state.target && into.egress == state.egress &&
			into.protocol == state.protocol && into.flags == state.flags && slices.Equal(into.hooks, state.hooks)
		if !same {
			continue
		}
		for i, s := range into.series {
			s.total.Merge(&state.series[i].total)
			s.segments += state.series[i].segments
			s.bytes += state.series[i].bytes
		}
		return true
	}
	state.peerName = goneName
	return false
}
