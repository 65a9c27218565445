// SPDX-License-Identifier: Apache-2.0

// Package pingpong plays one byte back and forth over TCP or UDP, both
// ends on one CPU, and tells how many round trips there were per window.
//
// The players live in a process of their own (this executable run again), with
// blocking system calls that the Go runtime does not know of, on threads bound
// to the CPU, without garbage collection: nothing but the packets' way is
// between two round trips. The sockets are made by the parent, in the
// namespaces that they belong to, and inherited.
package pingpong

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childEnv carries the orders of the child; its presence makes this executable one.
const childEnv = "VETHTRACE_ACCURACY_CHILD"

// firstFD is where inherited sockets begin.
const firstFD = 3

// orders tell the child what it has inherited: client and server in turns.
type orders struct {
	CPU   int `json:"cpu"`
	Pairs int `json:"pairs"`
}

// request is one line from the parent: play some windows.
type request struct {
	Pair    int   `json:"pair"`
	Windows int   `json:"windows"`
	Ns      int64 `json:"ns"`
}

// reply is one line to the parent.
type reply struct {
	Trips []uint64 `json:"trips"`
	Ns    []uint64 `json:"ns"`
	Error string   `json:"error,omitempty"`
}

// MaybeChild turns the process into the player, and never returns, if it was
// started as one. main, and TestMain of each package that plays, call it first.
func MaybeChild() {
	raw, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	if err := runChild([]byte(raw), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runChild(raw []byte, in io.Reader, out io.Writer) error {
	var o orders
	if err := json.Unmarshal(raw, &o); err != nil {
		return fmt.Errorf("decode orders: %w", err)
	}
	debug.SetGCPercent(-1)          // a few kilobytes in all; a collection would wait for the blocked threads
	runtime.GOMAXPROCS(o.Pairs + 4) // each blocked server keeps one
	for pair := range o.Pairs {
		go serve(firstFD+2*pair+1, o.CPU)
	}
	answers := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	player := newPlayer(o)
	defer close(player)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("decode request: %w", err)
		}
		answer := make(chan reply)
		player <- task{r, answer}
		if err := answers.Encode(<-answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return lines.Err() // nil when the parent has gone or has had enough
}

type task struct {
	request
	answer chan<- reply
}

// newPlayer starts the client's thread.
func newPlayer(o orders) chan<- task {
	tasks := make(chan task)
	go func() {
		runtime.LockOSThread()
		err := bind(o.CPU)
		for t := range tasks {
			if err != nil {
				t.answer <- reply{Error: err.Error()}
				continue
			}
			if t.Pair < 0 || t.Pair >= o.Pairs {
				t.answer <- reply{Error: fmt.Sprintf("there is no pair %d", t.Pair)}
				continue
			}
			t.answer <- play(firstFD+2*t.Pair, t.Windows, time.Duration(t.Ns))
		}
	}()
	return tasks
}

// bind keeps the calling thread on one CPU.
func bind(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("bind to CPU %d: %w", cpu, err)
	}
	return nil
}

// serve sends back what it gets, for ever.
func serve(fd, cpu int) {
	runtime.LockOSThread()
	if err := bind(cpu); err != nil {
		return // the client says that no answer comes
	}
	var b byte
	for readByte(fd, &b) == nil && writeByte(fd, &b) == nil {
	}
}

// tripsPerLook is how many round trips lie between two looks at the clock: a
// look costs as much as a stamp.
const tripsPerLook = 16

func play(fd, windows int, length time.Duration) reply {
	r := reply{Trips: make([]uint64, windows), Ns: make([]uint64, windows)}
	var b byte
	for w := range windows {
		begin := time.Now()
		for {
			for range tripsPerLook {
				if err := writeByte(fd, &b); err != nil {
					return reply{Error: "send: " + err.Error()}
				}
				if err := readByte(fd, &b); err != nil {
					return reply{Error: "wait for the answer: " + err.Error()}
				}
			}
			r.Trips[w] += tripsPerLook
			if took := time.Since(begin); took >= length {
				r.Ns[w] = uint64(took)
				break
			}
		}
	}
	return r
}

// errClosed says that the other end has gone.
var errClosed = errors.New("the connection was closed")

func readByte(fd int, b *byte) error  { return transfer(unix.SYS_READ, fd, b) }
func writeByte(fd int, b *byte) error { return transfer(unix.SYS_WRITE, fd, b) }

// transfer is a system call that the runtime does not hear of: it would hand
// the thread's processor away and take it back, which costs more than a hop.
func transfer(call uintptr, fd int, b *byte) error {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(b)), 1)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return errno
		case n != 1:
			return errClosed
		default:
			return nil
		}
	}
}
