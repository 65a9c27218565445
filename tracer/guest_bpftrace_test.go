//go:build guest

package tracer_test

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// entry is that a packet enters a function.
type entry struct {
	at       time.Duration // CLOCK_MONOTONIC
	packet   string        // where its sk_buff lies, as bpftrace prints it
	function string
}

// watched are functions, with the position of their sk_buff among the arguments:
// those of a published port's way, from the uplink to the container and back.
func watched() map[string]int {
	return map[string]int{
		"ip_rcv": 0, "ip_rcv_core": 0, "nf_hook_slow": 0, "nf_conntrack_in": 0, "nf_nat_inet_fn": 1, "ip_forward": 0, "ip_output": 2,
		"dev_hard_start_xmit": 0, "br_dev_xmit": 0, "br_forward": 1, "veth_xmit": 0,
		"br_nf_pre_routing": 1, "br_handle_frame_finish": 2, "br_pass_frame_up": 0,
	}
}

// TestAgreesWithBpftrace: another tracer at the same functions, for the same
// packets: each journey has the entries that bpftrace saw of its packet, in the same order.
func TestAgreesWithBpftrace(t *testing.T) {
	const exchanges = 40
	runtime.LockOSThread() // the witness dies with the thread that started it
	defer runtime.UnlockOSThread()
	s := newStage(t, lab.Config{Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
	script := `BEGIN { printf("ready\n"); }`
	var names []string
	for name, argument := range watched() {
		names = append(names, name)
		script += fmt.Sprintf("\nkprobe:%s { printf(\"at %%lu %%lx %s\\n\", nsecs, arg%d); }", name, name, argument)
	}
	slices.Sort(names)
	s.open(tracer.Config{Sample: 1, Probes: names}, "nginx")
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	told := listen(startWitness(ctx, t, s, script))
	s.await("bpftrace at all functions", func() bool { // it says that it is ready before it is
		s.udp(s.world.Client, s.world.Host.IP4, 7007, 1)
		return told.functions() == len(names)
	})
	var from unix.Timespec
	s.must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &from))
	s.udp(s.world.Client, s.world.Host.IP4, 7007, exchanges)
	journeys := s.stop().Journeys
	journeys = slices.DeleteFunc(journeys, func(j tracer.Journey) bool {
		return j.Stamps[0].T < time.Duration(from.Nano()) || len(entriesOf(j, names)) == 0
	})
	s.await("what bpftrace saw", func() bool {
		theirs := told.entries()
		return !slices.ContainsFunc(journeys, func(j tracer.Journey) bool {
			return len(seenOf(j, entriesOf(j, names), theirs)) < len(entriesOf(j, names))
		})
	})
	theirs := told.entries()
	var compared [2]int
	var apart []time.Duration
	for _, j := range journeys {
		apart = append(apart, agree(t, j, entriesOf(j, names), theirs)...)
		compared[j.Direction]++
	}
	slices.Sort(apart)
	t.Logf("%d journeys in, %d out: %d entries agree with bpftrace, which saw %d in all", compared[0], compared[1], len(apart), len(theirs))
	if len(apart) > 0 {
		t.Logf("from one entry to the next, by bpftrace less by vethtrace: %v at p05, %v at p50, %v at p95", apart[len(apart)/20], apart[len(apart)/2], apart[len(apart)*19/20])
	}
	if compared[tracer.Ingress] != exchanges || compared[tracer.Egress] != exchanges || len(apart) < 30*exchanges {
		t.Errorf("compared %d journeys in and %d out, want %d each; %d entries", compared[0], compared[1], exchanges, len(apart))
	}
}

// listener keeps what bpftrace tells.
type listener struct {
	mu   sync.Mutex
	told []entry
}

// listen takes what a witness writes, until it ends.
func listen(w *witness) *listener {
	l := &listener{}
	go func() {
		for w.lines.Scan() {
			var e entry
			var at int64
			if n, _ := fmt.Sscanf(w.lines.Text(), "at %d %s %s", &at, &e.packet, &e.function); n == 3 {
				e.at = time.Duration(at)
				l.mu.Lock()
				l.told = append(l.told, e)
				l.mu.Unlock()
			}
		}
		_ = w.cmd.Wait() // ended by the test
	}()
	return l
}

// entries are those told so far, in the order of time: each CPU has its own buffer.
func (l *listener) entries() []entry {
	l.mu.Lock()
	all := slices.Clone(l.told)
	l.mu.Unlock()
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	return all
}

// functions is how many were seen.
func (l *listener) functions() int {
	seen := map[string]bool{}
	for _, e := range l.entries() {
		seen[e.function] = true
	}
	return len(seen)
}

// entriesOf are the functions that a journey's packet entered.
func entriesOf(j tracer.Journey, names []string) (all []entry) {
	for _, stamp := range j.Stamps {
		if slices.Contains(names, stamp.Hook) {
			all = append(all, entry{at: stamp.T, function: stamp.Hook})
		}
	}
	return all
}

// seenOf is what was seen, from a journey's start on, of one packet: the one seen
// as often as the journey's was before any other is. One packet is under way at a time.
func seenOf(j tracer.Journey, ours, theirs []entry) []entry {
	seen := map[string][]entry{}
	var packet string
	for _, e := range theirs {
		if e.at < j.Stamps[0].T {
			continue
		}
		seen[e.packet] = append(seen[e.packet], e)
		if len(seen[e.packet]) > len(seen[packet]) {
			packet = e.packet
		}
		if len(seen[packet]) == len(ours) {
			break
		}
	}
	return seen[packet]
}

// agree holds a journey against what was seen of its packet. It returns by how
// much the times between entries differ: what null hops took is not in the journey's.
func agree(t *testing.T, j tracer.Journey, ours, theirs []entry) (apart []time.Duration) {
	t.Helper()
	same := seenOf(j, ours, theirs)
	if named(ours) != named(same) {
		t.Errorf("%s of %d:\nvethtrace %s\nbpftrace  %s", j.Direction, j.Stamps[0].T, named(ours), named(same))
		return nil
	}
	for i, e := range same {
		before := max(i-1, 0)
		apart = append(apart, (e.at-same[before].at)-(ours[i].at-ours[before].at))
	}
	return apart
}

func named(entries []entry) string {
	var names []string
	for _, e := range entries {
		names = append(names, e.function)
	}
	return strings.Join(names, " ")
}
