package tracer

import (
	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
)

// nullLines are the zero lines of the hook types: what a stamp costs in place.
type nullLines struct {
	types   [bpf.KernelVtTypeVT_TYPE_MAX]Null
	devices Provider // takes the borders of devices
}

// nulls reads them. A type that has no null hop yet borrows the mean of the others.
func (t *Tracer) nulls() nullLines {
	lines := nullLines{devices: t.devicesBy}
	var known Null
	var types float64
	for i, s := range t.seen.null {
		hist := s.total
		count := hist.Count()
		if count == 0 {
			continue
		}
		median, ok := hist.Quantile(0.5)
		if !ok {
			median = hist.Mean()
		}
		low, lowOK := hist.Quantile(0.1)
		high, highOK := hist.Quantile(0.9)
		spread := 0.0
		if lowOK && highOK {
			spread = (high - low) / 2
		}
		lines.types[i] = Null{Count: count, MeanNs: hist.Mean(), MedianNs: median, SpreadNs: spread}
		known, types = known.plus(lines.types[i]), types+1
	}
	for i := range lines.types {
		if lines.types[i].Count == 0 && types > 0 {
			lines.types[i] = known.times(1 / types)
			lines.types[i].Count = 0
		}
	}
	return lines
}

// typeOf is the type of a hook where that provider takes the borders of devices.
func typeOf(hook journey.Hook, devices Provider) bpf.KernelVtType {
	if _, _, _, ok := hook.AsNetfilter(); ok {
		return bpf.KernelVtTypeVT_TYPE_NETFILTER
	}
	switch hook {
	case journey.NetifRx, journey.GROReceive, journey.StartXmit, journey.KfreeSkb:
		return bpf.KernelVtTypeVT_TYPE_TRACEPOINT
	}
	if devices == ProviderTracepoint {
		return bpf.KernelVtTypeVT_TYPE_DEVICE
	}
	return bpf.KernelVtTypeVT_TYPE_TCX
}

func (n nullLines) of(hook journey.Hook) Null { return n.types[typeOf(hook, n.devices)] }

// between is the zero line of a hop: it holds the end of one stamp and the
// beginning of another, so half of each one's null hop.
func (n nullLines) between(from, to journey.Hook) Null {
	return n.of(from).plus(n.of(to)).times(0.5)
}

// medians by hook type, in ns; types without a null hop of their own are left out.
func (n nullLines) medians() map[string]float64 {
	names := map[bpf.KernelVtType]string{
		bpf.KernelVtTypeVT_TYPE_TCX: "tcx", bpf.KernelVtTypeVT_TYPE_NETFILTER: "netfilter",
		bpf.KernelVtTypeVT_TYPE_TRACEPOINT: "tracepoint", bpf.KernelVtTypeVT_TYPE_DEVICE: "device",
	}
	medians := map[string]float64{}
	for i, null := range n.types {
		if null.Count > 0 {
			medians[names[bpf.KernelVtType(i)]] = null.MedianNs
		}
	}
	return medians
}

func (n Null) plus(o Null) Null {
	return Null{
		Count: n.Count + o.Count, MeanNs: n.MeanNs + o.MeanNs,
		MedianNs: n.MedianNs + o.MedianNs, SpreadNs: n.SpreadNs + o.SpreadNs,
	}
}

func (n Null) times(f float64) Null {
	n.MeanNs, n.MedianNs, n.SpreadNs = n.MeanNs*f, n.MedianNs*f, n.SpreadNs*f
	return n
}
