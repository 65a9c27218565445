package bpf_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/bpf/bpftest"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

func load(t *testing.T, set func(*ebpf.CollectionSpec)) *bpftest.BpftestObjects {
	t.Helper()
	var objects bpftest.BpftestObjects
	loadInto(t, &objects, set)
	t.Cleanup(func() { objects.Close() })
	return &objects
}

// loadInto loads what a struct names, and nothing else.
func loadInto(t *testing.T, objects any, set func(*ebpf.CollectionSpec)) {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := bpftest.LoadBpftest()
	if err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(spec)
	}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		t.Fatalf("%+v", err)
	}
}

// The kernel side and the Go side put each value into the same bucket.
func TestHistogramRule(t *testing.T) {
	// The rule holds on old kernels too, which do not take the other programs.
	var objects struct {
		bpftest.BpftestVariables
		TestObserve *ebpf.Program `ebpf:"test_observe"`
	}
	loadInto(t, &objects, nil)
	defer objects.TestObserve.Close()
	var want histogram.Histogram
	random := rand.New(rand.NewPCG(1, 2))
	var values []uint64
	for shift := range 40 { // around each power of two, where rules differ if they do
		for delta := -2; delta <= 2; delta++ {
			if v := int64(1)<<shift + int64(delta); v >= 0 {
				values = append(values, uint64(v))
			}
		}
	}
	for range 20_000 {
		values = append(values, random.Uint64()>>(24+random.UintN(40)))
	}
	for len(values) > 0 {
		batch := make([]uint64, 1024)
		n := copy(batch, values)
		values = values[n:]
		if err := objects.TestValues.Set(batch); err != nil {
			t.Fatal(err)
		}
		if err := objects.TestCount.Set(uint32(n)); err != nil {
			t.Fatal(err)
		}
		if _, err := objects.TestObserve.Run(&ebpf.RunOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, v := range batch[:n] {
			want.Add(v)
		}
	}
	var got bpftest.BpftestVtHist
	if err := objects.TestHist.Get(&got); err != nil {
		t.Fatal(err)
	}
	for i := range want.Counts {
		if uint64(got.Bucket[i]) != want.Counts[i] {
			t.Errorf("bucket %d from %d ns: kernel %d, Go %d", i, histogram.Lower(i), got.Bucket[i], want.Counts[i])
		}
	}
	if uint64(got.Overflow) != want.Overflow || got.Sum != want.Sum || got.Max != want.Max {
		t.Errorf("overflow, sum, max: kernel %d %d %d, Go %d %d %d",
			got.Overflow, got.Sum, got.Max, want.Overflow, want.Sum, want.Max)
	}
}

// Journeys of two CPUs meet in one set of eight slots: none is lost, none takes
// another's, and what finds no room is counted.
func TestSlotsAreClaimedOnce(t *testing.T) {
	objects := load(t, func(spec *ebpf.CollectionSpec) {
		if err := spec.Variables["cfg_set_mask"].Set(uint32(0)); err != nil {
			t.Fatal(err)
		}
	})
	const cpus, runs, rounds, held, tries = 2, 10, 20_000, 9, 20
	count := func(v *ebpf.Variable) (n uint64) {
		if err := v.Get(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// alone, a CPU finds its ninth journey without room in each round; on a busy machine the two may not meet
	alone := uint64(0)
	for try := 0; count(objects.TestEvicted) <= alone; try++ {
		if try == tries {
			t.Fatalf("evicted %d, no more than %d: the two CPUs never met, the test shows nothing", count(objects.TestEvicted), alone)
		}
		race(t, objects.TestRace, cpus, runs, rounds)
		alone += cpus * runs * rounds
	}
	started, evicted, completed := count(objects.TestStarted), count(objects.TestEvicted), count(objects.TestCompleted)
	if want := alone * held; started != want {
		t.Errorf("started %d, want %d", started, want)
	}
	if wrong, lost := count(objects.TestWrong), count(objects.TestLost); wrong != 0 || lost != 0 {
		t.Errorf("%d found another's slot, %d lost their own; want none", wrong, lost)
	}
	if completed+evicted != started {
		t.Errorf("completed %d + evicted %d is not started %d", completed, evicted, started)
	}
}

// race lets each CPU run the program's rounds, at once.
func race(t *testing.T, program *ebpf.Program, cpus, runs, rounds uint32) {
	t.Helper()
	var all sync.WaitGroup
	for cpu := range cpus {
		all.Go(func() {
			runtime.LockOSThread() // one thread each, so that the kernel runs them at once
			for range runs {
				in := struct{ CPU, Rounds uint32 }{cpu, rounds}
				if _, err := program.Run(&ebpf.RunOptions{Context: in}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// The sizes that Go takes for granted are the object's own.
func TestSizes(t *testing.T) {
	spec, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	var slot bpf.KernelVtSlot
	for name, want := range map[string]uint32{
		"vt_owners":     bpf.Slots * 8,
		"vt_devices":    bpf.Devices * 16,
		"vt_port_index": bpf.Targets * 4,
		"vt_addresses":  bpf.Addresses * 24,
		"vt_switched":   bpf.CPUs,
		"vt_groups":     bpf.Groups * 16,
		"vt_proxies":    bpf.Proxies * 16,
		"vt_ports":      2 * 65536 * 2,
		"vt_slots":      bpf.Slots * (64 + bpf.Stamps*14),
	} {
		if got := spec.Variables[name].Size(); got != want {
			t.Errorf("%s has %d bytes, want %d", name, got, want)
		}
	}
	if len(slot.Stamp) != bpf.Stamps {
		t.Errorf("a slot has %d stamps, want %d", len(slot.Stamp), bpf.Stamps)
	}
}
