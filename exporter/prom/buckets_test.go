package prom

import (
	"math"
	"math/rand/v2"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// some is a histogram of n lognormal times around median ns, and those times.
func some(r *rand.Rand, n int, median float64) (*histogram.Histogram, []uint64) {
	h := &histogram.Histogram{}
	times := make([]uint64, n)
	for i := range times {
		times[i] = uint64(median * math.Exp(r.NormFloat64()))
		h.Add(times[i])
	}
	return h, times
}

// nativeCounts are the counts of a native histogram by index.
func nativeCounts(h *dto.Histogram) map[int]int64 {
	counts := map[int]int64{}
	index, at, count := 0, 0, int64(0)
	for _, span := range h.PositiveSpan {
		index += int(span.GetOffset())
		for range span.GetLength() {
			count += h.PositiveDelta[at]
			counts[index] = count
			at++
			index++
		}
	}
	return counts
}

func TestClassicBucketsCountWhatLiesBelow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLayout(Form{Classic: true})
	for _, median := range []float64{1, 70, 900, 40e3, 50e6, 3e9} {
		h, times := some(r, 5000, median)
		got := l.write(h)
		if got.GetSampleCount() != 5000 || got.Schema != nil {
			t.Fatalf("median %v: %d samples, schema %v", median, got.GetSampleCount(), got.Schema)
		}
		if len(got.Bucket) != 20 || got.Bucket[0].GetUpperBound() != 64e-9 || math.Abs(got.Bucket[19].GetUpperBound()-33.554432e-3) > 1e-12 {
			t.Fatalf("buckets %v", got.Bucket)
		}
		for i, bucket := range got.Bucket {
			var want uint64
			for _, ns := range times {
				if ns < 64<<i {
					want++
				}
			}
			if bucket.GetCumulativeCount() != want {
				t.Errorf("median %v: below %v s: %d, want %d", median, bucket.GetUpperBound(), bucket.GetCumulativeCount(), want)
			}
		}
	}
}

func TestNativeBucketsHoldTheirTimes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	l := newLayout(Form{Native: true})
	for _, median := range []float64{5, 70, 900, 40e3, 50e6} {
		h, times := some(r, 5000, median)
		got := l.write(h)
		if got.GetSchema() != nativeSchema || len(got.Bucket) != 0 {
			t.Fatalf("schema %d, %d classic buckets", got.GetSchema(), len(got.Bucket))
		}
		var sum int64
		counts := nativeCounts(got)
		for index, n := range counts {
			sum += n
			// everything counted here was between these, give or take the tracer's own bucket
			low, high := math.Exp2(float64(index-1)/8)*(1-0.0625), math.Exp2(float64(index)/8)*(1+0.0625)
			var near int64
			for _, ns := range times {
				if s := float64(ns) * 1e-9; s >= low && s <= high {
					near++
				}
			}
			if n <= 0 || n > near {
				t.Errorf("median %v: index %d has %d, at most %d lie near it", median, index, n, near)
			}
		}
		if uint64(sum)+got.GetZeroCount() != got.GetSampleCount() {
			t.Errorf("median %v: buckets sum to %d of %d", median, uint64(sum)+got.GetZeroCount(), got.GetSampleCount())
		}
	}
}

func TestEmptyNativeHistogramIsNative(t *testing.T) {
	got := newLayout(Form{Native: true, Classic: true}).write(&histogram.Histogram{})
	if len(got.PositiveSpan) != 1 || got.PositiveSpan[0].GetLength() != 0 || len(got.Bucket) != classicCount {
		t.Errorf("got %v", got)
	}
}

func TestOverflowIsInNoClassicBucket(t *testing.T) {
	h := &histogram.Histogram{}
	h.Add(5e9)
	h.Add(0)
	got := newLayout(Form{Native: true, Classic: true}).write(h)
	if got.GetSampleCount() != 2 || got.Bucket[19].GetCumulativeCount() != 1 || got.GetZeroCount() != 1 {
		t.Errorf("got %v", got)
	}
}
