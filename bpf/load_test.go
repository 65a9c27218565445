package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// Every program passes the verifier of the running kernel.
func TestLoad(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	spec, err := LoadKernel()
	if err != nil {
		t.Fatal(err)
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
		instructions, _ := info.VerifiedInstructions()
		t.Logf("%s: %d verified", name, instructions)
	}
}
