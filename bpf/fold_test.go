package bpf_test

import (
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/bpf/bpftest"
)

const (
	rows         = 4096
	returns      = 0x80
	firstGrouped = 112 // VT_FUNCTION_TABLES
	deepest      = 8   // VT_DEPTH
	mostCalls    = 96  // VT_CALLS
)

// call is one as the kernel side keeps it.
type call struct {
	hop, function int
	returns       bool
	time          uint64
}

func (c call) word() uint64 {
	w := uint64(c.hop)<<56 | uint64(c.function)<<48 | c.time&(1<<48-1)
	if c.returns {
		w |= returns << 48
	}
	return w
}

// figure is what a function took in a hop, or the hop itself (function 0).
type figure struct{ calls, inclusive, exclusive, since uint64 }

type spot struct{ hop, function int }

// fold is the rule in Go: each moment belongs to the function that was entered
// last; one that has not returned when the hop ends, ends with it.
func fold(stamps []uint64, calls []call) map[spot]figure {
	figures := map[spot]figure{}
	for hop := 1; hop < len(stamps); hop++ {
		type opened struct {
			function int
			entered  uint64
		}
		var open []opened
		begin, last, called := stamps[hop-1], stamps[hop-1], false
		pass := func(now uint64) {
			function := 0
			if len(open) > 0 {
				function = open[len(open)-1].function
			}
			f := figures[spot{hop, function}]
			f.exclusive += now - last
			figures[spot{hop, function}] = f
			last = now
		}
		pop := func(now uint64) {
			top := open[len(open)-1]
			open = open[:len(open)-1]
			f := figures[spot{hop, top.function}]
			f.calls++
			f.inclusive += now - top.entered
			f.since += top.entered - begin
			figures[spot{hop, top.function}] = f
		}
		for _, c := range calls {
			if c.hop != hop || c.time < last || c.time > stamps[hop] {
				called = called || c.hop == hop
				continue
			}
			called = true
			pass(c.time)
			if !c.returns {
				if len(open) < deepest {
					open = append(open, opened{c.function, c.time})
				}
				continue
			}
			at := len(open) - 1
			for at >= 0 && !same(open[at].function, c.function) {
				at--
			}
			for at >= 0 && len(open) > at {
				pop(c.time)
			}
		}
		pass(stamps[hop])
		for len(open) > 0 {
			pop(stamps[hop])
		}
		if !called {
			delete(figures, spot{hop, 0})
			continue
		}
		own := figures[spot{hop, 0}]
		own.calls, own.inclusive = 1, stamps[hop]-begin
		figures[spot{hop, 0}] = own
	}
	return figures
}

// same tells whether a return of one function ends the other: with tables it
// does not say which.
func same(entered, returned int) bool {
	return entered == returned || returned >= firstGrouped && entered/8 == returned/8
}

// draw makes a journey: calls nest, return or do not, are too deep, or lie where they cannot.
func draw(r *rand.Rand) (stamps []uint64, calls []call) {
	now := r.Uint64N(1 << 40)
	stamps = append(stamps, now)
	functions := []int{1, 2, 3, 4, 111, 112, 113, 115, 120}
	for hop := 1; hop <= 1+r.IntN(6); hop++ {
		n := r.IntN(14)
		if len(calls)+n > mostCalls {
			n = 0
		}
		for range n {
			now += r.Uint64N(3000)
			c := call{hop: hop, function: functions[r.IntN(len(functions))], returns: r.IntN(3) == 0, time: now}
			if r.IntN(40) == 0 {
				c.time -= 10_000 // before the hop, or the call before
			}
			if c.returns && c.function > firstGrouped {
				c.function = c.function / 8 * 8
			}
			calls = append(calls, c)
		}
		now += r.Uint64N(3000)
		stamps = append(stamps, now)
	}
	return stamps, calls
}

// Functions are told apart as the rule says: inclusive, exclusive and own times,
// of journeys of every shape; own and exclusive times add up to each hop.
func TestFold(t *testing.T) {
	objects := load(t, func(spec *ebpf.CollectionSpec) {
		spec.Maps["vt_rows"].MaxEntries = rows
		spec.Maps["vt_hists"].MaxEntries = 2 * rows
		spec.Maps["vt_free"].MaxEntries = rows
		for name, value := range map[string]uint32{"cfg_row_mask": rows - 1, "cfg_blocks": 2 * rows} {
			if err := spec.Variables[name].Set(value); err != nil {
				t.Fatal(err)
			}
		}
	})
	random := rand.New(rand.NewPCG(3, 4))
	want, hops := map[spot]figure{}, map[int]uint64{}
	for range 2000 {
		stamps, calls := draw(random)
		foldInKernel(t, objects, stamps, calls)
		for at, f := range fold(stamps, calls) {
			sum := want[at]
			sum.calls, sum.inclusive = sum.calls+f.calls, sum.inclusive+f.inclusive
			sum.exclusive, sum.since = sum.exclusive+f.exclusive, sum.since+f.since
			want[at] = sum
			if at.function == 0 {
				hops[at.hop] += stamps[at.hop] - stamps[at.hop-1]
			}
		}
	}
	got := readRows(t, objects)
	for at, f := range want {
		if got[at] != f {
			t.Errorf("hop %d, function %d: kernel %+v, rule %+v", at.hop, at.function, got[at], f)
		}
	}
	if len(got) != len(want) || len(got) < 20 {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for at, f := range got {
		hops[at.hop] -= f.exclusive
	}
	for hop, left := range hops {
		if left != 0 {
			t.Errorf("hop %d: own and exclusive times miss %d ns of it", hop, int64(left))
		}
	}
}

func foldInKernel(t *testing.T, objects *bpftest.BpftestObjects, stamps []uint64, calls []call) {
	t.Helper()
	var stampWords [bpf.Stamps]uint64
	var callWords [mostCalls]uint64
	copy(stampWords[:], stamps)
	for i, c := range calls {
		callWords[i] = c.word()
	}
	for _, set := range []struct {
		variable *ebpf.Variable
		value    any
	}{
		{objects.TestStamp, stampWords},
		{objects.TestCall, callWords},
		{objects.TestStamps, uint32(len(stamps))},
		{objects.TestCalls, uint32(len(calls))},
	} {
		if err := set.variable.Set(set.value); err != nil {
			t.Fatal(err)
		}
	}
	if status, err := objects.TestFold.Run(&ebpf.RunOptions{}); err != nil || status != 0 {
		t.Fatal(status, err)
	}
}

func readRows(t *testing.T, objects *bpftest.BpftestObjects) map[spot]figure {
	t.Helper()
	got := map[spot]figure{}
	for i := range uint32(rows) {
		var row bpftest.BpftestVtRow
		if err := objects.VtRows.Lookup(i, &row); err != nil {
			t.Fatal(err)
		}
		if row.Ready == 0 {
			continue
		}
		var hists [2]bpftest.BpftestVtHist
		for j := range hists {
			if err := objects.VtHists.Lookup(row.Block[j], &hists[j]); err != nil {
				t.Fatal(err)
			}
		}
		f := figure{inclusive: hists[0].Sum, exclusive: hists[1].Sum, since: row.Since}
		for _, n := range hists[0].Bucket {
			f.calls += uint64(n)
		}
		got[spot{int(row.Hop), int(row.Function)}] = f
	}
	return got
}
