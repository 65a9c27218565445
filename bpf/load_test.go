package bpf_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/vethtrace/vethtrace/bpf"
)

// mostInstructions is half of what the verifier of the oldest kernels allows:
// beyond it, one more branch somewhere fails a user's load.
const mostInstructions = 500_000

// Every program passes the verifier of the running kernel, far from its limit,
// with everything off that can be, and with all that journeys may be asked for.
func TestLoad(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]map[string]any{
		"plain": {},
		"whole": {
			"cfg_whole": true, "cfg_functions": true, "cfg_row_mask": uint32(4095),
			"cfg_slow_ns": uint64(1), "cfg_sample": uint32(1),
		},
	} {
		t.Run(name, func(t *testing.T) { loadAll(t, set) })
	}
}

func loadAll(t *testing.T, set map[string]any) {
	spec, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range set {
		if err := spec.Variables[name].Set(value); err != nil {
			t.Fatal(err)
		}
	}
	programs := spec.Programs
	spec.Programs = nil
	shared, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	types := btf.NewCache()
	for name, program := range programs {
		if strings.HasPrefix(name, "vt_call_") { // of functions, which not every kernel lets be probed: tracer/functions_test.go loads them
			continue
		}
		one := spec.Copy()
		one.Variables, one.Programs = nil, map[string]*ebpf.ProgramSpec{name: program}
		coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: shared.Maps, Cache: types})
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			t.Errorf("%s: %+v", name, verifier)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		verified(t, name, coll.Programs[name])
		coll.Close()
	}
}

func verified(t *testing.T, name string, program *ebpf.Program) {
	t.Helper()
	info, err := program.Info()
	if err != nil {
		t.Fatal(err)
	}
	instructions, ok := info.VerifiedInstructions()
	if !ok || instructions > mostInstructions {
		t.Errorf("%s: the verifier looked at %d instructions (%v), want at most %d", name, instructions, ok, mostInstructions)
	}
	t.Logf("%s: %d verified", name, instructions)
}
