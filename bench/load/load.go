// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// Kind is what is done on a way.
type Kind string

// The kinds of load.
const (
	KindTCP         Kind = "tcp"         // one byte goes back and forth over a connection: a unit is a round trip
	KindUDP         Kind = "udp"         // the same in datagrams
	KindFlood       Kind = "flood"       // datagrams of one byte to a socket that nobody reads: a unit is a packet that came there
	KindHTTP        Kind = "http"        // 64 kept-alive connections with a request in flight on each: a unit is a request
	KindConnections Kind = "connections" // connect, one byte each way, reset: a unit is a connection
)

// Unit names what is counted.
func (k Kind) Unit() string {
	switch k {
	case KindFlood:
		return "packet"
	case KindHTTP:
		return "request"
	case KindConnections:
		return "connection"
	}
	return "round trip"
}

// Way is where there is load: from a namespace to an address, behind which a
// socket of another namespace listens.
type Way struct {
	Kind   Kind
	Client *netns.NS
	Dial   netip.AddrPort // IPv4; IPv6 too, but for connections
	Server *netns.NS
	Listen uint16 // port in the server's namespace
}

// Game is a running child with the sockets of its ways.
type Game struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Reader
	out     *os.File
	thread  *netns.Thread
}

// answerTimeout is how long a socket waits for the other end before the game
// is given up: all of it is in one machine.
const answerTimeout = 2 * time.Second

// Start connects all ways and starts the players on one CPU.
func Start(cpu int, ways ...Way) (_ *Game, err error) {
	o := orders{CPU: cpu}
	var files []*os.File
	defer func() {
		for _, file := range files {
			file.Close() // the child has its own
		}
	}()
	take := func(ends []*os.File) (numbers []int) {
		for _, end := range ends {
			numbers = append(numbers, firstFD+len(files))
			files = append(files, end)
		}
		return numbers
	}
	for _, way := range ways {
		clients, servers, err := way.open()
		o.Ways = append(o.Ways, wayOrders{Kind: way.Kind, Clients: take(clients), Servers: take(servers), Dial: way.Dial})
		if err != nil {
			return nil, fmt.Errorf("%s to %s: %w", way.Kind, way.Dial, err)
		}
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode the players' orders: %w", err)
	}
	g := &Game{thread: netns.NewThread(), cmd: exec.Command("/proc/self/exe")}
	g.cmd.Args = []string{"vethtrace-bench-load"}
	// no preemption: it comes by signals, which break into the system calls
	g.cmd.Env = append(os.Environ(), childEnv+"="+string(raw), "GODEBUG=asyncpreemptoff=1")
	g.cmd.ExtraFiles = files
	g.cmd.Stderr = os.Stderr
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := g.start(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Game) start() error {
	var outW *os.File
	var err error
	if g.orders, err = g.cmd.StdinPipe(); err != nil {
		g.thread.Close()
		return fmt.Errorf("start the players: %w", err)
	}
	if g.out, outW, err = os.Pipe(); err != nil {
		g.orders.Close()
		g.thread.Close()
		return fmt.Errorf("start the players: %w", err)
	}
	g.cmd.Stdout = outW
	g.answers = bufio.NewReader(g.out)
	err = g.thread.Do(nil, g.cmd.Start)
	outW.Close()
	if err != nil {
		g.orders.Close()
		g.out.Close()
		g.thread.Close()
		return fmt.Errorf("start the players: %w", err)
	}
	return nil
}

// PID of the process that has all sockets.
func (g *Game) PID() int { return g.cmd.Process.Pid }

// Play plays so many windows of that length on one of the ways.
func (g *Game) Play(way, windows int, length time.Duration) (stats.Span, error) {
	line, err := json.Marshal(request{Way: way, Windows: windows, Ns: length.Nanoseconds()})
	if err != nil {
		return stats.Span{}, fmt.Errorf("play: encode: %w", err)
	}
	if _, err := g.orders.Write(append(line, '\n')); err != nil {
		return stats.Span{}, fmt.Errorf("play: %w", err)
	}
	deadline := time.Now().Add(time.Duration(windows)*length + 2*answerTimeout)
	if err := g.out.SetReadDeadline(deadline); err != nil {
		return stats.Span{}, fmt.Errorf("play: %w", err)
	}
	answer, err := g.answers.ReadBytes('\n')
	if err != nil {
		return stats.Span{}, fmt.Errorf("play: the players are silent: %w", err)
	}
	var r reply
	if err := json.Unmarshal(answer, &r); err != nil {
		return stats.Span{}, fmt.Errorf("play: decode the answer: %w", err)
	}
	if r.Error != "" {
		return stats.Span{}, fmt.Errorf("play: %s", r.Error)
	}
	return stats.Span{Trips: r.Trips, Ns: r.Ns, Probes: r.Probes}, nil
}

// Close ends the players and waits until they are gone.
func (g *Game) Close() error {
	g.orders.Close()
	_ = g.cmd.Process.Kill() // fails only if it has ended already
	_ = g.cmd.Wait()         // killed, always
	g.out.Close()
	g.thread.Close()
	return nil
}
