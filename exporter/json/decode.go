package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// VersionError is returned by Decode for a document of another schema.
type VersionError struct {
	Schema int // of the document, 0 when it does not say
}

// Error says what can be done.
func (e *VersionError) Error() string {
	if e.Schema == 0 {
		return "not a vethtrace document: it has no key schema"
	}
	return fmt.Sprintf("document has schema %d, this vethtrace reads %d: use the version that wrote it", e.Schema, Schema)
}

// Decode reads one document that Encode wrote; nothing but white space may
// follow. It is strict: an unknown key, a bucket that does not exist, or counts
// that contradict each other are errors that name the place. A document of
// another schema is a *VersionError. Summaries are not read but made anew from
// the buckets.
func Decode(r io.Reader) (tracer.Snapshot, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return tracer.Snapshot{}, fmt.Errorf("read json document: %w", err)
	}
	return DecodeLine(data)
}

// DecodeLine is Decode for a document that is in memory, as a line of ndjson.
func DecodeLine(data []byte) (tracer.Snapshot, error) {
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return tracer.Snapshot{}, fmt.Errorf("read json document: %w", explain(data, err))
	}
	if head.Schema != Schema {
		return tracer.Snapshot{}, fmt.Errorf("read json document: %w", &VersionError{Schema: head.Schema})
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var doc document
	if err := d.Decode(&doc); err != nil {
		return tracer.Snapshot{}, fmt.Errorf("read json document: %w", explain(data, err))
	}
	s, err := decode(doc)
	if err != nil {
		return tracer.Snapshot{}, fmt.Errorf("read json document: %w", err)
	}
	return s, nil
}

// explain adds the line to an error of syntax.
func explain(data []byte, err error) error {
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) && other.Field == "" {
		return fmt.Errorf("it is a JSON %s, not an object", other.Value)
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("it is empty")
	}
	at := min(int(syntax.Offset), len(data))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:at], []byte("\n")), err)
}

// each converts a slice and names the element that cannot be.
func each[From, To any](key string, from []From, convert func(From) (To, error)) ([]To, error) {
	if len(from) == 0 {
		return nil, nil
	}
	to := make([]To, len(from))
	for i, f := range from {
		var err error
		if to[i], err = convert(f); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", key, i, err)
		}
	}
	return to, nil
}

func sure[From, To any](convert func(From) To) func(From) (To, error) {
	return func(f From) (To, error) { return convert(f), nil }
}

func decode(d document) (s tracer.Snapshot, err error) {
	s = tracer.Snapshot{
		Version: d.Version, Kernel: d.Kernel, Detail: tracer.Detail(d.Detail),
		Environment: d.Environment,
	}
	if s.Observer, err = decodeObserver(d.Observer, d.DurationS); err != nil {
		return s, err
	}
	switch s.Detail {
	case tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables, tracer.DetailFunctions:
	default:
		return s, fmt.Errorf("detail: %q is not devices, hooks, tables or functions", d.Detail)
	}
	if s.Start, err = time.Parse(time.RFC3339Nano, d.Start); err != nil {
		return s, fmt.Errorf("start: %w", err)
	}
	s.Start = s.Start.UTC()
	if s.Duration, err = seconds(d.DurationS); err != nil {
		return s, fmt.Errorf("duration_s: %w", err)
	}
	if s.Targets, err = each("targets", d.Targets, decodeTarget); err != nil {
		return s, err
	}
	if s.Journeys, err = each("journeys", d.Journeys, decodeJourney); err != nil {
		return s, err
	}
	if s.Hooks, err = each("hooks", d.Hooks, sure(func(a attached) tracer.Attachment {
		return tracer.Attachment{Hook: a.Hook, Provider: tracer.Provider(a.Provider), Links: a.Links}
	})); err != nil {
		return s, err
	}
	if s.Missing, err = each("missing", d.Missing, sure(func(m missing) tracer.Missing { return tracer.Missing(m) })); err != nil {
		return s, err
	}
	s.Notes, err = each("notes", d.Notes, sure(same[string]))
	return s, err
}

func decodeTarget(d target) (t tracer.Target, err error) {
	t = tracer.Target{Name: d.Name, ID: d.ID, Mode: d.Mode, PID: d.PID, Netns: d.Netns, Gone: d.Gone}
	t.Accounting[tracer.Ingress] = tracer.Accounting(d.Accounting.Ingress)
	t.Accounting[tracer.Egress] = tracer.Accounting(d.Accounting.Egress)
	t.Waiting.Share = d.Waiting.Share
	toSkip := sure(func(s skip) tracer.Skip { return tracer.Skip(s) })
	for _, step := range []func() error{
		func() (err error) { t.Aliases, err = each("aliases", d.Aliases, sure(same[string])); return err },
		func() (err error) { t.Interfaces, err = each("interfaces", d.Interfaces, decodeInterface); return err },
		func() (err error) { t.Ports, err = each("ports", d.Ports, decodePort); return err },
		func() (err error) { t.Paths, err = each("paths", d.Paths, decodePath); return err },
		func() (err error) { t.Drops, err = each("drops", d.Drops, decodeDrop); return err },
		func() (err error) {
			t.Unpredicted, err = each("unpredicted", d.Unpredicted, decodeUnpredicted)
			return err
		},
		func() (err error) { t.Unseen, err = each("unseen", d.Unseen, decodeUnseen); return err },
		func() (err error) { t.Skipped[0], err = each("skipped.ingress", d.Skipped.Ingress, toSkip); return err },
		func() (err error) { t.Skipped[1], err = each("skipped.egress", d.Skipped.Egress, toSkip); return err },
		func() (err error) {
			t.Waiting.Transport, err = decodeLatency("waiting.transport", d.Waiting.Transport)
			return err
		},
		func() (err error) {
			t.Waiting.Reader, err = decodeLatency("waiting.reader", d.Waiting.Reader)
			return err
		},
	} {
		if err := step(); err != nil {
			return t, err
		}
	}
	if d.Totals != nil {
		t.Totals = &[2]tracer.Total{tracer.Total(d.Totals.Ingress), tracer.Total(d.Totals.Egress)}
	}
	if d.Proxied != nil {
		t.Proxied = &tracer.Proxied{PID: d.Proxied.PID}
		t.Proxied.Proxy, err = decodeLatency("proxied.proxy", d.Proxied.Proxy)
	}
	return t, err
}

func decodeInterface(d netInterface) (tracer.Interface, error) {
	addrs, err := each("addrs", d.Addrs, netip.ParseAddr)
	return tracer.Interface{
		Name: d.Name, Index: d.Index, Peer: d.Peer, PeerIndex: d.PeerIndex, Bridge: d.Bridge, Addrs: addrs,
	}, err
}

func decodePort(d port) (tracer.Port, error) {
	var addr netip.Addr
	if d.HostAddr != "" {
		var err error
		if addr, err = netip.ParseAddr(d.HostAddr); err != nil {
			return tracer.Port{}, fmt.Errorf("host_addr: %w", err)
		}
	}
	return tracer.Port{Host: netip.AddrPortFrom(addr, d.Host), Container: d.Container, Protocol: d.Protocol}, nil
}

func decodePath(d path) (p tracer.Path, err error) {
	p = tracer.Path{
		ID: d.ID, Family: d.Family, Protocol: d.Protocol, Peer: d.Peer, Flow: d.Flow,
		Packets: d.Packets, Segments: d.Segments, Bytes: d.Bytes,
	}
	if p.Direction, err = direction(d.Direction); err != nil {
		return p, err
	}
	if p.Latency, err = decodeLatency("latency", d.Latency); err != nil {
		return p, err
	}
	p.Hops, err = each("hops", d.Hops, decodeHop)
	return p, err
}

func decodeHop(d hop) (h tracer.Hop, err error) {
	h = tracer.Hop{Index: d.Index, Name: d.Name, Device: d.Device, From: d.From, To: d.To}
	switch d.Side {
	case tracer.SideHost.String():
		h.Side = tracer.SideHost
	case tracer.SideTarget.String():
		h.Side = tracer.SideTarget
	default:
		return h, fmt.Errorf("side: %q is neither host nor target", d.Side)
	}
	if d.Count != d.Latency.Count {
		return h, fmt.Errorf("count is %d, latency.count %d", d.Count, d.Latency.Count)
	}
	if h.Latency, err = decodeLatency("latency", d.Latency); err != nil {
		return h, err
	}
	if d.Own != nil {
		own, err := decodeLatency("own", *d.Own)
		if err != nil {
			return h, err
		}
		h.Own = &own
	}
	h.Functions, err = each("functions", d.Functions, decodeFunction)
	return h, err
}

func decodeFunction(d function) (f tracer.Function, err error) {
	f = tracer.Function{Name: d.Name, Depth: d.Depth, SinceNs: d.SinceNs}
	if f.Inclusive, err = decodeLatency("inclusive", d.Inclusive); err != nil {
		return f, err
	}
	f.Exclusive, err = decodeLatency("exclusive", d.Exclusive)
	return f, err
}

func decodeLatency(key string, d latency) (l tracer.Latency, err error) {
	l.Null = tracer.Null(d.Null)
	l.Hist.Sum, l.Hist.Max = d.Raw.SumNs, d.Raw.MaxNs
	for i, b := range d.Buckets {
		at := histogram.Index(b[0])
		if histogram.Lower(at) != b[0] {
			return l, fmt.Errorf("%s.buckets[%d]: no bucket starts at %d ns", key, i, b[0])
		}
		if i > 0 && b[0] <= d.Buckets[i-1][0] {
			return l, fmt.Errorf("%s.buckets[%d]: %d ns comes after %d ns", key, i, b[0], d.Buckets[i-1][0])
		}
		if at == histogram.Buckets {
			l.Hist.Overflow = b[1]
		} else {
			l.Hist.Counts[at] = b[1]
		}
	}
	if n := l.Hist.Count(); n != d.Count {
		return l, fmt.Errorf("%s: count is %d, the buckets have %d", key, d.Count, n)
	}
	l.Rounds, err = each(key+".rounds", d.Rounds, func(r round) (tracer.Round, error) {
		start, err := seconds(r.StartS)
		return tracer.Round{Start: start, Count: r.Count, SumNs: r.SumNs, P50Ns: r.P50Ns}, err
	})
	return l, err
}

func decodeDrop(d drop) (tracer.Drop, error) {
	dir, err := direction(d.Direction)
	drop := tracer.Drop{Direction: dir, Hop: d.Hop, Reason: d.Reason, Count: d.Count}
	for _, r := range d.Rules {
		drop.Rules = append(drop.Rules, tracer.DropRule{Count: r.Count, Packet: r.Packet, Rule: (*tracer.NetfilterRule)(r.Rule), Why: r.Why})
	}
	return drop, err
}

func decodeJourney(d journey) (j tracer.Journey, err error) {
	j = tracer.Journey{
		ID: d.ID, Target: d.Target, Path: d.Path, Peer: d.Peer, Outcome: d.Outcome, Reason: d.Reason,
		Slow: d.Slow, Bytes: d.Bytes,
	}
	if j.Direction, err = direction(d.Direction); err != nil {
		return j, err
	}
	j.Stamps, err = each("stamps", d.Stamps, sure(func(s stamp) tracer.Stamp {
		return tracer.Stamp{Hook: s.Hook, Hop: s.Hop, Device: s.Device, CPU: s.CPU, T: time.Duration(s.TNs)}
	}))
	return j, err
}

func direction(name string) (tracer.Direction, error) {
	switch name {
	case tracer.Ingress.String():
		return tracer.Ingress, nil
	case tracer.Egress.String():
		return tracer.Egress, nil
	}
	return 0, fmt.Errorf("direction: %q is neither ingress nor egress", name)
}

// seconds is exact to the nanosecond for what Encode wrote.
func seconds(s float64) (time.Duration, error) {
	ns := math.Round(s * float64(time.Second))
	if !(ns >= 0 && ns < math.MaxInt64) {
		return 0, fmt.Errorf("%g s is no duration", s)
	}
	return time.Duration(ns), nil
}
