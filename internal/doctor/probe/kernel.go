// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/rights"
)

// files reads /proc and /sys, which a test may put elsewhere.
type files struct{ root string }

func (f files) path(name string) string { return filepath.Join(f.root, name) }

// text is a file's content without the line's end; "" where it cannot be read.
func (f files) text(name string) string {
	b, err := os.ReadFile(f.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// parts are what may be a module of the kernel, and a function of each: where
// the kernel itself has that function, the module is built in.
func parts() [][2]string {
	return [][2]string{
		{"veth", "veth_xmit"},
		{"bridge", "br_handle_frame"},
		{"br_netfilter", "br_nf_pre_routing"},
		{"nf_conntrack", "nf_conntrack_in"},
		{"nf_nat", "nf_nat_inet_fn"},
		{"nf_tables", "nft_do_chain"},
		{"ip_tables", "ipt_do_table"},
	}
}

// functions tells which of the kernel's own functions have that name; nil where
// its types cannot be read.
type functions func(name string) bool

func kernelFunctions() functions {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return nil
	}
	return func(name string) bool {
		var f *btf.Func
		return types.TypeByName(name, &f) == nil
	}
}

func (f files) kernel(known functions) doctor.Kernel {
	k := doctor.Kernel{
		Lockdown: chosen(f.text("sys/kernel/security/lockdown")), LSM: f.text("sys/kernel/security/lsm"),
		JIT: f.text("proc/sys/net/core/bpf_jit_enable"), Harden: f.text("proc/sys/net/core/bpf_jit_harden"),
		Stats: f.text("proc/sys/kernel/bpf_stats_enabled"), Modules: f.modules(known),
	}
	info, err := os.Stat(f.path("sys/kernel/btf/vmlinux"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.BTFErr = errors.New("there is no /sys/kernel/btf/vmlinux")
	case err != nil:
		k.BTFErr = fmt.Errorf("look for the kernel's types: %w", err)
	case known == nil:
		k.BTFErr = errors.New("the kernel's types cannot be read")
	default:
		k.BTF = info.Size()
	}
	return k
}

// chosen is the word in brackets of a line such as "none [integrity] confidentiality".
func chosen(line string) string {
	_, after, ok := strings.Cut(line, "[")
	word, _, closed := strings.Cut(after, "]")
	if !ok || !closed {
		return ""
	}
	return word
}

func (f files) modules(known functions) []doctor.Module {
	loaded := map[string]bool{}
	for line := range strings.Lines(f.text("proc/modules")) {
		if fields := strings.Fields(line); len(fields) > 0 {
			loaded[fields[0]] = true
		}
	}
	var all []doctor.Module
	for _, p := range parts() {
		m := doctor.Module{Name: p[0]}
		_, err := os.Stat(f.path("sys/kernel/btf/" + m.Name))
		m.BTF = err == nil
		switch {
		case loaded[m.Name] || m.BTF:
			m.State = "loaded"
		case known == nil:
			m.State = "unknown"
		case known(p[1]):
			m.State, m.BTF = "builtin", true
		default:
			m.State = "absent"
		}
		all = append(all, m)
	}
	return all
}

func (f files) rights(have uint64) doctor.Rights {
	r := doctor.Rights{
		UID: os.Getuid(), Missing: rights.Missing(have, rights.Needed()), Wanted: rights.Missing(have, rights.Wanted()),
		UserNamespace: rights.InUserNamespace(f.path("proc")),
	}
	own, err := os.Readlink(f.path("proc/self/ns/net"))
	first, errFirst := os.Readlink(f.path("proc/1/ns/net"))
	r.NetnsUnknown = err != nil || errFirst != nil
	r.OwnNetns = !r.NetnsUnknown && own != first
	for line := range strings.Lines(f.text("proc/self/status")) {
		if value, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			r.Seccomp = strings.TrimSpace(value) != "0"
		}
	}
	return r
}

// cgroup reads how control groups are mounted, from mountinfo (see proc(5)).
func (f files) cgroup() doctor.Cgroup {
	var c doctor.Cgroup
	for line := range strings.Lines(f.text("proc/self/mountinfo")) {
		_, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(after)
		switch {
		case len(fields) < 3:
		case fields[0] == "cgroup2":
			c.V2 = true
		case fields[0] == "cgroup":
			for option := range strings.SplitSeq(fields[2], ",") {
				if option != "rw" && option != "ro" && !strings.HasPrefix(option, "name=") && !slices.Contains(c.V1, option) {
					c.V1 = append(c.V1, option)
				}
			}
		}
	}
	slices.Sort(c.V1)
	return c
}

// conntrack reads the table of connections of the thread's namespace.
func (f files) conntrack() (c doctor.Conntrack) {
	count, errCount := strconv.ParseUint(f.text("proc/sys/net/netfilter/nf_conntrack_count"), 10, 64)
	most, errMax := strconv.ParseUint(f.text("proc/sys/net/netfilter/nf_conntrack_max"), 10, 64)
	if errCount != nil || errMax != nil {
		return c
	}
	return doctor.Conntrack{There: true, Count: count, Max: most}
}
