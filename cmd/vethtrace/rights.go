// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/rights"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// checkRights tells what is missing before anything is tried: the kernel's own
// answers name calls, not capabilities.
func checkRights() error {
	have, err := rights.Effective()
	if err != nil {
		return err
	}
	return missingRights(have)
}

func missingRights(have uint64) error {
	missing := rights.Missing(have, rights.Needed())
	if len(missing) == 0 {
		return nil
	}
	return &tracer.UnsupportedError{
		Feature: "trace packets",
		Needs:   "root, or " + strings.Join(missing, ", "),
		Err:     unix.EPERM,
	}
}

// explainRights adds what to do to a refusal by the kernel.
func explainRights(err error) error {
	var engine *container.EngineError
	if errors.As(err, &engine) {
		return explainEngine(engine)
	}
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if rights.InUserNamespace("/proc") {
		return fmt.Errorf("capabilities of a user namespace do not reach the kernel's BPF, run vethtrace as the machine's root: %w", err)
	}
	return fmt.Errorf("not permitted, run as root or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE: %w", err)
}

// timedOut tells whether somebody listened and said nothing: the engine's client
// gives that as text.
func timedOut(err error) bool {
	return strings.Contains(err.Error(), context.DeadlineExceeded.Error())
}

// explainEngine tells a socket that may not be opened from an engine that does
// not run: the engine's client gives both as text.
func explainEngine(err *container.EngineError) error {
	if timedOut(err) {
		return fmt.Errorf("the engine at %s does not answer: restart it, name another with --docker-host, or trace without one by --pid or --netns", err.Host)
	}
	path, ok := strings.CutPrefix(err.Host, "unix://")
	if !ok {
		return err
	}
	conn, dialErr := net.Dial("unix", path)
	if dialErr == nil {
		_ = conn.Close() // nothing was written
		return err
	}
	if !errors.Is(dialErr, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("ask the engine at %s: run as root or as a member of the socket's group, or trace without an engine by --pid or --netns: %w", err.Host, dialErr)
}
