package tracer

import (
	"errors"
	"sync"
	"time"
)

// Attaching a tcx program waits for an RCU grace period while the kernel's
// network configuration is locked, so the null hops of tcx do not come and go
// each second. While there is little traffic they stay; under load they are
// attached for this long at the start and then once per minute.
const (
	tcxNullLength = time.Second
	tcxNullPeriod = time.Minute
	// more targets tell no more about what a stamp costs
	tcxNullTargets = 4
)

// tcxNull attaches and detaches the null hops of tcx.
type tcxNull struct {
	tracer *Tracer

	mu       sync.Mutex
	byOwner  map[*target]*links
	host     links
	attached bool
	since    time.Time // attached, or under load
	closed   bool
}

// look decides what to do; called about ten times a second, once under load.
func (n *tcxNull) look(busy bool, now time.Time) error {
	n.mu.Lock()
	attached, since := n.attached, n.since
	if !busy {
		n.since = now
	}
	n.mu.Unlock()
	switch {
	case !attached && (!busy || now.Sub(since) >= tcxNullPeriod-tcxNullLength):
		return n.attach(now)
	case attached && busy && now.Sub(since) >= tcxNullLength:
		return n.detach(now)
	}
	return nil
}

func (n *tcxNull) attach(now time.Time) error {
	t := n.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || t.closed {
		return nil
	}
	n.attached, n.since = true, now
	var errs []error
	var ofTargets []HookSpec
	for _, h := range t.cfg.hooks() {
		if h.Duty != DutyMinute || !t.facts.programs[h.Program] || !h.wants(t.cfg.Detail) ||
			!h.in(t.facts.bridge, t.facts.hostMode) || !h.by(t.devicesBy) {
			continue
		}
		if h.Scope == ScopeUplink {
			for index := range t.uplinks {
				errs = append(errs, t.in(t.host).device(&n.host, h, index))
			}
			continue
		}
		ofTargets = append(ofTargets, h)
	}
	return errors.Join(append(errs, n.attachTargets(ofTargets)...)...)
}

func (n *tcxNull) attachTargets(rows []HookSpec) []error {
	t := n.tracer
	var errs []error
	for _, target := range t.targets {
		if target == nil || target.hostMode || n.byOwner[target] != nil || len(n.byOwner) >= tcxNullTargets {
			continue
		}
		held := &links{}
		for _, i := range target.wiring.Interfaces {
			if !i.Connected() {
				continue
			}
			for _, h := range rows {
				errs = append(errs, t.in(target.ns).device(held, h, i.Dev.Index))
			}
		}
		n.byOwner[target] = held
	}
	return errs
}

func (n *tcxNull) detach(now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.attached, n.since = false, now
	return n.closeAll()
}

func (n *tcxNull) closeAll() error {
	errs := []error{n.host.close()}
	for _, held := range n.byOwner {
		errs = append(errs, held.close())
	}
	n.byOwner = map[*target]*links{}
	return errors.Join(errs...)
}

// leave detaches from a target's namespace, so that it can go.
func (n *tcxNull) leave(target *target) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	held := n.byOwner[target]
	delete(n.byOwner, target)
	if held == nil {
		return nil
	}
	return held.close()
}

// close detaches everything, for good.
func (n *tcxNull) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return n.closeAll()
}
