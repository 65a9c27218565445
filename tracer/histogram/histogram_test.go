package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// values returns n values spread over all powers of two below 2^bits.
func values(r *rand.Rand, n, bits int) []uint64 {
	vs := make([]uint64, n)
	for i := range vs {
		vs[i] = r.Uint64() >> (64 - 1 - r.IntN(bits))
	}
	return vs
}

func of(vs []uint64) *Histogram {
	h := new(Histogram)
	for _, v := range vs {
		h.Add(v)
	}
	return h
}

func TestIndexOfKnownValues(t *testing.T) {
	for _, c := range []struct {
		ns   uint64
		want int
	}{
		{0, 0},
		{1, 1},
		{31, 31},
		{32, 32},
		{33, 32},
		{34, 33},
		{63, 47},
		{64, 48},
		{67, 48},
		{68, 49},
		{1000, 32 + 4*16 + 15},
		{1 << 20, 32 + 15*16},
		{1<<31 - 1, 447},
		{1 << 31, Buckets},
		{math.MaxUint64, Buckets},
	} {
		if got := Index(c.ns); got != c.want {
			t.Errorf("Index(%d) = %d, want %d", c.ns, got, c.want)
		}
	}
}

func TestBucketsTileTheRangeWithoutGap(t *testing.T) {
	var next uint64
	for i := range Buckets {
		lo, up := Lower(i), Upper(i)
		if lo != next || up <= lo {
			t.Fatalf("bucket %d is [%d, %d), want it to start at %d", i, lo, up, next)
		}
		if Index(lo) != i || Index(up-1) != i || Index(up) != i+1 {
			t.Fatalf("bucket %d: Index(%d)=%d Index(%d)=%d Index(%d)=%d",
				i, lo, Index(lo), up-1, Index(up-1), up, Index(up))
		}
		if lo >= linear && float64(up-lo)/float64(lo) > 1.0/16 {
			t.Fatalf("bucket %d is %d wide at %d", i, up-lo, lo)
		}
		next = up
	}
	if next != limit || Lower(Buckets) != limit || Upper(Buckets) != math.MaxUint64 {
		t.Fatalf("the buckets end at %d, overflow is [%d, %d)", next, Lower(Buckets), Upper(Buckets))
	}
	if Lower(-1) != 0 {
		t.Fatalf("Lower(-1) = %d", Lower(-1))
	}
}

func TestCountSumMaxMeanAreExact(t *testing.T) {
	var h Histogram
	if h.Count() != 0 || h.Mean() != 0 {
		t.Fatalf("the zero value counts %d, mean %g", h.Count(), h.Mean())
	}
	h.Add(7)
	h.AddN(100, 3)
	h.AddN(5000, 0)
	h.Add(3 << 31)
	if h.Count() != 5 || h.Sum != 307+(3<<31) || h.Max != 3<<31 || h.Overflow != 1 {
		t.Fatalf("count %d sum %d max %d overflow %d", h.Count(), h.Sum, h.Max, h.Overflow)
	}
	if want := float64(307+(3<<31)) / 5; h.Mean() != want {
		t.Fatalf("mean %g, want %g", h.Mean(), want)
	}
}

func TestQuantileErrorBoundAndOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		vs := values(r, 1+r.IntN(3000), 31)
		h := of(vs)
		slices.Sort(vs)
		last := -1.0
		for q := 0.0; q <= 1; q += 1.0 / 256 { // exact in binary
			got, ok := h.Quantile(q)
			want := float64(vs[max(int(math.Ceil(q*float64(len(vs)))), 1)-1])
			if math.Abs(got-want) > 0.032*want {
				t.Fatalf("round %d: quantile %g of %d values is %g, want %g", round, q, len(vs), got, want)
			}
			if got < last || got > float64(h.Max) {
				t.Fatalf("round %d: quantile %g is %g after %g, max %d", round, q, got, last, h.Max)
			}
			if above := (1 - q) * float64(len(vs)); ok != (above >= 10) {
				t.Fatalf("round %d: quantile %g of %d values: ok %v", round, q, len(vs), ok)
			}
			last = got
		}
	}
}

func TestQuantileIsToldFromTenSamplesAbove(t *testing.T) {
	for _, c := range []struct {
		q     float64
		first uint64 // the smallest count with which it may be told
	}{{0.5, 20}, {0.9, 100}, {0.99, 1000}, {0.999, 10000}, {0, 10}} {
		var h Histogram
		h.AddN(50, c.first-1)
		if _, ok := h.Quantile(c.q); ok {
			t.Errorf("quantile %g was told with %d values", c.q, c.first-1)
		}
		h.Add(50)
		if v, ok := h.Quantile(c.q); !ok || v != 50 {
			t.Errorf("quantile %g of %d values: %g, %v", c.q, c.first, v, ok)
		}
	}
	var h Histogram
	h.AddN(50, 1<<40)
	if _, ok := h.Quantile(1); ok {
		t.Error("quantile 1 has nothing above it and was told")
	}
}

func TestQuantileAtTheEdges(t *testing.T) {
	var h Histogram
	if v, ok := h.Quantile(0.5); v != 0 || ok {
		t.Fatalf("of an empty histogram: %g, %v", v, ok)
	}
	h.AddN(1000, 40)
	if v, ok := h.Quantile(math.NaN()); v != 0 || ok {
		t.Fatalf("of not a number: %g, %v", v, ok)
	}
	low, _ := h.Quantile(-3)
	high, _ := h.Quantile(3)
	if low != high || low != 1000 {
		t.Fatalf("one value, clipped by max: %g and %g", low, high)
	}
	h.AddN(1<<33, 60)
	if v, ok := h.Quantile(0.9); !ok || v < limit || v > 1<<33 {
		t.Fatalf("in the overflow: %g, %v", v, ok)
	}
}

func TestMergeEqualsAddingAll(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a, b := values(r, r.IntN(500), 40), values(r, r.IntN(500), 40)
		h := of(a)
		h.Merge(of(b))
		h.Merge(nil)
		if want := of(append(a, b...)); *h != *want {
			t.Fatalf("merged %v, want %v", h, want)
		}
	}
}

func TestSubUndoesMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	exact := 0
	for range 400 {
		a, b := values(r, r.IntN(500), 40), values(r, r.IntN(50), 8+r.IntN(32))
		old, grown := of(a), of(b)
		now := *old
		now.Merge(grown)
		d := now.Sub(old)
		if d.Counts != grown.Counts || d.Overflow != grown.Overflow || d.Sum != grown.Sum {
			t.Fatalf("difference %v, want %v", d, grown)
		}
		if Index(d.Max) != Index(grown.Max) || d.Max < grown.Max || d.Max > now.Max {
			t.Fatalf("max of the difference %d, of what was added %d, of all %d", d.Max, grown.Max, now.Max)
		}
		if d.Max == grown.Max {
			exact++
		}
	}
	if exact == 0 {
		t.Error("the maximum was never exact")
	}
}

func TestSubSaysMaxOfWhatGrew(t *testing.T) {
	var old Histogram
	old.Add(1000) // bucket [992, 1024)
	for _, c := range []struct {
		name string
		add  []uint64
		want uint64
	}{
		{"nothing", nil, 0},
		{"lower bucket", []uint64{100, 40}, 103}, // [100, 104)
		{"same bucket", []uint64{993}, 1000},     // 993 cannot be told from 1000
		{"higher bucket", []uint64{5000}, 5000},
		{"overflow", []uint64{1 << 40}, 1 << 40},
	} {
		now := old
		for _, v := range c.add {
			now.Add(v)
		}
		if d := now.Sub(&old); d.Max != c.want {
			t.Errorf("%s: max %d, want %d", c.name, d.Max, c.want)
		}
	}
	if d := old.Sub(nil); d != old {
		t.Error("since nothing is not everything")
	}
	var anew Histogram
	anew.Add(3)
	if d := anew.Sub(&old); d.Count() != 1 || d.Sum != 0 || d.Max != 3 {
		t.Errorf("started anew: count %d sum %d max %d", d.Count(), d.Sum, d.Max)
	}
}

func TestEachVisitsNonEmptyBucketsInOrder(t *testing.T) {
	h := of([]uint64{5, 5, 70, 1 << 35, 1 << 50})
	var got [][2]uint64
	h.Each(func(lower, count uint64) { got = append(got, [2]uint64{lower, count}) })
	if want := [][2]uint64{{5, 2}, {68, 1}, {1 << 31, 2}}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func FuzzIndex(f *testing.F) {
	for _, v := range []uint64{0, 31, 32, 1<<31 - 1, 1 << 31, math.MaxUint64} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v uint64) {
		i := Index(v)
		if i < 0 || i > Buckets || v < Lower(i) || (v >= Upper(i) && v != math.MaxUint64) {
			t.Fatalf("%d is in bucket %d, [%d, %d)", v, i, Lower(i), Upper(i))
		}
		if v > 0 && Index(v-1) > i {
			t.Fatalf("Index(%d) > Index(%d)", v-1, v)
		}
		if i < Buckets && math.Abs(middle(i)-float64(v)) > 0.032*float64(v) {
			t.Fatalf("the middle of the bucket of %d is %g", v, middle(i))
		}
	})
}

func FuzzMergeAndSub(f *testing.F) {
	f.Add(uint64(1), uint64(3), uint64(1<<33), uint64(2), 0.5)
	f.Fuzz(func(t *testing.T, v1, n1, v2, n2 uint64, q float64) {
		n1, n2 = n1&0xffff, n2&0xffff
		var a, b, both Histogram
		a.AddN(v1, n1)
		b.AddN(v2, n2)
		both.AddN(v2, n2)
		both.AddN(v1, n1)
		merged := a
		merged.Merge(&b)
		if merged != both {
			t.Fatalf("merged %v, want %v", merged, both)
		}
		if d := merged.Sub(&b); d.Counts != a.Counts || d.Overflow != a.Overflow || d.Max > merged.Max {
			t.Fatalf("difference %v, want %v", d, a)
		}
		if v, _ := merged.Quantile(q); v > math.Max(float64(merged.Max), 0) {
			t.Fatalf("quantile %g is %g, max %d", q, v, merged.Max)
		}
	})
}
