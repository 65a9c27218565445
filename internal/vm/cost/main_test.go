package main

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Why a program is not loaded is the verifier's complaint, not the statistics behind it.
func TestReason(t *testing.T) {
	err := &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{
		"0: (bf) r6 = r1", "BPF_XADD uses reserved fields", "verification time 8771 usec", "stack depth 0+0", "processed 0 insns (limit 1000000)",
	}}
	if got, want := reason(err), "invalid argument: 0: (bf) r6 = r1; BPF_XADD uses reserved fields"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := reason(errors.New("one\ntwo")), "one"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The number of instructions is found among the statistics.
func TestProcessed(t *testing.T) {
	if n := processed("stack depth 0\nprocessed 123 insns (limit 1000000) max_states_per_insn 0"); n != 123 {
		t.Errorf("%d", n)
	}
	if n := processed("nothing"); n != 0 {
		t.Errorf("%d", n)
	}
}
