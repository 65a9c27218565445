package tracer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/predict"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Tracer holds what is attached, and what was seen.
type Tracer struct {
	cfg      Config
	host     *netns.NS
	ownHost  bool
	kernel   *kernel
	later    *schedule // while Open waits for programs: what is to be attached
	tables   tables
	ring     *ringbuf.Reader
	facts    facts
	attached *tally
	choice   *choice
	clsact   *clsact
	start    time.Time
	ended    time.Time     // when no journey started any more; zero: tracing
	clock    time.Duration // CLOCK_MONOTONIC at start

	mu        sync.Mutex // guards all below
	targets   []*target  // by number; nil: free
	removed   []*target  // gone, kept for snapshots
	forgotten forgotten  // of those kept no longer
	hostLinks links
	uplinks   map[int]bool // attached, by index
	bridges   map[int]bool
	devicesBy Provider       // takes the borders of devices
	hostWide  bool           // what the host's namespace and the machine have one of is attached
	nextLook  int            // the target to look at next, by number
	hostNames map[int]string // devices of the host, by index
	chains    *chainPlan     // of the host's namespace
	foreign   *neighbours
	ways      *predict.Host       // what predicts paths
	changed   time.Time           // paths found before may be of packets that saw a change under way
	counted   map[string][2]Total // by the host's devices when tracing ended; nil before
	seen      *collection
	judge     *judge // nil: nobody asks which rules drop
	windows   *windows
	functions *functions
	cycle     *cycle // nil without a budget
	hostQueue bool   // an NFQUEUE is bound in the host's namespace
	notes     []string
	closed    bool
	final     bool

	stop context.CancelFunc
	done sync.WaitGroup
}

// Open loads the programs, attaches them for the given targets and begins to
// trace. It fails with an UnsupportedError where the kernel or the rights do
// not allow it, with a NoWayError for a target that no packet can reach.
// The caller closes the tracer; ctx ends its goroutines too.
func Open(ctx context.Context, cfg Config, specs ...TargetSpec) (*Tracer, error) {
	t, err := open(ctx, cfg, specs)
	var coarser *coarserError
	if errors.As(err, &coarser) {
		cfg.Detail, cfg.missing = DetailDevices, coarser.missing
		return open(ctx, cfg, specs)
	}
	return t, err
}

func open(ctx context.Context, cfg Config, specs []TargetSpec) (*Tracer, error) {
	t := &Tracer{
		cfg: cfg.withDefaults(), host: cfg.Host, attached: newTally(), choice: newChoice(cfg), clsact: newClsact(),
		uplinks: map[int]bool{}, bridges: map[int]bool{}, hostNames: map[int]string{},
	}
	if t.cfg.Capacity < len(specs) {
		t.cfg.Capacity = len(specs)
	}
	if t.host == nil {
		host, err := netns.Current()
		if err != nil {
			return nil, err
		}
		t.host, t.ownHost = host, true
	}
	ctx, t.stop = context.WithCancel(ctx)
	if err := t.open(ctx, specs); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Tracer) open(ctx context.Context, specs []TargetSpec) error {
	object := readObject(t.cfg.object)
	defer object() // no goroutine is left behind where a target cannot be traced
	view, err := topology.Read(t.host)
	if err != nil {
		return fmt.Errorf("read the host's devices: %w", err)
	}
	targets, err := t.readTargets(view, specs)
	if err != nil {
		return err
	}
	t.facts = t.find(view, targets)
	if err := errors.Join(t.planChains(targets, t.ownDevices()), t.checkLimits(targets)); err != nil {
		return err
	}
	if t.functions, err = findFunctions(t.cfg); err != nil {
		return err
	}
	if t.kernel, err = load(object(), t.cfg, t.facts, t.functions, t.choice); err != nil {
		return err
	}
	t.choice.fallback = t.kernel.fallbackFor(edges(t.edgeRows()))
	if err := t.probe(); err != nil {
		return err
	}
	t.tables = tables{t.kernel.mem}
	t.seen = newCollection(t.kernel)
	t.windows = newWindows(t)
	t.later = newSchedule()
	t.later.told = t.progress(len(targets))
	if t.cfg.budgeted() {
		t.cycle = newCycle(t)
	}
	t.readRules(targets)
	if err := t.attachFirst(view, targets); err != nil {
		return err
	}
	if t.cycle != nil {
		if _, err := t.cycle.attach(); err != nil {
			return err
		}
	}
	// the zero line is there before the first packet, and right behind what it stands for
	if err := errors.Join(t.windows.attach(), t.windows.tcx.look(false, time.Now())); err != nil {
		return err
	}
	if err := t.findSockets(targets); err != nil {
		return err
	}
	if t.ring, err = ringbuf.NewReader(t.kernel.maps.VtRecords); err != nil {
		return fmt.Errorf("read journeys: %w", err)
	}
	t.begin(ctx)
	return nil
}

// attachFirst attaches what is attached all the time, and settles for the hooks that there are.
func (t *Tracer) attachFirst(view topology.Namespace, targets []*target) error {
	if err := t.attachAll(view, targets); err != nil {
		return err
	}
	if err := t.later.run(t.kernel, t.failed); err != nil {
		return err
	}
	t.later = nil
	return t.settle()
}

// readTargets reads how targets are connected, and gives them numbers.
func (t *Tracer) readTargets(view topology.Namespace, specs []TargetSpec) ([]*target, error) {
	var names []string
	for _, spec := range specs {
		if spec.Netns != nil && spec.Netns.Inode() != t.host.Inode() {
			names = append(names, spec.Name)
		}
	}
	t.targets = make([]*target, t.cfg.Capacity)
	if err := CheckFiles(t.cfg, names, 0); err != nil {
		return nil, err
	}
	targets := make([]*target, 0, len(specs))
	for _, spec := range specs {
		target, err := newTarget(t.host, view, spec)
		if err != nil && t.cfg.Skip != nil {
			t.cfg.Skip(spec, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		target.number = len(targets)
		t.targets[target.number] = target // from here on Close closes its namespace
		targets = append(targets, target)
	}
	return targets, nil
}

// begin lets journeys start and starts the goroutines.
func (t *Tracer) begin(ctx context.Context) {
	t.start, t.clock = time.Now(), monotonic()
	t.kernel.mem.setOpen(t.clock)
	t.done.Go(t.readRecords)
	t.done.Go(func() { t.collectRounds(ctx) })
	if t.cycle != nil {
		t.cycle.begin(t.start)
		t.done.Go(func() { t.cycle.run(ctx) })
	} else {
		t.done.Go(func() { t.windows.run(ctx) })
	}
	t.done.Go(func() { t.watchHost(ctx) })
}

// Add begins to trace one more target.
func (t *Tracer) Add(spec TargetSpec) error {
	view, err := topology.Read(t.host)
	if err != nil {
		return fmt.Errorf("read the host's devices: %w", err)
	}
	target, err := newTarget(t.host, view, spec)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return closing(target.ns, errors.New("add a target: the tracer is closed"))
	}
	if target.hostMode && !t.facts.hostMode {
		return closing(target.ns, fmt.Errorf("target %s: host mode was not prepared for when tracing began", spec.Name))
	}
	target.number = -1
	for number, taken := range t.targets {
		if taken == nil {
			target.number = number
			break
		}
	}
	if target.number < 0 {
		return closing(target.ns, &FullError{Table: "targets", Entry: spec.Name})
	}
	added := []*traced{target}
	if err := errors.Join(t.planChains(added, t.ownDevices()+1), t.checkLimits(added)); err != nil {
		return closing(target.ns, err)
	}
	t.targets[target.number] = target
	t.judge.watch(target.ns)
	target.base = t.account(target)
	delete(t.seen.waiting, target.number)
	t.kernel.mem.clearWaiting(target.number)
	err = errors.Join(t.switchDevices(), t.attachAll(view, added))
	if err == nil {
		err = t.findSockets(added)
	}
	if err != nil {
		t.targets[target.number] = nil
		return closing(target.ns, errors.Join(err, target.links.close()))
	}
	return nil
}

// traced is target under a name that a variable called target does not hide.
type traced = target

// Remove ends tracing of a target by its ID or, without one, its name: all that
// was attached in its namespace is detached, so that the namespace can go.
func (t *Tracer) Remove(idOrName string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for number, target := range t.targets {
		if target == nil || (target.spec.ID != idOrName && target.spec.Name != idOrName) {
			continue
		}
		t.targets[number] = nil
		return errors.Join(t.remove(target), t.lookBeside())
	}
	return nil
}

func (t *Tracer) remove(target *target) error {
	target.withdraw(t.tables)
	err := errors.Join(t.windows.leave(target), t.cycle.leave(target), target.links.close(), t.writeGroups())
	t.cutLive(target)
	t.keep(target)
	target.gone, target.end = true, time.Now()
	t.removed = append(t.removed, target)
	t.judge.leave(target)
	return errors.Join(err, target.ns.Close())
}

// cutLive cuts the journeys under way of a target that goes, or all of them; t.mu is held.
func (t *Tracer) cutLive(going *target) {
	t.kernel.mem.eachLive(func(slot int, numbers [2]uint16) {
		mine := going == nil || int(numbers[0]) == going.number+1 || int(numbers[1]) == going.number+1
		if !mine || !t.kernel.mem.cut(slot) {
			return
		}
		for direction, number := range numbers {
			// a journey between two targets is cut for both
			if of := t.byNumber(int(number)-1, going); of != nil {
				of.cut[direction]++
			}
		}
	})
}

// byNumber is the target with that number; going has left the list already.
func (t *Tracer) byNumber(number int, going *target) *target {
	switch {
	case number < 0 || number >= len(t.targets):
		return nil
	case going != nil && number == going.number:
		return going
	}
	return t.targets[number]
}

// keep saves what was seen of a target before its number is used again.
func (t *Tracer) keep(target *target) {
	t.targets[target.number] = target
	target.account = t.account(target)
	if drops, err := t.drops(); err == nil {
		target.drops = drops[target]
	}
	target.totals = t.lastTotals(target)
	t.seen.retire(target, t)
	t.forgetDrops(target.number)
	t.targets[target.number] = nil
}

// drainTime is how long Close waits for journeys under way. A packet that the
// kernel still has in a queue after that is in flight.
const drainTime = 50 * time.Millisecond

// Stop ends tracing: no journey starts any more, those under way are let out,
// everything is detached. Snapshot then is final, its accounting exact.
func (t *Tracer) Stop() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.ended = time.Now()
	t.mu.Unlock()
	if t.stop != nil {
		t.stop()
	}
	var errs []error
	if t.kernel != nil && t.kernel.mem != nil {
		t.cycle.stop()
		t.kernel.mem.setOpen(0)
		t.kernel.mem.drain(drainTime)
		t.mu.Lock()
		t.lastLook()
		t.mu.Unlock()
	}
	errs = append(errs, t.functions.close())
	if t.windows != nil {
		errs = append(errs, t.windows.close(), t.cycle.close())
	}
	for _, target := range t.targets {
		if target != nil {
			errs = append(errs, target.links.close())
		}
	}
	errs = append(errs, t.foreign.close(), t.hostLinks.close())
	if t.ring != nil {
		errs = append(errs, t.ring.Flush())
	}
	t.done.Wait()
	t.mu.Lock()
	t.final = true
	t.mu.Unlock()
	return errors.Join(errs...)
}

// Close ends tracing and frees everything. Take the last Snapshot after Stop and before Close.
func (t *Tracer) Close() error {
	errs := []error{t.Stop()}
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
		t.ring = nil
	}
	if t.kernel != nil {
		errs = append(errs, t.kernel.close())
		t.kernel = nil
	}
	for _, target := range t.targets {
		if target != nil {
			errs = append(errs, target.ns.Close())
		}
	}
	t.targets = nil
	if t.ownHost && t.host != nil {
		errs = append(errs, t.host.Close())
		t.host = nil
	}
	return errors.Join(errs...)
}
