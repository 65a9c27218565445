// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// Times after which a program is given up: bpftrace compiles for seconds on a busy machine.
const (
	readyTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// process is a program that watches packets until it is interrupted. It dies with this process.
type process struct {
	cmd    *exec.Cmd
	thread *netns.Thread
	lines  []string // of its output and errors; read them after stop only
	ready  chan struct{}
	ended  chan error
}

// startProcess starts a program in a namespace (nil: this one) and returns when a line of
// its output contains what it says when it is ready.
func startProcess(ctx context.Context, ns *netns.NS, readyLine, name string, args ...string) (*process, error) {
	out, outW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{
		cmd: exec.Command(name, args...), thread: netns.NewThread(),
		ready: make(chan struct{}), ended: make(chan error, 1),
	}
	p.cmd.Stdout, p.cmd.Stderr = outW, outW
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err = p.thread.Do(ns, p.cmd.Start)
	outW.Close()
	if err != nil {
		out.Close()
		p.thread.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.follow(out, readyLine)
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case <-p.ready:
		return p, nil
	case err := <-p.ended:
		p.ended <- err
		err = errors.Join(errors.New("it ended at once"), err)
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, p.discard()))
	case <-ctx.Done():
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(ctx.Err(), p.discard()))
	case <-timeout.C:
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(errors.New("it does not become ready"), p.discard()))
	}
}

// follow gathers what the program says until it ends.
func (p *process) follow(out *os.File, readyLine string) {
	defer out.Close()
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 16<<20) // all of a map is one line
	told := false
	for scanner.Scan() {
		p.lines = append(p.lines, scanner.Text())
		if !told && strings.Contains(scanner.Text(), readyLine) {
			told = true
			close(p.ready)
		}
	}
	p.ended <- errors.Join(scanner.Err(), p.cmd.Wait())
}

// stop interrupts the program as a user does and returns what it said.
func (p *process) stop() ([]string, error) {
	defer p.thread.Close()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, errors.Join(fmt.Errorf("stop %s: %w", p.cmd.Path, err), p.discard())
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case err := <-p.ended:
		if err != nil {
			return p.lines, fmt.Errorf("stop %s: %w: %s", p.cmd.Path, err, strings.Join(p.lines, "; "))
		}
		return p.lines, nil
	case <-timeout.C:
		return nil, errors.Join(fmt.Errorf("stop %s: it does not end", p.cmd.Path), p.discard())
	}
}

// discard kills the program and returns, as an error, what it said.
func (p *process) discard() error {
	_ = p.cmd.Process.Kill() // fails only if it has ended already
	<-p.ended                //nolint:errcheck // of being killed
	p.thread.Close()
	if len(p.lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(p.lines, "; "))
}
