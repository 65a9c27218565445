// SPDX-License-Identifier: Apache-2.0

// Package rights tells which capabilities vethtrace needs, and which this process has.
package rights

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Capability is one of the kernel's.
type Capability struct {
	Bit  int
	Name string // CAP_BPF
	Why  string // load programs
}

// Needed are those that tracing needs. CAP_SYS_ADMIN alone stands for the two
// that were split off from it.
func Needed() []Capability {
	return []Capability{
		{unix.CAP_BPF, "CAP_BPF", "load programs"},
		{unix.CAP_PERFMON, "CAP_PERFMON", "attach to tracepoints"},
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "attach to devices and netfilter"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter network namespaces"},
	}
}

// Wanted are those without which some targets cannot be reached.
func Wanted() []Capability {
	return []Capability{{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "reach namespaces of other users' processes"}}
}

// Missing are those of them that a set does not have, with what for:
// "CAP_BPF (to load programs)".
func Missing(have uint64, of []Capability) []string {
	admin := have&(1<<unix.CAP_SYS_ADMIN) != 0
	var missing []string
	for _, c := range of {
		implied := admin && (c.Bit == unix.CAP_BPF || c.Bit == unix.CAP_PERFMON)
		if have&(1<<c.Bit) == 0 && !implied {
			missing = append(missing, fmt.Sprintf("%s (to %s)", c.Name, c.Why))
		}
	}
	return missing
}

// Effective is this process's effective set, a bit per capability.
func Effective() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // low and high half
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// InUserNamespace tells whether this process is in another user namespace than
// the machine's first one, which maps every user to itself. proc is "/proc".
func InUserNamespace(proc string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "self", "uid_map"))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(b))
	return len(fields) != 3 || fields[0] != "0" || fields[1] != "0" || fields[2] != "4294967295"
}
