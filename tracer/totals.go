package tracer

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// readDevices reads what the devices of a namespace have counted, by name:
// from procfs, as asking by netlink takes the lock of the network's configuration.
func readDevices(ns *netns.NS) (map[string][2]Total, error) {
	var raw []byte
	err := ns.Do(func() (err error) {
		raw, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the devices' counters: %w", err)
	}
	return parseDevices(string(raw)), nil
}

// parseDevices reads the table of /proc/net/dev (Linux net/core/net-procfs.c):
// eight columns received, eight sent, each beginning with bytes and packets.
// Received is [Ingress], sent [Egress].
func parseDevices(text string) map[string][2]Total {
	const columns, sent = 16, 8
	devices := map[string][2]Total{}
	for line := range strings.Lines(text) {
		name, counters, ok := strings.Cut(line, ":")
		fields := strings.Fields(counters)
		if !ok || len(fields) < columns {
			continue // the heading
		}
		var values [columns]uint64
		valid := true
		for i := range values {
			n, err := strconv.ParseUint(fields[i], 10, 64)
			values[i], valid = n, valid && err == nil
		}
		if valid {
			devices[strings.TrimSpace(name)] = [2]Total{
				{Bytes: values[0], Packets: values[1]}, {Bytes: values[sent], Packets: values[sent+1]},
			}
		}
	}
	return devices
}

// deviceTotals is what a target's devices have counted since they exist. Where
// the host has their other end, it is read there, for all targets at once: what
// is sent towards the target arrives at it.
func (t *Tracer) deviceTotals(of *target, host map[string][2]Total) (sum [2]Total, err error) {
	var inside map[string][2]Total
	for _, i := range of.interfaces {
		if peer, ok := host[t.hostNames[i.PeerIndex]]; ok && i.PeerIndex != 0 {
			sum[Ingress].add(peer[Egress])
			sum[Egress].add(peer[Ingress])
			continue
		}
		if inside == nil {
			if inside, err = readDevices(of.ns); err != nil {
				return sum, err
			}
		}
		own := inside[i.Name]
		sum[Ingress].add(own[Ingress])
		sum[Egress].add(own[Egress])
	}
	return sum, nil
}

func (t *Total) add(o Total) {
	t.Packets += o.Packets
	t.Bytes += o.Bytes
}

// since is a total less what it was before; counters that shrank started anew with their device.
func (t Total) since(prev Total) Total {
	return Total{
		Packets: grown(t.Packets, prev.Packets), Bytes: grown(t.Bytes, prev.Bytes), Estimated: t.Estimated,
	}
}

// noteTotals keeps what the devices of new targets had counted before; t.mu is held.
func (t *Tracer) noteTotals(targets []*target) error {
	if !t.cfg.budgeted() {
		return nil
	}
	host, err := readDevices(t.host)
	if err != nil {
		return err
	}
	for _, target := range targets {
		if target.hostMode {
			continue
		}
		if target.before, err = t.deviceTotals(target, host); err != nil {
			return err
		}
	}
	return nil
}

// totals is a target's packets and bytes, nil without a budget: then the
// accounting has each of them. In host mode no device counts for the target
// alone: what was seen is taken for as much of the whole as time was.
func (t *Tracer) totals(of *target, result *Target, host map[string][2]Total) (*[2]Total, error) {
	switch {
	case !t.cfg.budgeted():
		return nil, nil
	case of.gone:
		return of.totals, nil
	case of.hostMode:
		return t.estimate(result), nil
	}
	now, err := t.deviceTotals(of, host)
	if err != nil {
		return nil, err
	}
	for direction := range now {
		now[direction] = now[direction].since(of.before[direction])
	}
	return &now, nil
}

func (t *Tracer) estimate(result *Target) *[2]Total {
	var sum [2]Total
	factor := 0.0
	if observed := t.cycle.observedTime(); observed > 0 {
		factor = float64(t.lasted()) / float64(observed)
	}
	for direction := range sum {
		sum[direction].Estimated = true
	}
	for _, path := range result.Paths {
		of := &sum[path.Direction]
		of.Packets += uint64(float64(path.Packets) * factor)
		of.Bytes += uint64(float64(path.Bytes) * factor)
	}
	return &sum
}

// lasted is how long tracing lasted, or lasts.
func (t *Tracer) lasted() time.Duration {
	if t.ended.IsZero() {
		return time.Since(t.start)
	}
	return t.ended.Sub(t.start)
}

// observedTime is for how long journeys could start so far.
func (c *cycle) observedTime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened.IsZero() {
		return c.observed
	}
	return c.observed + time.Since(c.opened)
}

// lastTotals are those of a target that goes, read before its devices do; nil
// where they have gone already.
func (t *Tracer) lastTotals(of *target) *[2]Total {
	if !t.cfg.budgeted() {
		return nil
	}
	host, err := readDevices(t.host)
	if err != nil {
		return nil
	}
	result := Target{}
	if of.hostMode {
		t.targetResult(&result, of, t.seen.byTarget()[of], t.nulls(), nil, [2]uint64{})
	}
	totals, err := t.totals(of, &result, host)
	if err != nil {
		return nil
	}
	return totals
}
