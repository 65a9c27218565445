// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// childEnv carries the orders of a child; its presence makes this executable one.
const childEnv = "VETHTRACE_LOADGEN_CHILD"

// patience is how long a child may take beyond its round: to start, to answer.
const patience = 10 * time.Second

// orders are one of the two.
type orders struct {
	Client *clientOrders `json:"client,omitempty"`
	Server *serverOrders `json:"server,omitempty"`
}

// process is a running child.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *os.File
	answers *bufio.Reader
}

// start starts a child in ns and waits until it is ready. The thread must
// outlive it: it dies with the thread.
func start(thread *netns.Thread, ns *netns.NS, o orders) (_ *process, err error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode orders: %w", err)
	}
	p := &process{cmd: exec.Command("/proc/self/exe")}
	p.cmd.Args = []string{"vethtrace-load"}
	// Preemption comes by signals, which break into the system calls.
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(raw), "GODEBUG=asyncpreemptoff=1")
	p.cmd.Stderr = os.Stderr
	// A group of its own: a terminal's Ctrl-C is for the parent.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	var outW *os.File
	if p.out, outW, err = os.Pipe(); err != nil {
		p.in.Close()
		return nil, err
	}
	p.cmd.Stdout = outW
	p.answers = bufio.NewReader(p.out)
	err = thread.Do(ns, p.cmd.Start)
	outW.Close()
	if err != nil {
		p.in.Close()
		p.out.Close()
		return nil, err
	}
	first, err := p.answer(patience)
	if err == nil && !first.Ready {
		err = errors.New(first.Error)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *process) answer(within time.Duration) (reply, error) {
	if err := p.out.SetReadDeadline(time.Now().Add(within)); err != nil {
		return reply{}, err
	}
	line, err := p.answers.ReadBytes('\n')
	if err != nil {
		return reply{}, fmt.Errorf("the load's process is silent: %w", err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, fmt.Errorf("decode an answer: %w", err)
	}
	return r, nil
}

// close ends the child and waits until it is gone.
func (p *process) close() error {
	p.in.Close()
	_ = p.cmd.Process.Kill() // fails only if it has ended already
	_ = p.cmd.Wait()         // killed, always
	return p.out.Close()
}

// Server answers request-response and bulk loads in one namespace.
type Server struct {
	*process
	RR, Bulk uint16
}

// Serve starts a server in ns: one byte for one byte on the TCP and the UDP port
// rr, and a sink of bulk loads on rr+1, by IPv6 if six. cpu is where it runs, -1
// for anywhere.
func Serve(thread *netns.Thread, ns *netns.NS, rr uint16, cpu int, six bool) (*Server, error) {
	o := serverOrders{RR: rr, Bulk: rr + 1, CPU: cpu, Six: six}
	p, err := start(thread, ns, orders{Server: &o})
	if err != nil {
		return nil, fmt.Errorf("start a server: %w", err)
	}
	return &Server{process: p, RR: o.RR, Bulk: o.Bulk}, nil
}

// PID of the process that has the sockets.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// CPUTime is the processor time that it has used since it was started. While no
// request is under way nothing of it runs, and the figure is exact.
func (s *Server) CPUTime() (time.Duration, error) {
	// a process's clock is named by its id (include/linux/posix-timers_types.h: CPUCLOCK_SCHED)
	clock := int32(^s.PID()<<3 | 2)
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// Close ends the server.
func (s *Server) Close() error { return s.close() }

// Client is a load with its connections.
type Client struct{ *process }

// Open connects a client in ns with a server. cpu is where request-response
// runs, -1 for anywhere.
func Open(thread *netns.Thread, ns *netns.NS, load Load, to netip.AddrPort, cpu int) (*Client, error) {
	if err := load.check(); err != nil {
		return nil, err
	}
	p, err := start(thread, ns, orders{Client: &clientOrders{Load: load, To: to, CPU: cpu}})
	if err != nil {
		return nil, fmt.Errorf("start a client of %s: %w", to, err)
	}
	return &Client{p}, nil
}

// Run runs the load for so long and returns what the client saw. When it
// returns nothing of the load is under way.
func (c *Client) Run(length time.Duration) (Round, error) {
	line, err := json.Marshal(request{Ns: length.Nanoseconds()})
	if err != nil {
		return Round{}, fmt.Errorf("run a load: %w", err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return Round{}, fmt.Errorf("run a load: %w", err)
	}
	r, err := c.answer(length + patience)
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		return Round{}, fmt.Errorf("run a load: %w", err)
	}
	return r.round(), nil
}

// Close ends the client and its connections.
func (c *Client) Close() error { return c.close() }

// MaybeChild turns the process into a server or client, and never returns, if it
// was started as one. main, and TestMain of each package that loads, call it first.
func MaybeChild() {
	raw, ok := os.LookupEnv(childEnv)
	if !ok {
		return
	}
	if err := child([]byte(raw), os.Stdin, os.Stdout); err != nil {
		line, _ := json.Marshal(reply{Error: err.Error()}) // strings can be encoded
		fmt.Println(string(line))
		os.Exit(1)
	}
	os.Exit(0)
}

// child is the life of a child: it says that it is ready, does what it is told,
// and ends with its standard input.
func child(raw []byte, in io.Reader, out io.Writer) error {
	var o orders
	if err := json.Unmarshal(raw, &o); err != nil {
		return fmt.Errorf("decode orders: %w", err)
	}
	answers := json.NewEncoder(out)
	run := func(time.Duration) (Round, error) { return Round{}, errors.New("a server runs no load") }
	var err error
	switch {
	case o.Server != nil:
		err = o.Server.start()
	case o.Client != nil:
		run, err = o.Client.open()
	}
	if err != nil {
		return err
	}
	if err := answers.Encode(reply{Ready: true}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("decode request: %w", err)
		}
		round, err := run(time.Duration(r.Ns))
		answer := replyOf(round)
		if err != nil {
			answer = reply{Error: err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err() // nil when the parent has gone or has had enough
}
