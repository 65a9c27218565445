// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// The statuses of shells for a command that cannot be run, and the base for one
// that a signal ended.
const (
	statusNotExecutable = 126
	statusNotFound      = 127
	statusSignal        = 128
)

// findCommand looks the program up before anything is attached.
func (s *session) findCommand() error {
	if s.command == nil {
		return nil
	}
	if len(s.command) == 0 {
		return usagef("no command behind --: for example %s -- curl -s http://192.0.2.1:8080/", example)
	}
	path, err := exec.LookPath(s.command[0])
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return &statusError{statusNotFound, fmt.Sprintf("no command %q: install it or give its path", s.command[0])}
	case err != nil:
		return &statusError{statusNotExecutable, fmt.Sprintf("command %s cannot be run: %v", s.command[0], err)}
	}
	s.path = path
	return nil
}

// child is the command behind --; nil where there is none.
type child struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	shared bool  // the terminal sends its own signals to both of us
}

// start runs the command. Its standard output is ours, unless that carries a
// document: then it goes to stderr.
func (s *session) start() (*child, error) {
	if s.command == nil {
		return nil, nil //nolint:nilnil // no command is no error, and nil is a child that never ends
	}
	cmd := exec.Command(s.path, s.command[1:]...)
	cmd.Args[0] = s.command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, s.err
	if s.view.output != outputText {
		cmd.Stdout = s.err
	}
	if err := cmd.Start(); err != nil {
		return nil, &statusError{statusNotExecutable, fmt.Sprintf("command %s cannot be run: %v", s.command[0], err)}
	}
	c := &child{cmd: cmd, ended: make(chan struct{}), shared: inForeground()}
	go func() {
		defer close(c.ended)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// done is closed when the command has ended.
func (c *child) done() <-chan struct{} {
	if c == nil {
		return nil
	}
	return c.ended
}

// forward passes a signal on, and tells whether there is somebody to pass it to.
// Keys on a terminal reach the command without our help.
func (c *child) forward(sig os.Signal) bool {
	if c == nil {
		return false
	}
	if c.shared && (sig == os.Interrupt || sig == syscall.SIGQUIT) {
		return true
	}
	_ = c.cmd.Process.Signal(sig) // it may have ended just now
	return true
}

// status is the error that carries the command's exit status; nil for 0. A
// command that still runs, as at the end of --duration, is told to end.
func (c *child) status() error {
	if c == nil {
		return nil
	}
	select {
	case <-c.ended:
	default:
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
		<-c.ended
	}
	var exit *exec.ExitError
	if c.err == nil {
		return nil
	}
	if !errors.As(c.err, &exit) {
		return fmt.Errorf("run command: %w", c.err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &statusError{status: statusSignal + int(status.Signal())}
	}
	return &statusError{status: exit.ExitCode()}
}

// inForeground tells whether this process gets what is typed on a terminal.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false // no terminal
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
