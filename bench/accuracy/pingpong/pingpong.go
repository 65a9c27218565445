// SPDX-License-Identifier: Apache-2.0

package pingpong

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

// Way is where a connection is made: from a namespace to an address, behind
// which a socket of another namespace listens.
type Way struct {
	Client *netns.NS
	Dial   netip.AddrPort // IPv4 or IPv6
	Server *netns.NS
	Listen uint16 // port in the server's namespace
	UDP    bool   // datagrams of one byte instead of a TCP connection
}

// Game is a running child with its connections, one per way.
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
	var sockets []*os.File // client and server in turns
	defer func() {
		for _, socket := range sockets {
			socket.Close() // the child has its own
		}
	}()
	for _, way := range ways {
		client, server, err := way.connect()
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", way.Dial, err)
		}
		sockets = append(sockets, client, server)
	}
	raw, err := json.Marshal(orders{CPU: cpu, Pairs: len(ways)})
	if err != nil {
		return nil, fmt.Errorf("encode the players' orders: %w", err)
	}
	g := &Game{thread: netns.NewThread(), cmd: exec.Command("/proc/self/exe")}
	g.cmd.Args = []string{"vethtrace-pingpong"}
	// no preemption: it comes by signals, which break into the system calls
	g.cmd.Env = append(os.Environ(), childEnv+"="+string(raw), "GODEBUG=asyncpreemptoff=1")
	g.cmd.ExtraFiles = sockets
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
	line, err := json.Marshal(request{Pair: way, Windows: windows, Ns: length.Nanoseconds()})
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
	return stats.Span{Trips: r.Trips, Ns: r.Ns}, nil
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
