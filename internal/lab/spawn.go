// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// childEnv carries the orders of a child; its presence makes this executable a child.
const childEnv = "VETHTRACE_LAB_CHILD"

// readyLine is what a child prints when all its sockets listen.
const readyLine = "ready"

// readyTimeout bounds the start of a child: a process start and a few socket calls.
const readyTimeout = 10 * time.Second

// orders tell a child what to be.
type orders struct {
	Comm  string     `json:"comm"` // what /proc/PID/comm shows
	Serve *serveSpec `json:"serve,omitempty"`
	Proxy *proxySpec `json:"proxy,omitempty"`
}

// child is a running copy of this executable.
type child struct {
	pid  int
	cmd  *exec.Cmd
	life io.Closer     // our end of the child's standard input: it exits when that closes
	done chan struct{} // closed when the child has been reaped
}

// spawn starts this executable inside ns and waits until it is ready. argv is what the process
// list shows. The thread must outlive the child, or the child dies with it.
func spawn(ctx context.Context, thread *netns.Thread, ns *netns.NS, argv []string, o orders) (*child, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode orders of %s: %w", o.Comm, err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = argv
	cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	cmd.Stderr = os.Stderr
	// A group of its own: a terminal's Ctrl-C is for the parent, who decides when children end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Comm, err)
	}
	out, outW, err := os.Pipe()
	if err != nil {
		life.Close()
		return nil, fmt.Errorf("start %s: %w", o.Comm, err)
	}
	defer out.Close()
	cmd.Stdout = outW
	err = thread.Do(ns, cmd.Start)
	outW.Close()
	if err != nil {
		life.Close()
		return nil, fmt.Errorf("start %s: %w", o.Comm, err)
	}
	c := &child{pid: cmd.Process.Pid, cmd: cmd, life: life, done: make(chan struct{})}
	go c.reap()
	if err := awaitReady(ctx, out); err != nil {
		c.kill()
		return nil, fmt.Errorf("start %s: %w", o.Comm, err)
	}
	return c, nil
}

// reap waits, so that a child that dies by itself is no zombie.
func (c *child) reap() {
	defer close(c.done)
	_ = c.cmd.Wait() // how it ended does not matter: it is killed, always
}

// kill ends the child and waits until it is gone. It may be called again.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // fails only if it has ended already
	<-c.done
	c.life.Close()
}

// awaitReady reads the child's first line: the ready line, or what went wrong.
func awaitReady(ctx context.Context, out *os.File) error {
	deadline := time.Now().Add(readyTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := out.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("wait for ready line: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	switch {
	case strings.TrimSpace(line) == readyLine:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case line != "":
		return errors.New(strings.TrimSpace(line))
	default:
		return fmt.Errorf("wait for ready line: %w", err)
	}
}
