package tracer

import (
	"errors"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/vethtrace/vethtrace/tracer/journey"
)

// mostRecords are kept; then the oldest go.
const mostRecords = 1024

// readRecords takes journeys from the ring until it is flushed at the end.
func (t *Tracer) readRecords() {
	var raw ringbuf.Record
	calls := map[time.Duration][]journey.Call{}
	for {
		err := t.ring.ReadInto(&raw)
		switch {
		case errors.Is(err, ringbuf.ErrFlushed):
			return
		case errors.Is(err, ringbuf.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			t.cfg.Log.Error("read journeys", "error", err)
			return
		}
		record, err := t.decode(raw.RawSample, calls)
		if err != nil {
			t.cfg.Log.Error("a journey that cannot be read", "error", err)
		}
		if err != nil || record.Stamps == nil {
			continue
		}
		t.mu.Lock()
		t.seen.record(record)
		t.mu.Unlock()
	}
}

// record keeps one, and lets go of the oldest. It counts once for each target,
// as it is shown.
func (c *collection) record(record journey.Record) {
	for _, number := range record.Targets {
		if number >= 0 {
			c.recorded++
		}
	}
	c.records = append(c.records, record)
	if over := len(c.records) - mostRecords; over > 0 {
		c.records = c.records[over:]
	}
}

// mostCalls is how many journeys' calls wait for their records: those of other
// CPUs may come in between.
const mostCalls = 1024

// decode reads a record. That of a journey's calls comes before that of the
// journey, which takes them over by its start; it is an empty one itself.
func (t *Tracer) decode(raw []byte, waiting map[time.Duration][]journey.Call) (journey.Record, error) {
	if journey.IsCalls(raw) {
		calls, err := journey.DecodeCalls(raw)
		if len(waiting) >= mostCalls {
			clear(waiting) // their records found the ring full
		}
		waiting[calls.Start] = calls.Calls
		return journey.Record{}, err
	}
	record, err := journey.Decode(raw)
	record.Calls = waiting[record.Start]
	delete(waiting, record.Start)
	return record, err
}

// journey is what a record means, once for each of its targets that is still known.
func (t *Tracer) journey(record journey.Record) []Journey {
	var journeys []Journey
	for direction, number := range record.Targets {
		if number < 0 || number >= len(t.targets) || t.targets[number] == nil {
			continue
		}
		of := t.targets[number]
		j := Journey{
			ID: uint64(record.Start), Target: of.spec.Name, Direction: Direction(direction),
			Outcome: "completed", Slow: record.Slow, Bytes: record.Length,
		}
		if key := record.Keys[direction]; key != 0 {
			j.Path = t.seen.pathID(key, record.Peers[direction])
		}
		if record.Dropped {
			j.Outcome, j.Reason = "dropped", t.kernel.reason(record.Reason)
		}
		hooks := make([]journey.Hook, len(record.Stamps))
		ifindex := make([]int, len(record.Stamps))
		for i, stamp := range record.Stamps {
			hooks[i], ifindex[i] = stamp.Hook, stamp.Ifindex
		}
		j.Peer = t.peerOf(of, record.Peers[direction], j.Direction == Egress, hooks, ifindex)
		hops := journey.Hops(hooks, t.naming(of))
		devices := inside{of.devices, t.devicesOfPeer(of, record.Peers[direction]), j.Direction == Egress}
		for i, stamp := range record.Stamps {
			s := Stamp{Hook: stamp.Hook.String(), Device: t.nameOf(devices, hooks, ifindex, i), CPU: stamp.CPU, T: stamp.T}
			if i > 0 {
				s.Hop = hops[i-1].Name
				j.Stamps = append(j.Stamps, t.callStamps(record, i, s)...)
			}
			j.Stamps = append(j.Stamps, s)
		}
		journeys = append(journeys, j)
	}
	return journeys
}

// callStamps are the calls inside the hop that a stamp ends: of the hop's name,
// device and CPU, which a hop has one of.
func (t *Tracer) callStamps(record journey.Record, hop int, end Stamp) []Stamp {
	if t.functions == nil {
		return nil
	}
	var stamps []Stamp
	for _, call := range record.Inside(hop) {
		name := t.functions.names[call.Function]
		if call.Return {
			name += "/return"
		}
		stamps = append(stamps, Stamp{Hook: name, Hop: end.Hop, Device: end.Device, CPU: end.CPU, T: call.T})
	}
	return stamps
}
