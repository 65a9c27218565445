package tracer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vethtrace/vethtrace/tracer/netfilter"
)

// Under load the null hops of tracepoints and netfilter, and what follows a
// journey's end, are attached for this long once per period: together they
// would be eleven program runs per round trip, and a twentieth of the packets
// is a sample of thousands. With little traffic each packet counts, and the
// cost does not. Tracepoints are the whole machine's, so it is the machine's
// traffic that counts, not the targets' alone.
const (
	windowPeriod = time.Second
	windowLength = 50 * time.Millisecond
	calmLook     = 100 * time.Millisecond // between two looks while there is little traffic
	busyPackets  = 2000                   // received by the machine per second, from which on there is load
)

// windows attaches and detaches the hooks of DutyWindows.
type windows struct {
	tracer *Tracer
	tcx    *tcxNull

	mu      sync.Mutex
	machine links
	behind  links              // what follows a journey's end
	hold    bool               // that stays, windows or not
	byOwner map[*target]*links // null hops in targets' namespaces
	host    links
	open    bool
	pinned  map[*target]bool // an NFQUEUE is bound there: links must not go before the end
	closed  bool
	before  uint64 // packets that the machine had received at the last look
	looked  time.Time
}

func newWindows(t *Tracer) *windows {
	return &windows{
		tracer: t, tcx: &tcxNull{tracer: t, byOwner: map[*target]*links{}},
		byOwner: map[*target]*links{}, pinned: map[*target]bool{},
	}
}

func (w *windows) run(ctx context.Context) {
	for {
		if err := w.attach(); err != nil {
			w.tracer.cfg.Log.Warn("measure the cost of stamps", "error", err)
		}
		busy := w.busy()
		if err := w.tcx.look(busy, time.Now()); err != nil {
			w.tracer.cfg.Log.Warn("measure the cost of stamps", "error", err)
		}
		if !busy {
			if !sleep(ctx, calmLook) {
				return
			}
			continue
		}
		if !sleep(ctx, windowLength) {
			return
		}
		if err := w.detach(); err != nil {
			w.tracer.cfg.Log.Warn("measure the cost of stamps", "error", err)
		}
		if !sleep(ctx, windowPeriod-windowLength) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// busy tells whether the machine has received so many packets since the last
// look that windows are worth their while. Where it cannot be told, it has.
func (w *windows) busy() bool {
	if w.tracer.cfg.KeepWindows {
		return false
	}
	received, err := ReceivedPackets()
	if err != nil {
		return true
	}
	now := time.Now()
	gained, since := received-w.before, now.Sub(w.looked).Seconds()
	first := w.looked.IsZero()
	w.before, w.looked = received, now
	return !first && float64(gained) > busyPackets*since
}

// ReceivedPackets is how many packets the machine has received since it
// started, in all namespaces. The kernel counts modulo 2^32 per CPU.
func ReceivedPackets() (uint64, error) {
	raw, err := os.ReadFile(softnetStat)
	if err != nil {
		return 0, fmt.Errorf("read what the machine has received: %w", err)
	}
	return receivedPackets(raw), nil
}

// softnetStat counts what each CPU has received, for all namespaces (Linux net/core/net-procfs.c).
const softnetStat = "/proc/net/softnet_stat"

// receivedPackets is the sum of its first column: 32-bit counters in hexadecimal, one line per CPU.
func receivedPackets(raw []byte) uint64 {
	var sum uint64
	for line := range strings.Lines(string(raw)) {
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(first, 16, 64); err == nil {
			sum += n
		}
	}
	return sum
}

// windowed are the rows of the table for these scopes that belong to windows.
func (t *Tracer) windowed(scopes ...Scope) []HookSpec {
	var rows []HookSpec
	for _, h := range t.cfg.hooks() {
		if h.Duty != DutyWindows || !t.facts.programs[h.Program] || !h.wants(t.cfg.Detail) || !h.by(t.devicesBy) {
			continue
		}
		if h.in(t.facts.bridge, t.facts.hostMode) && slices.Contains(scopes, h.Scope) {
			rows = append(rows, h)
		}
	}
	return rows
}

func (w *windows) attach() error {
	t := w.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || t.closed {
		return nil
	}
	var errs []error
	var ofTargets []HookSpec
	host := len(w.host.held) == 0
	for _, h := range t.windowed(ScopeMachine, ScopeHost, ScopeTarget) {
		switch h.Scope {
		case ScopeMachine:
			if !w.open && h.Is != behindEnd {
				errs = append(errs, t.in(t.host).tracepoint(&w.machine, h))
			}
		case ScopeHost:
			if host && (!t.cfg.budgeted() || !t.hostQueue) { // see cycle.attachNamespace
				errs = append(errs, t.in(t.host).netfilter(&w.host, h, priorityOf(h)))
			}
		case ScopeTarget:
			ofTargets = append(ofTargets, h)
		}
	}
	errs = append(errs, w.attachBehind(), w.attachTargets(ofTargets))
	w.open = true
	return errors.Join(errs...)
}

// attachBehind attaches what follows a journey's end, once.
func (w *windows) attachBehind() error {
	if len(w.behind.held) > 0 {
		return nil
	}
	var errs []error
	for _, h := range w.tracer.windowed(ScopeMachine) {
		if h.Is == behindEnd {
			errs = append(errs, w.tracer.in(w.tracer.host).tracepoint(&w.behind, h))
		}
	}
	return errors.Join(errs...)
}

// HoldBehind leaves what follows a journey's end (Target.Waiting) attached until
// it is let go, however much traffic there is: for who knows better than the
// clock when it is to be measured. Null hops keep their windows.
func (t *Tracer) HoldBehind(hold bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.windows
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hold = hold; w.closed || t.closed {
		return nil
	}
	if hold {
		return w.attachBehind()
	}
	if w.open {
		return nil // it goes with the window
	}
	return w.behind.close()
}

// restart detaches, so that the next look attaches what the table then has.
func (w *windows) restart() error {
	return errors.Join(w.detach(), w.tcx.detach(time.Now()))
}

func (w *windows) attachTargets(rows []HookSpec) error {
	t := w.tracer
	var errs []error
	for _, target := range t.targets {
		if target == nil || target.hostMode || w.byOwner[target] != nil {
			continue
		}
		held := &links{}
		for _, h := range rows {
			errs = append(errs, t.in(target.ns).netfilter(held, h, priorityOf(h)))
		}
		w.byOwner[target] = held
		w.pinned[target] = queueBound(target)
	}
	return errors.Join(errs...)
}

// queueBound tells whether an NFQUEUE is bound in the target's namespace: the
// kernel drops all that waits there when a netfilter hook is unregistered.
func queueBound(of *target) bool {
	queues, err := netfilter.Queues(of.ns)
	return err != nil || len(queues) > 0
}

func (w *windows) detach() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	errs := []error{w.machine.close()}
	if !w.hold {
		errs = append(errs, w.behind.close())
	}
	if !w.tracer.hostQueue {
		errs = append(errs, w.host.close())
	}
	for target, held := range w.byOwner {
		if !w.pinned[target] {
			errs = append(errs, held.close())
			delete(w.byOwner, target)
		}
	}
	w.open = false
	return errors.Join(errs...)
}

// leave detaches what is in a target's namespace, so that it can go.
func (w *windows) leave(target *target) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := w.byOwner[target]
	delete(w.byOwner, target)
	delete(w.pinned, target)
	err := w.tcx.leave(target)
	if held == nil {
		return err
	}
	return errors.Join(err, held.close())
}

// close detaches everything, for good.
func (w *windows) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	errs := []error{w.tcx.close(), w.machine.close(), w.behind.close(), w.host.close()}
	for _, held := range w.byOwner {
		errs = append(errs, held.close())
	}
	w.byOwner = map[*target]*links{}
	return errors.Join(errs...)
}
