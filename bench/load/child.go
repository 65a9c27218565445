// SPDX-License-Identifier: Apache-2.0

// Package load puts load on the ways of a lab world, both ends on one CPU, and
// tells how many units (round trips, packets, requests, connections) there
// were per window. As the CPU is busy all the time, the time of a window over
// its units is what a unit costs: an answer's latency where one byte goes back
// and forth, processor time per packet where packets are only sent.
//
// The players live in a process of their own (this executable run again), with
// blocking system calls that the Go runtime does not know of, on threads bound
// to the CPU, without garbage collection: nothing but the packets' way is
// between two units. The sockets are made by the parent, in the namespaces
// that they belong to, and inherited.
package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/internal/pace"
)

// childEnv carries the orders of the child; its presence makes this executable one.
const childEnv = "VETHTRACE_BENCH_LOAD_CHILD"

// firstFD is where inherited sockets begin.
const firstFD = 3

// orders tell the child what it has inherited.
type orders struct {
	CPU  int         `json:"cpu"`
	Ways []wayOrders `json:"ways"`
}

// wayOrders are the descriptors of one way, and what to do with them.
type wayOrders struct {
	Kind    Kind           `json:"kind"`
	Clients []int          `json:"clients"` // sockets; for connections, the client's namespace
	Servers []int          `json:"servers"` // sockets; for connections, the one that listens
	Dial    netip.AddrPort `json:"dial"`
}

// request is one line from the parent: play some windows.
type request struct {
	Way     int   `json:"way"`
	Windows int   `json:"windows"`
	Ns      int64 `json:"ns"`
}

// reply is one line to the parent.
type reply struct {
	Trips  []uint64 `json:"trips"`
	Ns     []uint64 `json:"ns"`
	Probes []uint64 `json:"probes"`
	Error  string   `json:"error,omitempty"`
}

// MaybeChild turns the process into the players, and never returns, if it was
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
	debug.SetGCPercent(-1)                // a few kilobytes in all; a collection would wait for the blocked threads
	runtime.GOMAXPROCS(2*len(o.Ways) + 4) // each blocked server keeps one
	var players []chan<- task
	for _, way := range o.Ways {
		go way.serve(o.CPU)
		player := make(chan task)
		defer close(player)
		go way.play(o.CPU, player)
		players = append(players, player)
	}
	answers := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("decode request: %w", err)
		}
		answered := reply{Error: fmt.Sprintf("there is no way %d", r.Way)}
		if r.Way >= 0 && r.Way < len(players) {
			answer := make(chan reply)
			players[r.Way] <- task{r, answer}
			answered = <-answer
		}
		if err := answers.Encode(answered); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return lines.Err() // nil when the parent has gone or has had enough
}

type task struct {
	request
	answer chan<- reply
}

// player is the client's side of a kind of load.
type player interface {
	// begin is called before the first window, finish after the last one.
	begin() error
	// step makes some units and says how many. It is short beside a window, and long beside a look at the clock.
	step() (uint64, error)
	finish() error
}

// play plays what is asked for on a thread of its own, in the client's namespace if sockets are to be made there.
func (w wayOrders) play(cpu int, tasks <-chan task) {
	loop := func() error {
		if err := bind(cpu); err != nil {
			return err
		}
		p, err := w.player()
		if err != nil {
			return err
		}
		quiet, err := pace.New()
		if err != nil {
			return err
		}
		defer quiet.Close()
		for t := range tasks {
			t.answer <- windows(p, quiet, t.Windows, time.Duration(t.Ns))
		}
		return nil
	}
	if err := w.onThread(loop); err != nil {
		for t := range tasks {
			t.answer <- reply{Error: err.Error()}
		}
	}
}

// onThread calls loop with the thread locked: where it may be.
func (w wayOrders) onThread(loop func() error) error {
	if w.Kind != KindConnections {
		runtime.LockOSThread()
		return loop()
	}
	ns, err := netns.Open(fmt.Sprintf("/proc/self/fd/%d", w.Clients[0]))
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(loop)
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

func windows(p player, quiet *pace.Probe, count int, length time.Duration) reply {
	r := reply{Trips: make([]uint64, count), Ns: make([]uint64, count), Probes: make([]uint64, count+1)}
	if err := p.begin(); err != nil {
		return reply{Error: err.Error()}
	}
	var err error
	for w := range count {
		if r.Probes[w], err = quiet.Look(); err != nil {
			return reply{Error: err.Error()}
		}
		begin := time.Now()
		for {
			units, err := p.step()
			if err != nil {
				return reply{Error: err.Error()}
			}
			r.Trips[w] += units
			if took := time.Since(begin); took >= length {
				r.Ns[w] = uint64(took)
				break
			}
		}
	}
	if r.Probes[count], err = quiet.Look(); err != nil {
		return reply{Error: err.Error()}
	}
	if err := p.finish(); err != nil {
		return reply{Error: err.Error()}
	}
	return r
}
