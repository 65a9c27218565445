package tracer

import (
	"slices"
	"time"
)

// Since returns what happened after prev, an older snapshot of the same
// tracer: everything that only grows is subtracted, and Start and Duration
// become those of the interval. Targets are matched by container ID (name where
// there is none) and namespace, paths by ID; what prev does not know counts in
// full. Kept as they are: what describes (names, ports, notes), null hops, and
// Accounting.InFlight, which is a state and not a count, so that Balance has no
// meaning in an interval. A zero prev subtracts nothing.
func (s Snapshot) Since(prev Snapshot) Snapshot {
	d := s
	d.Start = s.Start.Add(prev.Duration)
	d.Duration = max(s.Duration-prev.Duration, 0)
	old := make(map[targetKey]Target, len(prev.Targets))
	for _, t := range prev.Targets {
		old[t.key()] = t
	}
	d.Targets = nil
	for _, t := range s.Targets {
		d.Targets = append(d.Targets, t.since(old[t.key()], prev.Duration))
	}
	seen := make(map[uint64]bool, len(prev.Journeys))
	for _, j := range prev.Journeys {
		seen[j.ID] = true
	}
	d.Journeys = nil
	for _, j := range s.Journeys {
		if !seen[j.ID] {
			d.Journeys = append(d.Journeys, j)
		}
	}
	d.Observer = s.Observer.since(prev.Observer, s.Duration, prev.Duration)
	return d
}

// targetKey is what makes two snapshots' targets the same one.
type targetKey struct {
	id    string
	netns uint64
}

func (t Target) key() targetKey {
	if t.ID == "" {
		return targetKey{id: t.Name, netns: t.Netns}
	}
	return targetKey{id: t.ID, netns: t.Netns}
}

func (t Target) since(prev Target, start time.Duration) Target {
	d := t
	old := make(map[string]Path, len(prev.Paths))
	for _, p := range prev.Paths {
		old[p.ID] = p
	}
	d.Paths = nil
	for _, p := range t.Paths {
		d.Paths = append(d.Paths, p.since(old[p.ID], start))
	}
	d.Waiting = Waiting{
		Transport: t.Waiting.Transport.since(prev.Waiting.Transport, start),
		Reader:    t.Waiting.Reader.since(prev.Waiting.Reader, start),
		Share: shareSince(t.Waiting.Share, float64(t.Accounting[Ingress].Completed),
			prev.Waiting.Share, float64(prev.Accounting[Ingress].Completed)),
	}
	for dir := range t.Accounting {
		d.Accounting[dir] = t.Accounting[dir].since(prev.Accounting[dir])
		d.Skipped[dir] = skipsSince(t.Skipped[dir], prev.Skipped[dir])
	}
	d.Drops = dropsSince(t.Drops, prev.Drops)
	d.Unpredicted, d.Unseen = unpredictedSince(t.Unpredicted, prev.Unpredicted), unseenSince(t.Unseen, prev.Unseen)
	if t.Totals != nil && prev.Totals != nil {
		d.Totals = &[2]Total{t.Totals[0].since(prev.Totals[0]), t.Totals[1].since(prev.Totals[1])}
	}
	if t.Proxied != nil && prev.Proxied != nil && t.Proxied.PID == prev.Proxied.PID {
		d.Proxied = &Proxied{PID: t.Proxied.PID, Proxy: t.Proxied.Proxy.since(prev.Proxied.Proxy, start)}
	}
	return d
}

func (p Path) since(prev Path, start time.Duration) Path {
	d := p
	d.Packets = grown(p.Packets, prev.Packets)
	d.Segments = grown(p.Segments, prev.Segments)
	d.Bytes = grown(p.Bytes, prev.Bytes)
	d.Latency = p.Latency.since(prev.Latency, start)
	d.Hops = slices.Clone(p.Hops)
	for i := range d.Hops {
		if i < len(prev.Hops) {
			d.Hops[i].Latency = p.Hops[i].Latency.since(prev.Hops[i].Latency, start)
			d.Hops[i].Own = ownSince(p.Hops[i].Own, prev.Hops[i].Own)
			d.Hops[i].Functions = callsSince(p.Hops[i].Functions, prev.Hops[i].Functions)
		}
	}
	return d
}

func (l Latency) since(prev Latency, start time.Duration) Latency {
	d := Latency{Hist: l.Hist.Sub(&prev.Hist), Null: l.Null}
	for _, r := range l.Rounds {
		if n := len(prev.Rounds); n > 0 && r.Start <= prev.Rounds[n-1].Start {
			continue
		}
		r.Start = max(r.Start-start, 0)
		d.Rounds = append(d.Rounds, r)
	}
	return d
}

func (a Accounting) since(prev Accounting) Accounting {
	return Accounting{
		Started:   grown(a.Started, prev.Started),
		Cloned:    grown(a.Cloned, prev.Cloned),
		Completed: grown(a.Completed, prev.Completed),
		Dropped:   grown(a.Dropped, prev.Dropped),
		Merged:    grown(a.Merged, prev.Merged),
		Evicted:   grown(a.Evicted, prev.Evicted),
		Expired:   grown(a.Expired, prev.Expired),
		Cut:       grown(a.Cut, prev.Cut),
		InFlight:  a.InFlight,
	}
}

func (o Observer) since(prev Observer, now, before time.Duration) Observer {
	d := o
	d.Stamps = grown(o.Stamps, prev.Stamps)
	d.Observed = max(0, o.Observed-prev.Observed)
	if o.Budget != nil && prev.Budget != nil {
		budget := *o.Budget
		budget.Windows = grown(budget.Windows, prev.Budget.Windows)
		d.Budget = &budget
	}
	d.RecursionMisses = grown(o.RecursionMisses, prev.RecursionMisses)
	d.Recorded = grown(o.Recorded, prev.Recorded)
	d.CallsLost = grown(o.CallsLost, prev.CallsLost)
	d.RingLost = grown(o.RingLost, prev.RingLost)
	d.Unpathed = grown(o.Unpathed, prev.Unpathed)
	if now > before {
		d.CPUShare = max(0, (o.CPUShare*now.Seconds()-prev.CPUShare*before.Seconds())/(now-before).Seconds())
	}
	return d
}

// skipsSince and dropsSince leave out what did not grow.
func skipsSince(now, prev []Skip) []Skip {
	old := make(map[string]uint64, len(prev))
	for _, s := range prev {
		old[s.Reason] += s.Count
	}
	var d []Skip
	for _, s := range now {
		if s.Count = grown(s.Count, old[s.Reason]); s.Count > 0 {
			d = append(d, s)
		}
	}
	return d
}

func dropsSince(now, prev []Drop) []Drop {
	type place struct {
		direction   Direction
		hop, reason string
	}
	old := make(map[place]Drop, len(prev))
	for _, p := range prev {
		old[place{p.Direction, p.Hop, p.Reason}] = p
	}
	var d []Drop
	for _, n := range now {
		before := old[place{n.Direction, n.Hop, n.Reason}]
		if n.Count = grown(n.Count, before.Count); n.Count > 0 {
			n.Rules = rulesSince(n.Rules, before.Rules)
			d = append(d, n)
		}
	}
	return d
}

// rulesSince leaves out rules that dropped no more. One that became known
// meanwhile has dropped what was not known before.
func rulesSince(now, prev []DropRule) []DropRule {
	var d []DropRule
	for _, r := range now {
		for _, p := range prev {
			if r.same(p) {
				r.Count = grown(r.Count, p.Count)
			}
		}
		if r.Count > 0 {
			d = append(d, r)
		}
	}
	return d
}

// shareSince is the share among the n-before that are new, given the shares
// among all n and among the older ones.
func shareSince(share, n, oldShare, before float64) float64 {
	if n <= before {
		return share
	}
	return min(max((share*n-oldShare*before)/(n-before), 0), 1)
}

// grown is how much a counter grew. One that shrank started anew with its
// target: all it has is new.
func grown(now, prev uint64) uint64 {
	if now < prev {
		return now
	}
	return now - prev
}
