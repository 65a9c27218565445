package tracer_test

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// witness is a bpftrace script that times the same stretch of the same packets.
type witness struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// The script sees the veth by its name, which no other device of the machine has.
func newWitness(ctx context.Context, t *testing.T, s *stage, veth string) *witness {
	t.Helper()
	script := fmt.Sprintf(`
		BEGIN { printf("ready\n"); }
		tracepoint:net:netif_rx /str(args->name) == "%[1]s"/ { @at[args->skbaddr] = nsecs; }
		tracepoint:net:netif_receive_skb /str(args->name) == "%[1]s" && @at[args->skbaddr]/ {
			@seen[(nsecs - @at[args->skbaddr]) / 100] = count();
			delete(@at[args->skbaddr]);
		}
		END { print(@seen); clear(@seen); clear(@at); }`, veth)
	return startWitness(ctx, t, s, script)
}

// startWitness starts a script that says "ready" first.
func startWitness(ctx context.Context, t *testing.T, s *stage, script string) *witness {
	t.Helper()
	// where nobody has mounted tracefs, it is mounted for the witness alone
	const inside = `[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; exec "$@"`
	w := &witness{cmd: exec.CommandContext(ctx, "sh", "-c", inside, "sh", "bpftrace", "-q", "-B", "line", "-e", script)}
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	out, err := w.cmd.StdoutPipe()
	s.must(err)
	var messages strings.Builder
	w.cmd.Stderr = &messages
	w.cmd.Cancel = func() error { return w.cmd.Process.Signal(unix.SIGINT) }
	w.cmd.WaitDelay = 5 * time.Second
	s.must(w.cmd.Start())
	w.lines = bufio.NewScanner(out)
	if !w.lines.Scan() || w.lines.Text() != "ready" {
		_ = w.cmd.Wait()
		t.Fatalf("the witness does not come up: %q %s", w.lines.Text(), messages.String())
	}
	return w
}

// finish ends the witness and returns all that it has seen, in ns, in rising order.
func (w *witness) finish(t *testing.T, stop context.CancelFunc) []float64 {
	t.Helper()
	stop()
	var all []float64
	for w.lines.Scan() {
		var tenths, count int // of a microsecond
		if n, _ := fmt.Sscanf(w.lines.Text(), "@seen[%d]: %d", &tenths, &count); n != 2 {
			continue
		}
		for range count {
			all = append(all, float64(tenths*100+50))
		}
	}
	_ = w.cmd.Wait() // ended by us
	slices.Sort(all)
	return all
}

// An independent tracer sees the same: bpftrace, at tracepoints of its own, on
// a veth whose softirq is made to come 50 us late, so that neither's cost matters.
func TestWitness(t *testing.T) {
	const trips, delay = 450, 50 * time.Microsecond
	runtime.LockOSThread() // the witness dies with the thread that started it
	defer runtime.UnlockOSThread()
	s := newStage(t, lab.Config{Ports: []lab.Port{{Host: 7007, Container: 7, Proto: "udp"}}})
	veth := s.world.Container("nginx").HostDev
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	// before the tracer: at netif_rx then the witness's cost is in its own figure,
	// at netif_receive_skb it is in the tracer's
	w := newWitness(ctx, t, s, veth)
	s.open(tracer.Config{Sample: 1}, "nginx")
	injector, err := s.world.InjectNetifRx(s.world.Host, veth) // behind both
	s.must(err)
	defer func() { s.must(injector.Close()) }()
	s.must(injector.Only(unix.IPPROTO_UDP))
	s.must(injector.Set(delay))
	s.udp(s.world.Client, s.world.Host.IP4, 7007, trips)
	seen := w.finish(t, stop)
	if stats, err := injector.Stats(); err != nil || stats.Delayed != trips {
		t.Errorf("%d packets were delayed, want %d (%v)", stats.Delayed, trips, err)
	}
	snapshot := s.stop()
	var ours []float64
	for _, j := range snapshot.Journeys {
		for i, stamp := range j.Stamps {
			if i > 0 && j.Direction == tracer.Egress && stamp.Hop == "softirq" {
				ours = append(ours, float64(stamp.T-j.Stamps[i-1].T))
			}
		}
	}
	slices.Sort(ours)
	// the witness sees what is not IP, too
	if len(ours) != trips || len(seen) < trips || len(seen) > trips+10 {
		t.Fatalf("%d packets by the tracer, %d by the witness, want %d", len(ours), len(seen), trips)
	}
	mine, its := ours[trips/2], seen[len(seen)/2]
	t.Logf("median %.0f ns by the tracer, %.0f by the witness", mine, its)
	if its < float64(delay) || math.Abs(mine-its) > 0.02*its {
		t.Errorf("median %f ns by the tracer, %f by the witness: more than 2%% apart", mine, its)
	}
}
