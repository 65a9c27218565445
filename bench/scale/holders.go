// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"github.com/vethtrace/vethtrace/internal/lab"
)

// holders are processes that do nothing, one in each namespace of a crowd: a
// container's end is known by its process.
type holders []*exec.Cmd

// hold starts them; a container that has a process keeps it. They end with this
// process, or by themselves.
func (b bench) hold(containers []*lab.Container) (holders, error) {
	var all holders
	for _, c := range containers {
		if c.PID != 0 {
			continue
		}
		cmd := exec.Command("sleep", "1200")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err := b.thread.Do(c.NS, cmd.Start); err != nil {
			return nil, errors.Join(fmt.Errorf("hold %s: %w", c.Name, err), all.end())
		}
		c.PID = cmd.Process.Pid
		all = append(all, cmd)
	}
	return all, nil
}

func (h holders) end() error {
	var errs []error
	for _, cmd := range h {
		errs = append(errs, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}
	return errors.Join(errs...)
}
