package prom

import (
	"maps"
	"slices"

	"github.com/vethtrace/vethtrace/tracer"
)

// exposeObserver tells what tracing costs, what it missed and what is attached.
func (c *Collector) exposeObserver(to emit, s tracer.Snapshot) {
	counter := func(d *definition, v float64) {
		to(&row{of: d, labels: &labels{}, value: v, since: s.Start})
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Observer.StampNs)) {
		to.gauge(c.gauges.stampCost, s.Observer.StampNs[kind]*secondsPerNs, kind)
	}
	to.gauge(c.gauges.share, s.Observer.CPUShare)
	counter(c.gauges.stamps, float64(s.Observer.Stamps))
	counter(c.gauges.missed, float64(s.Observer.RecursionMisses))
	counter(c.gauges.ringLost, float64(s.Observer.RingLost))
	counter(c.gauges.unpathed, float64(s.Observer.Unpathed))
	// without a budget it is an estimate, which may come down
	c.overhead = max(c.overhead, s.Observer.CPUShare*s.Duration.Seconds())
	counter(c.gauges.overhead, c.overhead)
	counter(c.gauges.attached, s.Observer.Observed.Seconds())
	if budget := s.Observer.Budget; budget != nil {
		to.gauge(c.gauges.budget, budget.MaxShare)
		for _, state := range tracer.BudgetStates() {
			to.gauge(c.gauges.state, flag(state == budget.State), string(state))
		}
		counter(c.gauges.windows, float64(budget.Windows))
	}
	for _, h := range s.Hooks {
		to.gauge(c.gauges.hook, flag(h.Links > 0), h.Hook, string(h.Provider))
		to.gauge(c.gauges.hookLinks, float64(h.Links), h.Hook, string(h.Provider))
	}
	for _, m := range s.Missing {
		to.gauge(c.gauges.hookMissing, 1, m.Hook)
	}
	if c.cfg.EngineUp != nil {
		to.gauge(c.gauges.engineUp, flag(c.cfg.EngineUp()))
	}
}

// flag is 1 for what is so.
func flag(so bool) float64 {
	if so {
		return 1
	}
	return 0
}
