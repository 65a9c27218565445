// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a process of the engine that this process has started.
type daemon struct {
	pid  int
	name string
	log  string // path of its output
	done chan struct{}
	proc *os.Process
}

// launch starts cmd in the host's network namespace, to die with this process.
func (e *base) launch(name string, cmd *exec.Cmd, newMounts bool) (*daemon, error) {
	d := &daemon{name: name, done: make(chan struct{})}
	d.log = e.path(d.name + ".log")
	out, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if newMounts {
		// Private (which os/exec sees to): what the engine mounts dies with its last process.
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	if err := e.thread.Do(e.Host.NS, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", d.name, err)
	}
	d.pid, d.proc = cmd.Process.Pid, cmd.Process
	if newMounts {
		e.mounts = d.pid
	}
	e.log.Debug("daemon started", "name", d.name, "pid", d.pid)
	go func() {
		defer close(d.done)
		_ = cmd.Wait() // why it ended stands in its log
	}()
	return d, nil
}

// await polls ready until it succeeds, and fails with the end of the log if the daemon dies first.
func (d *daemon) await(ctx context.Context, ready func() error) error {
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-d.done:
			return fmt.Errorf("%s ended: %s", d.name, d.logTail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", d.name, errors.Join(ctx.Err(), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// logTail returns the last lines of the daemon's output.
func (d *daemon) logTail() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stop asks the daemon to end, and kills it when ctx ends.
func (d *daemon) stop(ctx context.Context) error {
	_ = d.proc.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
	}
	_ = d.proc.Kill()
	<-d.done
	return fmt.Errorf("stop %s: killed, %w", d.name, ctx.Err())
}

// endLeftovers kills the shims that name dir on their command line, and their children, which are
// containers; there are none unless the engine died before its containers.
func endLeftovers(ctx context.Context, dir string) error {
	for {
		pids, err := leftovers(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end leftover process %d: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end leftover processes %v: %w", pids, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// leftovers lists the living processes whose command line has an argument below dir, children first.
func leftovers(dir string) ([]int, error) {
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var ours []int
	parents := make(map[int][]int)
	for _, path := range entries {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		state, parent := stat(pid)
		if state == "" || state == "Z" || state == "X" {
			continue
		}
		parents[parent] = append(parents[parent], pid)
		line, err := os.ReadFile(path)
		if err == nil && bytes.Contains(line, []byte("\x00"+dir+"/")) {
			ours = append(ours, pid)
		}
	}
	var all []int
	for _, pid := range ours {
		all = append(append(all, parents[pid]...), pid)
	}
	return all, nil
}

// stat returns a process's state letter and its parent; an empty state if it is gone.
func stat(pid int) (state string, parent int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// The name in parentheses may hold anything.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return "", 0
	}
	parent, err = strconv.Atoi(f[1])
	if err != nil {
		return "", 0
	}
	return f[0], parent
}
