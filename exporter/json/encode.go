// Package json writes snapshots as JSON documents, and reads them back. The
// contract is docs/schema.json.
//
//	tracer.Snapshot <-> document (explicit structs) <-> JSON
package json

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

// Options say how to write. The zero value writes one line.
type Options struct {
	Indent bool // for people: two spaces a level
}

// Encode writes the snapshot as one document that ends with a line end.
func Encode(w io.Writer, s tracer.Snapshot, o Options) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if o.Indent {
		e.SetIndent("", "  ")
	}
	if err := e.Encode(encode(s)); err != nil {
		return fmt.Errorf("write json document: %w", err)
	}
	return nil
}

// EncodeLine writes the snapshot as one line, for a stream of them (ndjson).
func EncodeLine(w io.Writer, s tracer.Snapshot) error {
	return Encode(w, s, Options{})
}

// EncodeJourneys writes journeys alone, as the document's "journeys" has them:
// {"journeys": [...]}.
func EncodeJourneys(w io.Writer, journeys []tracer.Journey, o Options) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if o.Indent {
		e.SetIndent("", "  ")
	}
	d := struct {
		Journeys []journey `json:"journeys"`
	}{all(journeys, encodeJourney)}
	if err := e.Encode(d); err != nil {
		return fmt.Errorf("write journeys as json: %w", err)
	}
	return nil
}

// all converts a slice; an empty one stays a list, never null.
func all[From, To any](from []From, convert func(From) To) []To {
	to := make([]To, len(from))
	for i, f := range from {
		to[i] = convert(f)
	}
	return to
}

func same[T any](v T) T { return v }

func encode(s tracer.Snapshot) document {
	return document{
		Schema:    Schema,
		Version:   s.Version,
		Kernel:    s.Kernel,
		Detail:    string(s.Detail),
		Start:     s.Start.UTC().Format(time.RFC3339Nano),
		DurationS: s.Duration.Seconds(),
		Targets:   all(s.Targets, encodeTarget),
		Journeys:  all(s.Journeys, encodeJourney),
		Observer:  encodeObserver(s.Observer),
		Notes:     all(s.Notes, same),
		Hooks: all(s.Hooks, func(a tracer.Attachment) attached {
			return attached{Hook: a.Hook, Provider: string(a.Provider), Links: a.Links}
		}),
		Missing: all(s.Missing, func(m tracer.Missing) missing { return missing(m) }),

		Environment: s.Environment,
	}
}

func encodeTarget(t tracer.Target) target {
	d := target{
		Name:       t.Name,
		Aliases:    all(t.Aliases, same),
		ID:         t.ID,
		Mode:       t.Mode,
		PID:        t.PID,
		Netns:      t.Netns,
		Gone:       t.Gone,
		Interfaces: all(t.Interfaces, encodeInterface),
		Ports:      all(t.Ports, encodePort),
		Paths:      all(t.Paths, encodePath),
		Waiting: waiting{
			Transport: encodeLatency(t.Waiting.Transport),
			Reader:    encodeLatency(t.Waiting.Reader),
			Share:     t.Waiting.Share,
		},
		Accounting: directed[accounting]{
			Ingress: accounting(t.Accounting[tracer.Ingress]),
			Egress:  accounting(t.Accounting[tracer.Egress]),
		},
		Skipped: directed[[]skip]{
			Ingress: all(t.Skipped[tracer.Ingress], func(s tracer.Skip) skip { return skip(s) }),
			Egress:  all(t.Skipped[tracer.Egress], func(s tracer.Skip) skip { return skip(s) }),
		},
		Drops: all(t.Drops, encodeDrop),
		Unpredicted: all(t.Unpredicted, func(u tracer.Unpredicted) unpredicted {
			return unpredicted{u.Path, u.Packets, u.After, u.Seen, all(u.Predicted, same)}
		}),
		Unseen: all(t.Unseen, func(u tracer.Unseen) unseen {
			return unseen{u.Direction.String(), u.Device, u.Peer, u.Packets}
		}),
	}
	if t.Totals != nil {
		d.Totals = &directed[total]{total(t.Totals[tracer.Ingress]), total(t.Totals[tracer.Egress])}
	}
	if t.Proxied != nil {
		d.Proxied = &proxied{PID: t.Proxied.PID, Proxy: encodeLatency(t.Proxied.Proxy)}
	}
	return d
}

func encodeDrop(d tracer.Drop) drop {
	return drop{
		Direction: d.Direction.String(), Hop: d.Hop, Reason: d.Reason, Count: d.Count,
		Rules: all(d.Rules, func(r tracer.DropRule) dropRule { return dropRule{r.Count, r.Packet, (*rule)(r.Rule), r.Why} }),
	}
}

func encodeInterface(i tracer.Interface) netInterface {
	d := netInterface{
		Name: i.Name, Index: i.Index, Peer: i.Peer, PeerIndex: i.PeerIndex, Bridge: i.Bridge,
		Addrs: make([]string, len(i.Addrs)),
	}
	for n, a := range i.Addrs {
		d.Addrs[n] = a.String()
	}
	return d
}

func encodePort(p tracer.Port) port {
	d := port{Host: p.Host.Port(), Container: p.Container, Protocol: p.Protocol}
	if a := p.Host.Addr(); a.IsValid() {
		d.HostAddr = a.String()
	}
	return d
}

func encodePath(p tracer.Path) path {
	return path{
		ID: p.ID, Family: p.Family, Protocol: p.Protocol, Direction: p.Direction.String(),
		Peer: p.Peer, Leg: p.Leg(), Flow: p.Flow, Packets: p.Packets, Segments: p.Segments, Bytes: p.Bytes,
		Latency: encodeLatency(p.Latency),
		Hops:    all(p.Hops, encodeHop),
	}
}

func encodeHop(h tracer.Hop) hop {
	d := hop{
		Index: h.Index, Name: h.Name, Side: h.Side.String(), Device: h.Device, From: h.From, To: h.To,
		Count: h.Latency.Hist.Count(), Latency: encodeLatency(h.Latency),
		Functions: all(h.Functions, func(f tracer.Function) function {
			return function{
				Name: f.Name, Depth: f.Depth, SinceNs: f.SinceNs,
				Inclusive: encodeLatency(f.Inclusive), Exclusive: encodeLatency(f.Exclusive),
			}
		}),
	}
	if len(h.Functions) > 0 && h.Own != nil {
		own := encodeLatency(*h.Own)
		d.Own = &own
	}
	return d
}

func encodeLatency(l tracer.Latency) latency {
	raw, corrected := l.Raw(), l.Corrected()
	d := latency{
		Count: raw.Count,
		Corrected: summary[float64]{
			corrected.SumNs, corrected.MeanNs,
			corrected.P50Ns, corrected.P90Ns, corrected.P99Ns, corrected.P999Ns, corrected.MaxNs,
		},
		Raw: summary[uint64]{
			l.Hist.Sum, raw.MeanNs, raw.P50Ns, raw.P90Ns, raw.P99Ns, raw.P999Ns, raw.MaxNs,
		},
		Null:    null(l.Null),
		Buckets: [][2]uint64{},
		Rounds: all(l.Rounds, func(r tracer.Round) round {
			return round{StartS: r.Start.Seconds(), Count: r.Count, SumNs: r.SumNs, P50Ns: r.P50Ns}
		}),
	}
	l.Hist.Each(func(lower, count uint64) {
		d.Buckets = append(d.Buckets, [2]uint64{lower, count})
	})
	return d
}

func encodeJourney(j tracer.Journey) journey {
	return journey{
		ID: j.ID, Target: j.Target, Path: j.Path, Direction: j.Direction.String(), Peer: j.Peer,
		Outcome: j.Outcome, Reason: j.Reason, Slow: j.Slow, Bytes: j.Bytes,
		Stamps: all(j.Stamps, func(s tracer.Stamp) stamp {
			return stamp{Hook: s.Hook, Hop: s.Hop, Device: s.Device, CPU: s.CPU, TNs: int64(s.T)}
		}),
	}
}

func encodeObserver(o tracer.Observer) observer {
	d := observer{
		StampNs: o.StampNs, Stamps: o.Stamps, CPUShare: o.CPUShare, RecursionMisses: o.RecursionMisses,
		Recorded: &o.Recorded, RingLost: o.RingLost, Unpathed: o.Unpathed, CallsLost: o.CallsLost, ObservedS: new(o.Observed.Seconds()),
	}
	if d.StampNs == nil {
		d.StampNs = map[string]float64{}
	}
	if o.Budget != nil {
		d.Budget = &budget{MaxShare: o.Budget.MaxShare, State: string(o.Budget.State), Windows: o.Budget.Windows}
	}
	if c := o.SelfCheck; c != nil {
		d.SelfCheck = &selfCheck{
			Pairs: c.Pairs, WindowS: c.WindowS, CPU: encodeRatio(c.CPU), Rate: encodeRatio(c.Rate),
			CPUNs: c.CPUNs, AddedNs: c.AddedNs, Same: encodeRatio(c.Same), Unreliable: c.Unreliable,
		}
	}
	return d
}

// encodeRatio is null for a ratio that was not measured.
func encodeRatio(r tracer.Ratio) *ratio {
	if r == (tracer.Ratio{}) {
		return nil
	}
	return &ratio{r.Value, r.Low, r.High}
}
