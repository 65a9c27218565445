package prom

import (
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// row is one series as it is now: a counter or a gauge, or a histogram. Every
// form in which figures leave is made of rows.
type row struct {
	of     *definition
	labels *labels
	value  float64
	hist   *histogram.Histogram // nil: value
	since  time.Time            // zero: not told
	marks  []*dto.Exemplar      // the latest last
}

// labels are a series' label values and what scrapes before have made of them,
// which is most of what a series is in an answer.
type labels struct {
	values []string // in the order of the definition
	pairs  []*dto.LabelPair
	text   []byte // {name="value",...  without what closes it; nil where there are none
	wire   []byte // the labels of a dto.Metric
}

// emit takes one row. It does not keep it.
type emit func(r *row)

func (to emit) gauge(d *definition, v float64, values ...string) {
	to(&row{of: d, labels: &labels{values: values}, value: v})
}

// metric makes the dto of a row.
func (l *layout) metric(r *row) *dto.Metric {
	if r.labels.pairs == nil {
		r.labels.pairs = r.of.pairs(r.labels.values...)
	}
	m := &dto.Metric{Label: r.labels.pairs}
	var since *timestamppb.Timestamp
	if !r.since.IsZero() {
		since = timestamppb.New(r.since)
	}
	switch r.of.kind {
	case dto.MetricType_HISTOGRAM:
		m.Histogram = l.write(r.hist)
		m.Histogram.CreatedTimestamp = since
		l.annotate(m.Histogram, r.marks)
	case dto.MetricType_COUNTER:
		m.Counter = &dto.Counter{Value: proto.Float64(r.value), CreatedTimestamp: since}
	default:
		m.Gauge = &dto.Gauge{Value: proto.Float64(r.value)}
	}
	return m
}
