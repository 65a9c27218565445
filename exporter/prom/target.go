package prom

import (
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

// life makes of a target what its series say. What a snapshot has is not
// changed, and its histograms are kept until the next one.
func (c *Collector) life(t *tracer.Target, traced time.Duration) life {
	id := lifeID{t.ID, t.Name, t.PID, t.Netns}
	seen := c.spans.of(id, !t.Gone, traced)
	name := seen.name
	return life{name: name, shared: seen.shared, id: id, running: !t.Gone, tell: func(b *book) {
		c.tell(b, name, t)
		b.count(observed, seen.seconds(), name)
	}}
}

func (c *Collector) tell(b *book, name string, t *tracer.Target) {
	for direction, a := range t.Accounting {
		way := tracer.Direction(direction).String()
		b.count(started, float64(a.Started), name, way)
		for _, o := range outcomes(a) {
			b.count(packets, float64(o.n), name, way, o.name)
		}
		for _, s := range t.Skipped[direction] {
			b.count(skipped, float64(s.Count), name, way, c.reasons.of(s.Reason))
		}
	}
	for i := range t.Drops {
		d := &t.Drops[i]
		b.count(drops, float64(d.Count), name, d.Direction.String(), c.hops.of(d.Hop), c.reasons.of(d.Reason))
	}
	for i := range t.Paths {
		c.path(b, name, &t.Paths[i])
	}
	if t.Waiting.Transport.Hist.Count() > 0 {
		b.observe(waitingLatency, &t.Waiting.Transport.Hist, name, "transport")
	}
	if t.Waiting.Reader.Hist.Count() > 0 {
		b.observe(waitingLatency, &t.Waiting.Reader.Hist, name, "reader")
	}
	if t.Proxied != nil {
		b.observe(proxyLatency, &t.Proxied.Proxy.Hist, name)
	}
	if t.Totals != nil {
		for direction, total := range t.Totals {
			way := tracer.Direction(direction).String()
			b.count(devicePackets, float64(total.Packets), name, way)
			b.count(deviceBytes, float64(total.Bytes), name, way)
		}
	}
}

func (c *Collector) path(b *book, name string, p *tracer.Path) {
	way, peer := p.Direction.String(), peerKind(p.Peer)
	b.observe(pathLatency, &p.Latency.Hist, name, way, peer, p.Flow)
	b.count(pathBytes, float64(p.Bytes), name, way, peer)
	b.count(segments, float64(p.Segments), name, way, peer)
	for i := range p.Hops {
		h := &p.Hops[i]
		b.observe(hopLatency, &h.Latency.Hist, name, way, h.Side.String(), c.hops.of(h.Name))
	}
}

// peerKind is the peer without a name: there are as many of those as containers.
func peerKind(peer string) string {
	kind, _, _ := strings.Cut(peer, ":")
	return kind
}

// outcome is how many journeys ended so.
type outcome struct {
	name string
	n    uint64
}

// outcomes are all of them, also those that have not happened, once journeys
// have begun: a rate needs what was before. Most of many containers are idle.
func outcomes(a tracer.Accounting) []outcome {
	if a.Started+a.Cloned == 0 {
		return nil
	}
	return []outcome{
		{"completed", a.Completed},
		{"dropped", a.Dropped},
		{"merged", a.Merged},
		{"evicted", a.Evicted},
		{"expired", a.Expired},
		{"cut", a.Cut},
		{"cloned", a.Cloned},
	}
}
