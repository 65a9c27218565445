package bpf_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/vethtrace/vethtrace/bpf"
)

// mostInstructions is half of what the verifier of the oldest kernels allows:
// beyond it, one more branch somewhere fails a user's load.
const mostInstructions = 500_000

// Every program passes the verifier of the running kernel, far from its limit.
func TestLoad(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for name := range spec.Programs {
		if strings.HasPrefix(name, "vt_call_") { // of functions, which not every kernel lets be probed: tracer/functions_test.go loads them
			delete(spec.Programs, name)
		}
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			t.Fatalf("%+v", verifier)
		}
		t.Fatal(err)
	}
	defer coll.Close()
	for name, program := range coll.Programs {
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
}
