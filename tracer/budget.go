package tracer

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// cycle attaches and detaches the hooks that come and go.
type cycle struct {
	tracer *Tracer

	mu       sync.Mutex // guards all below; taken after Tracer.mu
	machine  links
	host     links
	byOwner  map[*target]*links
	attached bool
	over     bool // no window opens any more
	closed   bool
	spent    *spending
	took     time.Duration // to attach, last time
	observed time.Duration // in windows that have ended
	opened   time.Time     // the window that has not, zero: none
	ended    time.Time     // the last one
	count    uint64        // windows begun
	extras   time.Time     // null hops and what follows a journey's end were attached
	extra    bool          // they are
}

func newCycle(t *Tracer) *cycle { return &cycle{tracer: t, byOwner: map[*target]*links{}} }

// begin opens the first window: everything is attached, journeys start.
func (c *cycle) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spent = newSpending(c.tracer.cfg.MaxOverhead, now, c.tracer.kernel.mem.ran())
	c.opened, c.extras, c.extra, c.count = now, now, true, 1
}

func (c *cycle) run(ctx context.Context) {
	for {
		if !c.window(ctx) {
			return
		}
		if err := c.pause(); err != nil {
			c.tracer.cfg.Log.Warn("detach for a while", "error", err)
		}
		// what stays attached costs something meanwhile, so it may take longer than it seems
		for wait := c.look(0); wait > 0; wait = c.look(0) {
			if !sleep(ctx, min(wait, windowPause)) {
				return
			}
		}
		if err := c.open(); err != nil {
			c.tracer.cfg.Log.Warn("attach again", "error", err)
		}
	}
}

// window looks after an open window until its budget is used up; false when ctx ends.
func (c *cycle) window(ctx context.Context) bool {
	for {
		c.mu.Lock()
		next, empty := c.spent.next(), c.spent.empty()
		c.mu.Unlock()
		if empty {
			return true
		}
		if err := c.turnExtras(time.Now()); err != nil {
			c.tracer.cfg.Log.Warn("measure the cost of stamps", "error", err)
		}
		if !sleep(ctx, next) {
			return false
		}
		c.look(0)
	}
}

// look brings the account up to date and returns how long hooks have to stay away.
func (c *cycle) look(beside time.Duration) time.Duration {
	prices := c.prices()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spent.look(time.Now(), c.tracer.kernel.mem.ran(), prices, beside)
	return c.spent.wait()
}

// prices of a run, by the type of its hook.
func (c *cycle) prices() (prices [len(runs{})]float64) {
	t := c.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.seen.null {
		readSeries(t.seen.null[i], t.kernel.mem.null, i, t.kernel.mem.shards)
	}
	for i, null := range t.nulls().types {
		prices[i] = runUnknown + runBeside
		if null.MeanNs > 0 {
			prices[i] = null.MeanNs + runBeside
		}
	}
	return prices
}

// turnExtras attaches null hops and what follows a journey's end for windowLength
// of each windowPeriod, and leaves them there while there is little traffic.
func (c *cycle) turnExtras(now time.Time) error {
	c.mu.Lock()
	age, on := now.Sub(c.extras), c.extra
	calm := c.spent.rate < c.spent.limit/4
	switch {
	case on && !calm && age >= windowLength:
		c.extra = false
	case !on && age >= windowPeriod:
		c.extra, c.extras = true, now
	default:
		c.mu.Unlock()
		return nil
	}
	on = c.extra
	c.mu.Unlock()
	if on {
		return c.tracer.windows.attach()
	}
	return c.tracer.windows.detach()
}

// open begins a window.
func (c *cycle) open() error {
	took, err := c.attach()
	c.mu.Lock()
	if !c.over {
		c.opened = time.Now()
		c.count++
		c.tracer.kernel.mem.setOpen(monotonic())
	}
	c.took = took
	c.mu.Unlock()
	c.look(took)
	c.mu.Lock()
	c.spent.begin()
	c.mu.Unlock()
	return err
}

// pause ends a window: no journey starts, those under way are let out, the hooks
// go, and what is still under way is cut.
func (c *cycle) pause() error {
	t := c.tracer
	c.shut()
	t.mu.Lock()
	queue := t.hostQueue
	t.mu.Unlock()
	drain := windowDrain
	if queue {
		drain = windowDrainQueue
	}
	t.kernel.mem.drain(drain)
	c.mu.Lock()
	c.extra = false
	c.mu.Unlock()
	took, err := metered(func() error { return errors.Join(t.windows.detach(), c.detach()) })
	c.mu.Lock()
	c.spent.switched(c.took + took)
	c.mu.Unlock()
	c.look(took)
	return err
}

// stop ends the time in which journeys start, for good.
func (c *cycle) stop() {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.shut()
}

// shut ends the time in which journeys start.
func (c *cycle) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened.IsZero() {
		return
	}
	c.tracer.kernel.mem.setOpen(0)
	c.ended = time.Now()
	c.observed += c.ended.Sub(c.opened)
	c.opened = time.Time{}
}

// attach attaches what comes and goes and is not there, and returns the
// processor time that took; nothing starts before the window opens.
func (c *cycle) attach() (took time.Duration, err error) {
	t := c.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || t.closed {
		return 0, nil
	}
	if err := t.findQueues(); err != nil {
		return 0, err
	}
	took, err = c.within(t.host, c.attachHost)
	for _, target := range t.targets {
		more, failed := c.attachTarget(target)
		took, err = took+more, errors.Join(err, failed)
	}
	return took, err
}

// within runs fn inside a namespace, and returns the processor time of its thread.
func (c *cycle) within(ns *netns.NS, fn func(a attacher) error) (took time.Duration, err error) {
	a := c.tracer.in(ns)
	a.inside, a.later = true, nil
	err = ns.Do(func() (err error) {
		took, err = metered(func() error { return fn(a) })
		return err
	})
	return took, err
}

// attachHost attaches what the machine and the host's namespace have one of; c.mu is held.
func (c *cycle) attachHost(a attacher) error {
	t := c.tracer
	var errs []error
	for _, h := range t.rows(ScopeMachine) {
		if !h.Stays && !c.attached {
			errs = append(errs, a.tracepoint(&c.machine, h))
		}
	}
	c.attached = true
	if len(c.host.held) == 0 {
		errs = append(errs, c.attachNamespace(a, &c.host, ScopeHost, t.chains, t.hostQueue))
	}
	return errors.Join(errs...)
}

// attachTarget attaches in a target's namespace; c.mu is held.
func (c *cycle) attachTarget(of *target) (time.Duration, error) {
	if of == nil || of.hostMode || c.byOwner[of] != nil {
		return 0, nil
	}
	t, held := c.tracer, &links{}
	c.byOwner[of] = held
	queue := t.cfg.Detail == DetailTables && queueBound(of) // else it has no borders
	return c.within(of.ns, func(a attacher) error { return c.attachNamespace(a, held, ScopeTarget, of.chains, queue) })
}

// attachNamespace attaches what a namespace has of netfilter. Where an NFQUEUE is
// bound there, links cannot go again and every packet of the namespace pays for
// them: then only journeys' starts and ends are.
func (c *cycle) attachNamespace(a attacher, to *links, scope Scope, chains *chainPlan, queue bool) error {
	t := c.tracer
	var errs []error
	if t.cfg.Detail == DetailTables && !queue {
		errs = append(errs, t.attachChains(a, to, scope, chains))
	}
	for _, h := range t.rows(scope) {
		if !h.Stays && (!queue || h.Is != "border") {
			errs = append(errs, a.netfilter(to, h, priorityOf(h)))
		}
	}
	return errors.Join(errs...)
}

// join attaches for targets that come while a window is open; t.mu is held.
func (c *cycle) join(targets []*target) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.attached || c.closed {
		return nil
	}
	var errs []error
	for _, target := range targets {
		_, err := c.attachTarget(target)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// detach detaches what may go. Where an NFQUEUE is bound the kernel would drop
// what waits there: those netfilter links stay, and find no journey.
func (c *cycle) detach() error {
	t := c.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	errs := []error{t.findQueues(), c.machine.close()}
	c.attached = false
	if !t.hostQueue {
		errs = append(errs, c.host.close())
	}
	for target, held := range c.byOwner {
		if !queueBound(target) {
			errs = append(errs, held.close())
			delete(c.byOwner, target)
		}
	}
	t.cutLive(nil)
	t.kernel.mem.forget()
	return errors.Join(errs...)
}

// away tells whether the hooks are detached for now.
func (c *cycle) away() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.attached
}

// leave detaches what is in a target's namespace, so that it can go; t.mu is held.
func (c *cycle) leave(of *target) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.byOwner[of]
	delete(c.byOwner, of)
	if held == nil {
		return nil
	}
	return held.close()
}

// close detaches everything, for good.
func (c *cycle) close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	errs := []error{c.machine.close(), c.host.close()}
	for _, held := range c.byOwner {
		errs = append(errs, held.close())
	}
	c.byOwner = map[*target]*links{}
	return errors.Join(errs...)
}

// metered runs fn and returns the processor time of its thread meanwhile.
func metered(fn func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	err := fn()
	return threadTime() - before, err
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0 // impossible: the clock exists on every Linux
	}
	return time.Duration(ts.Nano())
}

// describe fills in what a snapshot says of the budget, and returns what was used, in ns.
func (c *cycle) describe(o *Observer) float64 {
	o.Observed = c.observedTime()
	c.mu.Lock()
	defer c.mu.Unlock()
	b := Budget{MaxShare: c.tracer.cfg.MaxOverhead, State: BudgetDetached, Windows: c.count}
	switch {
	case c.tracer.final:
		b.State = BudgetEnded
	case !c.opened.IsZero():
		b.State = BudgetAttached
	case c.spent.rate > c.spent.limit && time.Since(c.ended) > saved && c.spent.left < 0:
		b.State = BudgetOver
	}
	o.Budget = &b
	return c.spent.used
}
