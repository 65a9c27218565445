// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestAffinityComesBack(t *testing.T) {
	var before, during, after unix.CPUSet
	get := func(set *unix.CPUSet) {
		t.Helper()
		if err := unix.SchedGetaffinity(0, set); err != nil {
			t.Fatal(err)
		}
	}
	get(&before)
	home, cpu, err := LeaveLastCPU()
	if err != nil {
		t.Fatal(err)
	}
	get(&during)
	if err := home.Restore(); err != nil {
		t.Fatal(err)
	}
	get(&after)
	if after != before {
		t.Errorf("allowed CPUs were %v, are %v", before, after)
	}
	if !before.IsSet(cpu) || before.Count() > 1 && during.IsSet(cpu) {
		t.Errorf("the ping-pong's CPU %d was not left alone: %v", cpu, during)
	}
}

func TestParseBusy(t *testing.T) {
	busy, err := parseBusy("cpu  10 1 5 1000 70 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if err != nil || busy != 10+1+5+2+3+4 {
		t.Errorf("busy = %d, %v, want 25", busy, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu a b c d e f g h\n"} {
		if _, err := parseBusy(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestParseCPU(t *testing.T) {
	m := parseCPU("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor sse\n")
	if m.CPU != "Some CPU" || !m.Virtual {
		t.Errorf("%+v", m)
	}
	if m := parseCPU("processor\t: 0\nBogoMIPS\t: 50.00\n"); m.CPU == "" || m.Virtual {
		t.Errorf("without a model: %+v", m)
	}
}
