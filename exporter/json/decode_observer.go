package json

import (
	"fmt"

	"github.com/vethtrace/vethtrace/tracer"
)

// decodeObserver reads what measuring cost in a document of that duration.
func decodeObserver(d observer, whole float64) (o tracer.Observer, err error) {
	o = tracer.Observer{
		StampNs: d.StampNs, Stamps: d.Stamps, CPUShare: d.CPUShare, RecursionMisses: d.RecursionMisses,
		RingLost: d.RingLost, Unpathed: d.Unpathed, CallsLost: d.CallsLost,
	}
	if d.Recorded != nil { // else of a version that did not count them
		o.Recorded = *d.Recorded
	}
	if d.ObservedS == nil { // of a version that had no budgets
		d.ObservedS = &whole
	}
	if o.Observed, err = seconds(*d.ObservedS); err != nil {
		return o, fmt.Errorf("observer.observed_s: %w", err)
	}
	if b := d.Budget; b != nil {
		o.Budget = &tracer.Budget{MaxShare: b.MaxShare, State: tracer.BudgetState(b.State), Windows: b.Windows}
		switch o.Budget.State {
		case tracer.BudgetAttached, tracer.BudgetDetached, tracer.BudgetOver, tracer.BudgetEnded:
		default:
			return o, fmt.Errorf("observer.budget.state: %q is not attached, detached, over or ended", b.State)
		}
	}
	if c := d.SelfCheck; c != nil {
		o.SelfCheck = &tracer.SelfCheck{
			Pairs: c.Pairs, WindowS: c.WindowS, CPU: decodeRatio(c.CPU), Rate: decodeRatio(c.Rate),
			CPUNs: c.CPUNs, AddedNs: c.AddedNs, Same: decodeRatio(c.Same), Unreliable: c.Unreliable,
		}
	}
	return o, nil
}

func decodeRatio(r *ratio) tracer.Ratio {
	if r == nil {
		return tracer.Ratio{}
	}
	return tracer.Ratio{Value: r.Value, Low: r.Low, High: r.High}
}
