// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/tracer"
)

// Facts are what was read and tried. Package probe fills them.
type Facts struct {
	Version     string
	Time        time.Time
	Environment environment.Environment
	Kernel      Kernel
	Rights      Rights
	Cgroup      Cgroup
	Conntrack   Conntrack
	Unseen      []string // chains of the host's namespace that no stamp can separate: bridge filter/forward
	UnseenErr   error    // why they could not be read
	Engine      Engine
	Devices     []MetDevice
	DevicesErr  error // what kept devices from being read
	Trial       Trial
}

// Kernel is what /proc and /sys tell of the kernel.
type Kernel struct {
	BTF      int64 // bytes of the kernel's types
	BTFErr   error // why they cannot be read
	Modules  []Module
	Lockdown string // none, integrity, confidentiality; "" where the kernel does not tell
	LSM      string // capability,lockdown,...; "" where the kernel does not tell
	JIT      string // net.core.bpf_jit_enable; "" where it cannot be read
	Harden   string // net.core.bpf_jit_harden
	Stats    string // kernel.bpf_stats_enabled
}

// Rights are what this process may do.
type Rights struct {
	UID           int
	Missing       []string // capabilities that are needed, with what for
	Wanted        []string // that would help
	UserNamespace bool     // not the machine's first one
	OwnNetns      bool     // not the network namespace of process 1
	NetnsUnknown  bool     // it cannot be told
	Seccomp       bool     // system calls are filtered
}

// Cgroup is how control groups are mounted.
type Cgroup struct {
	V2 bool
	V1 []string // controllers
}

// Conntrack is the table of connections of the host's namespace.
type Conntrack struct {
	There      bool
	Count, Max uint64
}

// Engine is what answers at a socket.
type Engine struct {
	Host   string // its URL
	Err    error  // why it does not answer
	Todo   string // what to do about that
	Asked  bool   // it was named, or a container was: it is needed
	Count  int    // running containers
	Denied bool   // the socket may not be opened
}

// Trial is what became of trying.
type Trial struct {
	WorldErr error // why no throw-away world could be made; nothing was tried then
	Hooks    []tracer.Tryout
	HooksErr error // why they could not be tried
	Run      Run

	Functions    []tracer.Attempted // the providers of functions, each tried at one
	FunctionsErr error              // why they could not be tried
}

// Run is a run at the default detail, on traffic in the throw-away world.
type Run struct {
	Err    error // why it could not be
	Attach time.Duration
	Detach time.Duration
	Seen   tracer.Snapshot // the final one
	Detail tracer.Detail
}
