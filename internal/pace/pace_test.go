// SPDX-License-Identifier: Apache-2.0

package pace

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestLook(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	// of many looks the quickest is no quicker than so many system calls can be
	var best uint64
	for range 100 {
		ns, err := p.Look()
		if err != nil {
			t.Fatal(err)
		}
		if best == 0 || ns < best {
			best = ns
		}
	}
	if least := uint64(2 * bytesPerLook * 20); best < least {
		t.Errorf("%d system calls took %d ns", 2*bytesPerLook, best)
	}
	var left int
	if left, err = unix.IoctlGetInt(p.out, unix.TIOCINQ); err != nil || left != 0 {
		t.Errorf("%d bytes are left in the pipe: %v", left, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Look(); err == nil {
		t.Error("a closed pipe is looked through")
	}
}

func TestQuick(t *testing.T) {
	if got := Quick(nil); got != 0 {
		t.Errorf("none take %v", got)
	}
	var probes []float64
	for i := range 101 {
		probes = append(probes, float64(2000-i*10))
	}
	if got := Quick(probes); got != 1050 {
		t.Errorf("quick is %v, want 1050", got)
	}
	if got := Quick([]float64{3, 2}); got != 2 {
		t.Errorf("quick of two is %v", got)
	}
}
