// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed hops.bt
var script string

// withTracefs runs its arguments where bpftrace finds the machine's
// tracepoints: where tracefs is not mounted, in a mount namespace of its own.
const withTracefs = `[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; exec "$@"`

type bpftrace struct{ process *process }

// StartBpftrace attaches hops.bt, for the whole machine, and returns when it is attached.
func StartBpftrace(ctx context.Context) (Peer, error) {
	p, err := startProcess(ctx, nil, `"ready\n"`, "unshare", "--mount", "sh", "-c", withTracefs, "sh", "bpftrace", "-f", "json", "-e", script)
	if err != nil {
		return nil, err
	}
	return bpftrace{p}, nil
}

// Stop implements Peer.
func (b bpftrace) Stop() (Seen, error) {
	lines, err := b.process.stop()
	if err != nil {
		return Seen{}, err
	}
	return parseHistograms(lines)
}

// parseHistograms sums what bpftrace's histograms counted, from its JSON output.
// Lines that are not JSON are warnings.
func parseHistograms(lines []string) (Seen, error) {
	var seen Seen
	for _, line := range lines {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var output struct {
			Type string                               `json:"type"`
			Data map[string]map[string][]histogramBin `json:"data"`
		}
		if !strings.HasPrefix(line, `{"type": "hist"`) {
			if events, ok := lostEvents(line); ok {
				seen.Lost += events
			}
			continue
		}
		if err := json.Unmarshal([]byte(line), &output); err != nil {
			return Seen{}, fmt.Errorf("read bpftrace's histograms: %w", err)
		}
		for _, histograms := range output.Data {
			for _, bins := range histograms {
				for _, bin := range bins {
					seen.Events += bin.Count
				}
			}
		}
	}
	return seen, nil
}

type histogramBin struct {
	Count uint64 `json:"count"`
}

// lostEvents reads how many events bpftrace says to have lost.
func lostEvents(line string) (uint64, bool) {
	var output struct {
		Type string `json:"type"`
		Data struct {
			Events uint64 `json:"events"`
		} `json:"data"`
	}
	if json.Unmarshal([]byte(line), &output) != nil || output.Type != "lost_events" {
		return 0, false
	}
	return output.Data.Events, true
}
