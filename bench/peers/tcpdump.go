// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/vethtrace/vethtrace/internal/netns"
)

type tcpdumps struct {
	dir       string
	processes []*process
}

// StartTcpdumps starts a tcpdump on each of the namespace's devices, all of
// which write to files below dir (empty: the system's place for temporary
// files), and returns when all listen. The files are removed by Stop.
func StartTcpdumps(ctx context.Context, ns *netns.NS, dir string, devices ...string) (_ Peer, err error) {
	t := tcpdumps{}
	if t.dir, err = os.MkdirTemp(dir, "vethtrace-bench-"); err != nil {
		return nil, fmt.Errorf("make a place for captures: %w", err)
	}
	for _, device := range devices {
		// -Z root: as another user, it may not write here
		p, err := startProcess(ctx, ns, "listening on "+device, "tcpdump", "-n", "-Z", "root", "-i", device,
			"-w", filepath.Join(t.dir, device+".pcap"))
		if err != nil {
			_, stopErr := t.Stop()
			return nil, errors.Join(fmt.Errorf("capture at %s: %w", device, err), stopErr)
		}
		t.processes = append(t.processes, p)
	}
	return t, nil
}

// Stop implements Peer.
func (t tcpdumps) Stop() (Seen, error) {
	var seen Seen
	var errs []error
	for _, p := range t.processes {
		lines, err := p.stop()
		if err == nil {
			var one Seen
			one, err = parseCaptured(lines)
			seen.Events += one.Events
			seen.Lost += one.Lost
		}
		errs = append(errs, err)
	}
	errs = append(errs, os.RemoveAll(t.dir))
	return seen, errors.Join(errs...)
}

// parseCaptured reads what tcpdump says at its end. What it "captured" lacks
// what was in its buffer for less than a second when it was interrupted.
func parseCaptured(lines []string) (Seen, error) {
	line := regexp.MustCompile(`^(\d+) packets? (received by filter|dropped by kernel)$`)
	var seen Seen
	found := 0
	for _, text := range lines {
		match := line.FindStringSubmatch(text)
		if match == nil {
			continue
		}
		count, err := strconv.ParseUint(match[1], 10, 64)
		if err != nil {
			return Seen{}, fmt.Errorf("read what tcpdump captured: %w", err)
		}
		found++
		if match[2] == "received by filter" {
			seen.Events = count
		} else {
			seen.Lost = count
		}
	}
	if found != 2 {
		return Seen{}, fmt.Errorf("tcpdump does not tell what it captured: %q", lines)
	}
	return seen, nil
}
