// SPDX-License-Identifier: Apache-2.0

// Package pace tells how quick a CPU is at a moment. CPUs of a virtual machine
// share their cores with others: what runs there slows a packet's way to 1.5 times
// its time, without a trace in the guest's statistics. A piece of kernel work that
// no tracer of packets sees is slowed alike: bytes through a pipe.
package pace

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How long a look is: some 10 us each, the quickest of which counts, so that an interrupt in one of them does not.
const (
	looksPerProbe = 3
	bytesPerLook  = 16
)

// A probe is as it should be on a quiet machine if it takes at most Slow times
// what the quickest twentieth take. A core shared with another busy CPU takes 1.4
// times as long.
const (
	quickest = 0.05
	Slow     = 1.12
)

// Probe is a pipe. It is not for concurrent use.
type Probe struct {
	in, out int
	b       [1]byte
}

// New makes a probe of the CPU that its looks will run on.
func New() (*Probe, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe to look how quick the CPU is: %w", err)
	}
	return &Probe{in: ends[1], out: ends[0]}, nil
}

// Look returns how many nanoseconds the work took.
func (p *Probe) Look() (best uint64, err error) {
	for range looksPerProbe {
		begin := time.Now()
		for range bytesPerLook {
			if err := p.pass(unix.SYS_WRITE, p.in); err != nil {
				return 0, fmt.Errorf("look how quick the CPU is: %w", err)
			}
			if err := p.pass(unix.SYS_READ, p.out); err != nil {
				return 0, fmt.Errorf("look how quick the CPU is: %w", err)
			}
		}
		if took := uint64(time.Since(begin)); best == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// pass moves a byte by a system call that the runtime does not hear of, as those of
// loads are. None of them waits: what is written is read next.
func (p *Probe) pass(call uintptr, fd int) error {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&p.b[0])), uintptr(len(p.b)))
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return errno
		case n != uintptr(len(p.b)):
			return io.ErrUnexpectedEOF
		default:
			return nil
		}
	}
}

// Close closes the pipe.
func (p *Probe) Close() error { return errors.Join(unix.Close(p.in), unix.Close(p.out)) }

// Quick is what a probe takes on a quiet machine, by what these took: as long as
// the slowest of their quickest twentieth; 0 of none.
func Quick(probes []float64) float64 {
	if len(probes) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(probes))
	return sorted[int(quickest*float64(len(sorted)-1))]
}
