package prom

import (
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Numbers of fields in io.prometheus.client's metrics.proto.
const (
	familyName, familyHelp, familyType, familyMetric protowire.Number = 1, 2, 3, 4

	metricLabel, metricGauge, metricCounter, metricHistogram protowire.Number = 1, 2, 3, 7

	pairName, pairValue               protowire.Number = 1, 2
	numberValue, counterCreated       protowire.Number = 1, 3 // of a gauge and of a counter
	bucketCount, bucketBound          protowire.Number = 1, 2
	bucketExemplar                    protowire.Number = 3
	spanOffset, spanLength            protowire.Number = 1, 2
	timeSeconds, timeNanos            protowire.Number = 1, 2 // google.protobuf.Timestamp
	histCount, histSum, histBucket    protowire.Number = 1, 2, 3
	histSchema, histZeroThreshold     protowire.Number = 5, 6
	histZeroCount, histSpan           protowire.Number = 7, 12
	histDelta, histCreated, histMarks protowire.Number = 13, 15, 16
)

// wireEncoding is delimited protobuf, the form that has native histograms. A
// message's length stands before it, so parts are written to scratch first.
type wireEncoding struct {
	layout *layout
	inner  []byte // what a metric holds: a histogram, a number
	small  []byte // what that holds: a bucket, a span, a time
	native nativeBuckets
}

func (e *wireEncoding) heading(to []byte, d *definition, rows []byte) []byte {
	var head []byte
	head = appendString(head, familyName, d.name)
	head = appendString(head, familyHelp, d.help)
	head = appendVarint(head, familyType, uint64(d.kind))
	to = protowire.AppendVarint(to, uint64(len(head)+len(rows)))
	return append(to, head...)
}

func (e *wireEncoding) row(to []byte, r *row) []byte {
	if r.labels.wire == nil {
		r.labels.wire = e.pairs(r.of, r.labels.values)
	}
	field := metricGauge
	e.inner = e.inner[:0]
	switch r.of.kind {
	case dto.MetricType_HISTOGRAM:
		field = metricHistogram
		e.histogram(r)
	case dto.MetricType_COUNTER:
		field = metricCounter
		e.inner = appendDouble(e.inner, numberValue, r.value)
		e.created(counterCreated, r.since)
	default:
		e.inner = appendDouble(e.inner, numberValue, r.value)
	}
	to = protowire.AppendTag(to, familyMetric, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(len(r.labels.wire)+protowire.SizeTag(field)+protowire.SizeBytes(len(e.inner))))
	return appendBytes(append(to, r.labels.wire...), field, e.inner)
}

// pairs are the labels of a metric, by name.
func (e *wireEncoding) pairs(d *definition, values []string) []byte {
	all := []byte{} // not nil: made
	for _, i := range d.byName {
		e.small = appendString(e.small[:0], pairName, d.labels[i])
		e.small = appendString(e.small, pairValue, values[i])
		all = appendBytes(all, metricLabel, e.small)
	}
	return all
}

func (e *wireEncoding) histogram(r *row) {
	e.inner = appendVarint(e.inner, histCount, r.hist.Count())
	e.inner = appendDouble(e.inner, histSum, float64(r.hist.Sum)*secondsPerNs)
	if e.layout.form.Classic {
		e.classic(r)
	}
	if e.layout.form.Native {
		e.nativeForm(r)
	}
	e.created(histCreated, r.since)
	if e.layout.form.Native {
		for _, mark := range r.marks[max(0, len(r.marks)-mostExemplars):] {
			e.inner = protowire.AppendTag(e.inner, histMarks, protowire.BytesType)
			e.inner = e.mark(e.inner, mark)
		}
	}
}

func (e *wireEncoding) classic(r *row) {
	var own [classicCount + 1]uint64
	counts(r.hist, func(bucket int, n uint64) { own[e.layout.classic[bucket]] += n })
	var marks [classicCount + 1]*dto.Exemplar
	for _, mark := range r.marks {
		marks[e.layout.classicOf(mark.GetValue())] = mark
	}
	var total uint64
	for i, n := range own {
		total += n
		bound := math.Inf(1)
		if i < classicCount {
			bound = e.layout.bounds[i]
		} else if marks[i] == nil {
			return // that bucket is there only for its exemplar
		}
		e.small = appendVarint(e.small[:0], bucketCount, total)
		e.small = appendDouble(e.small, bucketBound, bound)
		if marks[i] != nil {
			e.small = protowire.AppendTag(e.small, bucketExemplar, protowire.BytesType)
			e.small = e.mark(e.small, marks[i])
		}
		e.inner = appendBytes(e.inner, histBucket, e.small)
	}
}

func (e *wireEncoding) nativeForm(r *row) {
	e.native.fill(e.layout, r.hist)
	e.inner = appendVarint(e.inner, histSchema, protowire.EncodeZigZag(nativeSchema))
	e.inner = appendDouble(e.inner, histZeroThreshold, 0)
	e.inner = appendVarint(e.inner, histZeroCount, e.native.zero)
	for _, s := range e.native.spans {
		e.small = appendVarint(e.small[:0], spanOffset, protowire.EncodeZigZag(int64(s.offset)))
		e.small = appendVarint(e.small, spanLength, uint64(s.length))
		e.inner = appendBytes(e.inner, histSpan, e.small)
	}
	for _, delta := range e.native.deltas {
		e.inner = appendVarint(e.inner, histDelta, protowire.EncodeZigZag(delta))
	}
}

// created tells since when a series counts.
func (e *wireEncoding) created(field protowire.Number, since time.Time) {
	if since.IsZero() {
		return
	}
	e.small = e.small[:0]
	if seconds := since.Unix(); seconds != 0 {
		e.small = appendVarint(e.small, timeSeconds, uint64(seconds))
	}
	if nanos := since.Nanosecond(); nanos != 0 {
		e.small = appendVarint(e.small, timeNanos, uint64(nanos))
	}
	e.inner = appendBytes(e.inner, field, e.small)
}

// mark appends an exemplar with its length. There are few: the library writes them.
func (e *wireEncoding) mark(to []byte, mark *dto.Exemplar) []byte {
	raw, err := proto.Marshal(mark)
	if err != nil {
		raw = nil // impossible: it has numbers and text that is valid UTF-8
	}
	return protowire.AppendBytes(to, raw)
}

func appendString(to []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, field, protowire.BytesType), text)
}

func appendBytes(to []byte, field protowire.Number, raw []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), raw)
}

func appendVarint(to []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.VarintType), v)
}

func appendDouble(to []byte, field protowire.Number, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(to, field, protowire.Fixed64Type), math.Float64bits(v))
}
