package prom

import (
	"math"
	"sort"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// The two forms of a latency.
const (
	nativeSchema  = 3 // eight buckets per power of two: 9% wide
	classicFirst  = 64
	classicCount  = 20 // 64 ns doubling to 33.6 ms
	secondsPerNs  = 1e-9
	noObservation = math.MinInt
)

// Form says which histograms are exposed.
type Form struct {
	Native  bool // for scrapers that take protobuf
	Classic bool // for all others
}

// layout knows for each bucket of the tracer in which ones of Prometheus it
// lies. Classic bounds are powers of two, as every sixteenth of the tracer's
// are, so nothing is moved but values that equal a bound, which count above
// it. A native bucket takes those of the tracer's whose middle it holds: the
// bucket's own width of 3% to 6% is the error.
type layout struct {
	form    Form
	bounds  []float64 // upper bounds of the classic buckets, s
	texts   []string  // these as labels of text: le="6.4e-08"}
	classic [histogram.Buckets + 1]int
	native  [histogram.Buckets + 1]int
}

func newLayout(form Form) *layout {
	l := &layout{form: form}
	for i := range classicCount {
		bound := float64(uint64(classicFirst)<<i) * secondsPerNs
		l.bounds = append(l.bounds, bound)
		l.texts = append(l.texts, `le="`+strconv.FormatFloat(bound, 'g', -1, 64)+`"}`)
	}
	for i := range l.classic {
		lower := histogram.Lower(i)
		for l.classic[i] < classicCount && lower >= uint64(classicFirst)<<l.classic[i] {
			l.classic[i]++
		}
		l.native[i] = nativeIndex(i)
	}
	return l
}

// nativeIndex is the native bucket that holds the middle of the tracer's bucket
// i: index n has the values above 2^((n-1)/8) s, up to 2^(n/8) s.
func nativeIndex(i int) int {
	middle := float64(histogram.Lower(i))
	if i < histogram.Buckets {
		middle = (middle + float64(histogram.Upper(i)-1)) / 2
	}
	if middle == 0 {
		return noObservation // the zero bucket
	}
	return int(math.Ceil(math.Log2(middle*secondsPerNs) * (1 << nativeSchema)))
}

// classicOf is the classic bucket of a value in seconds, classicCount behind the last.
func (l *layout) classicOf(v float64) int { return sort.SearchFloat64s(l.bounds, v) }

// write makes the dto of a histogram: times in seconds.
func (l *layout) write(h *histogram.Histogram) *dto.Histogram {
	count := h.Count()
	out := &dto.Histogram{SampleCount: proto.Uint64(count), SampleSum: proto.Float64(float64(h.Sum) * secondsPerNs)}
	if l.form.Classic {
		l.writeClassic(h, out)
	}
	if l.form.Native {
		l.writeNative(h, out)
	}
	return out
}

// counts calls f for each bucket that is not empty, overflow last.
func counts(h *histogram.Histogram, f func(bucket int, n uint64)) {
	for i, n := range h.Counts {
		if n > 0 {
			f(i, n)
		}
	}
	if h.Overflow > 0 {
		f(histogram.Buckets, h.Overflow)
	}
}

func (l *layout) writeClassic(h *histogram.Histogram, out *dto.Histogram) {
	var own [classicCount + 1]uint64
	counts(h, func(bucket int, n uint64) { own[l.classic[bucket]] += n })
	// few allocations: there are thousands of histograms
	out.Bucket = make([]*dto.Bucket, classicCount)
	buckets, below := make([]dto.Bucket, classicCount), make([]uint64, classicCount)
	for i := range l.bounds {
		if below[i] = own[i]; i > 0 {
			below[i] += below[i-1]
		}
		buckets[i].UpperBound, buckets[i].CumulativeCount = &l.bounds[i], &below[i]
		out.Bucket[i] = &buckets[i]
	}
}

func (l *layout) writeNative(h *histogram.Histogram, out *dto.Histogram) {
	var native nativeBuckets
	native.fill(l, h)
	out.Schema = proto.Int32(nativeSchema)
	out.ZeroThreshold = proto.Float64(0)
	out.ZeroCount = proto.Uint64(native.zero)
	out.PositiveDelta = native.deltas
	for _, s := range native.spans {
		out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(s.offset), Length: proto.Uint32(s.length)})
	}
}

// nativeBuckets are those of a native histogram: runs of them, and by how much
// each has more than the one before.
type nativeBuckets struct {
	zero   uint64
	spans  []bucketSpan
	deltas []int64
}

// bucketSpan is a run of buckets: how many are left out before it, and how many there are.
type bucketSpan struct {
	offset int32
	length uint32
}

// fill makes them of a histogram's.
func (b *nativeBuckets) fill(l *layout, h *histogram.Histogram) {
	b.zero, b.spans, b.deltas = 0, b.spans[:0], b.deltas[:0]
	var last int
	var lastCount int64
	counts(h, func(bucket int, n uint64) {
		index := l.native[bucket]
		switch {
		case index == noObservation:
			b.zero += n
			return
		case len(b.spans) > 0 && index == last:
			lastCount += int64(n)
			b.deltas[len(b.deltas)-1] += int64(n)
			return
		case len(b.spans) == 0:
			b.spans = append(b.spans, bucketSpan{offset: int32(index), length: 1})
		case index == last+1:
			b.spans[len(b.spans)-1].length++
		default:
			b.spans = append(b.spans, bucketSpan{offset: int32(index - last - 1), length: 1})
		}
		b.deltas = append(b.deltas, int64(n)-lastCount)
		last, lastCount = index, int64(n)
	})
	if len(b.spans) == 0 && b.zero == 0 {
		// a span without buckets tells a native histogram that is empty from a classic one
		b.spans = append(b.spans, bucketSpan{})
	}
}
