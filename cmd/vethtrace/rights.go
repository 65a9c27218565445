// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// capability is one that tracing needs. CAP_SYS_ADMIN alone stands for the two
// that were split off from it.
type capability struct {
	bit  int
	name string
	why  string
}

func neededCapabilities() []capability {
	return []capability{
		{unix.CAP_BPF, "CAP_BPF", "load programs"},
		{unix.CAP_PERFMON, "CAP_PERFMON", "attach to tracepoints"},
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "attach to devices and netfilter"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter network namespaces"},
	}
}

// checkRights tells what is missing before anything is tried: the kernel's own
// answers name calls, not capabilities.
func checkRights() error {
	have, err := effectiveCapabilities()
	if err != nil {
		return err
	}
	return missingRights(have)
}

func missingRights(have uint64) error {
	admin := have&(1<<unix.CAP_SYS_ADMIN) != 0
	var missing []string
	for _, c := range neededCapabilities() {
		implied := admin && (c.bit == unix.CAP_BPF || c.bit == unix.CAP_PERFMON)
		if have&(1<<c.bit) == 0 && !implied {
			missing = append(missing, fmt.Sprintf("%s (to %s)", c.name, c.why))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &tracer.UnsupportedError{
		Feature: "trace packets",
		Needs:   "root, or " + strings.Join(missing, ", "),
		Err:     unix.EPERM,
	}
}

func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // low and high half
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
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
	if inUserNamespace() {
		return fmt.Errorf("capabilities of a user namespace do not reach the kernel's BPF, run vethtrace as the machine's root: %w", err)
	}
	return fmt.Errorf("not permitted, run as root or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE: %w", err)
}

// inUserNamespace tells whether this process is in another user namespace than
// the machine's first one, which maps every user to itself.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b))
	return len(fields) != 3 || fields[0] != "0" || fields[1] != "0" || fields[2] != "4294967295"
}

// explainEngine tells a socket that may not be opened from an engine that does
// not run: the engine's client gives both as text.
func explainEngine(err *container.EngineError) error {
	if strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
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
