package page

import (
	"fmt"

	"github.com/vethtrace/vethtrace/tracer"
)

// budgetWords say what of a budget is in use, none without one.
func budgetWords(s tracer.Snapshot) []string {
	b := s.Observer.Budget
	if b == nil {
		return nil
	}
	words := []string{fmt.Sprintf("budget %s of one CPU: %s in use", smallShare(b.MaxShare), smallShare(s.Observer.CPUShare))}
	if s.Duration > 0 {
		words = append(words, "observed "+Percent(min(1, float64(s.Observer.Observed)/float64(s.Duration)))+" of the time")
	}
	if b.State == tracer.BudgetOver {
		words = append(words, "over: what has to stay attached alone costs more")
	}
	return words
}

// smallShare writes a small share with two digits behind the point.
func smallShare(s float64) string { return fmt.Sprintf("%.2f%%", s*100) }

// totals is the line of all packets, where a budget lets only some be followed.
func (o Options) totals(t tracer.Target) []string {
	if t.Totals == nil {
		return nil
	}
	in, out := t.Totals[tracer.Ingress], t.Totals[tracer.Egress]
	parts := []string{
		fmt.Sprintf("%s in (%s)", Count(in.Packets), Quantity(float64(in.Bytes), "B")),
		fmt.Sprintf("%s out (%s)", Count(out.Packets), Quantity(float64(out.Bytes), "B")),
	}
	first := indent + "all packets, by its devices: "
	if in.Estimated || out.Estimated {
		first = indent + "all packets, estimated: "
	}
	return o.flow(first, indent+indent, ", ", parts)
}

// selfCheck says what tracing was measured to add, or why it could not be.
func (o Options) selfCheck(c *tracer.SelfCheck) []string {
	switch {
	case c == nil:
		return nil
	case c.Unreliable != "":
		return o.prose("self-check: ", "no figures: "+Escape(c.Unreliable), o.styles().warn)
	}
	text := fmt.Sprintf("tracing adds %s of processor time to a packet (95%%: %s to %s), %s to %s; packets per second change by %s (95%%: %s to %s); %d windows of %gs with, each between two without",
		signedPercent(c.CPU.Value-1), signedPercent(c.CPU.Low-1), signedPercent(c.CPU.High-1), Duration(c.AddedNs), Duration(c.CPUNs),
		signedPercent(c.Rate.Value-1), signedPercent(c.Rate.Low-1), signedPercent(c.Rate.High-1), c.Pairs, c.WindowS)
	return o.prose("self-check: ", text, o.styles().bold)
}

// signedPercent is a change in percent, with its sign.
func signedPercent(share float64) string { return fmt.Sprintf("%+.1f%%", share*100) }
