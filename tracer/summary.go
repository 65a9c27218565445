package tracer

import "math"

// Summary is a latency in a few numbers, all in nanoseconds. A quantile is nil
// when fewer than 10 samples lie above it.
type Summary struct {
	Count  uint64
	SumNs  float64
	MeanNs float64 // 0 when Count is 0
	P50Ns  *float64
	P90Ns  *float64
	P99Ns  *float64
	P999Ns *float64
	MaxNs  uint64
}

// Raw summarises the latency as measured, what measuring costs included.
func (l Latency) Raw() Summary {
	return Summary{
		Count:  l.Hist.Count(),
		SumNs:  float64(l.Hist.Sum),
		MeanNs: l.Hist.Mean(),
		P50Ns:  l.quantile(0.5),
		P90Ns:  l.quantile(0.9),
		P99Ns:  l.quantile(0.99),
		P999Ns: l.quantile(0.999),
		MaxNs:  l.Hist.Max,
	}
}

// Corrected summarises the latency without what measuring costs. Mean and sum
// are never clamped, so that they still add up over hops and may be a little
// below 0; quantiles and the maximum are floored at 0.
func (l Latency) Corrected() Summary {
	s := l.Raw()
	if s.Count == 0 {
		return s
	}
	s.MeanNs -= l.Null.MeanNs
	s.SumNs -= float64(s.Count) * l.Null.MeanNs
	for _, q := range []*float64{s.P50Ns, s.P90Ns, s.P99Ns, s.P999Ns} {
		if q != nil {
			*q = max(*q-l.Null.MedianNs, 0)
		}
	}
	s.MaxNs = uint64(math.Round(max(float64(s.MaxNs)-l.Null.MedianNs, 0)))
	return s
}

// WithinNull tells whether the corrected mean cannot be told from 0: it is no
// farther from it than null hops are spread. Without null hops, and without
// samples, nothing is.
func (l Latency) WithinNull() bool {
	if l.Null.Count == 0 || l.Hist.Count() == 0 {
		return false
	}
	return math.Abs(l.Hist.Mean()-l.Null.MeanNs) <= l.Null.SpreadNs
}

func (l Latency) quantile(q float64) *float64 {
	ns, ok := l.Hist.Quantile(q)
	if !ok {
		return nil
	}
	return &ns
}
