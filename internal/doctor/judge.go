// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"
	"time"
)

// The sections of the table, in order.
const (
	SectionKernel  = "kernel"
	SectionRights  = "rights"
	SectionHooks   = "hooks"
	SectionNetwork = "network"
	SectionEngine  = "engine"
	SectionCost    = "cost"
)

// Judge says what the facts come to.
func Judge(f Facts) Document {
	j := judge{Facts: f}
	j.kernel()
	j.rights()
	hooks := j.hooks()
	works := j.run()
	functions := j.functions()
	j.network()
	j.engine()
	cost := costOf(f.Trial.Run)
	j.clock()
	env := f.Environment
	env.Host.Name = "" // the document is shown to strangers
	d := Document{
		Schema: Schema, Version: f.Version, Time: f.Time.UTC().Format(time.RFC3339), Works: works, Hooks: hooks, Functions: functions, Devices: f.Devices,
		Cost: cost, Modules: f.Kernel.Modules, Environment: env, Checks: j.checks,
	}
	if d.Devices == nil {
		d.Devices = []MetDevice{}
	}
	if d.Modules == nil {
		d.Modules = []Module{}
	}
	d.Verdict = verdict(d)
	return d
}

// judge collects the lines of the table.
type judge struct {
	Facts
	section string
	checks  []Check
}

func (j *judge) add(name string, state State, todo, format string, args ...any) {
	j.checks = append(j.checks, Check{
		Section: j.section, Name: name, State: state, Value: fmt.Sprintf(format, args...), Todo: todo,
	})
}

func (j *judge) ok(name, format string, args ...any)   { j.add(name, OK, "", format, args...) }
func (j *judge) note(name, format string, args ...any) { j.add(name, Note, "", format, args...) }

func (j *judge) kernel() {
	j.section = SectionKernel
	k := j.Kernel
	j.ok("release", "%s %s", j.Environment.Kernel.Release, j.Environment.Kernel.Arch)
	if k.BTFErr != nil {
		j.add("types (BTF)", Fail, "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (the distributions' own have it); in a container, mount the machine's /sys",
			"none: %v", k.BTFErr)
	} else {
		j.ok("types (BTF)", "%.1f MiB in /sys/kernel/btf/vmlinux", float64(k.BTF)/(1<<20))
	}
	j.modules()
	switch k.Lockdown {
	case "":
		j.note("lockdown", "the kernel does not tell (no /sys/kernel/security/lockdown)")
	case "confidentiality":
		j.add("lockdown", Warn, "boot with lockdown=integrity, or without Secure Boot, where hooks fail below: confidentiality forbids programs to read the kernel's memory",
			"confidentiality")
	default:
		j.ok("lockdown", "%s", k.Lockdown)
	}
	if k.LSM != "" {
		j.note("security modules", "%s", k.LSM)
	}
	j.jit()
}

func (j *judge) jit() {
	k := j.Kernel
	switch {
	case k.JIT == "":
		j.note("JIT", "net.core.bpf_jit_enable cannot be read")
	case k.JIT == "0":
		j.add("JIT", Warn, "sysctl net.core.bpf_jit_enable=1: programs are interpreted, a stamp costs several times as much", "off")
	case k.Harden == "2":
		j.add("JIT", Warn, "sysctl net.core.bpf_jit_harden=1: constants of root's programs are blinded too, a stamp costs more", "on, hardened for everybody")
	default:
		j.ok("JIT", "on")
	}
	if k.Stats == "1" {
		j.add("BPF statistics", Warn, "sysctl kernel.bpf_stats_enabled=0: the kernel reads the clock twice more for each program it runs", "on")
	}
}

// modules says in one line which parts there are, and whose types are known.
func (j *judge) modules() {
	var builtin, typed, bare, absent []string
	for _, m := range j.Kernel.Modules {
		switch {
		case m.State == "builtin":
			builtin = append(builtin, m.Name)
		case m.State == "loaded" && m.BTF:
			typed = append(typed, m.Name)
		case m.State == "loaded":
			bare = append(bare, m.Name)
		case m.State == "absent":
			absent = append(absent, m.Name)
		}
	}
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"built in", builtin}, {"with types", typed}, {"without types", bare}, {"not loaded", absent}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+": "+strings.Join(p.names, " "))
		}
	}
	if len(parts) > 0 {
		j.note("modules", "%s", strings.Join(parts, "; "))
	}
}

func (j *judge) rights() {
	j.section = SectionRights
	r := j.Rights
	if len(r.Missing) > 0 {
		j.add("capabilities", Fail, "run it as root, or with these: setcap on the binary, or --cap-add in a container", "missing: %s", strings.Join(r.Missing, ", "))
	} else {
		j.ok("capabilities", "all that are needed, as user %d", r.UID)
	}
	if len(r.Wanted) > 0 {
		j.add("more capabilities", Warn, "add them where a namespace cannot be entered, or a limit cannot be lifted", "missing: %s", strings.Join(r.Wanted, ", "))
	}
	if r.UserNamespace {
		j.add("user namespace", Fail, "run it as the machine's root: capabilities of a user namespace do not reach the kernel's BPF", "not the machine's first one")
	}
	if r.Seccomp {
		j.note("seccomp", "system calls of this process are filtered: in a container, its profile must allow bpf, perf_event_open and setns")
	}
	switch {
	case r.NetnsUnknown:
		j.note("network namespace", "it cannot be told whether it is the machine's: /proc/1/ns/net is not ours to read")
	case r.OwnNetns:
		j.add("network namespace", Warn, "if the bridge and the uplinks are the machine's, run it there: --net=host in a container, or nsenter --net=/proc/1/ns/net", "another one than that of process 1")
	default:
		j.ok("network namespace", "the machine's")
	}
	c := j.Cgroup
	switch {
	case len(c.V1) > 0:
		j.ok("control groups", "v1 (%s)%s", strings.Join(c.V1, ", "), map[bool]string{true: ", and v2 beside it"}[c.V2])
	case c.V2:
		j.ok("control groups", "v2")
	default:
		j.add("control groups", Warn, "mount them (/sys/fs/cgroup): containers in host mode are told apart by their group; ip netns exec hides it, nsenter --net does not", "not mounted")
	}
}

// verdict is one sentence.
func verdict(d Document) string {
	count := map[State]int{}
	for _, c := range d.Checks {
		count[c.State]++
	}
	for _, h := range d.Hooks {
		count[h.State]++
	}
	switch {
	case !d.Works:
		return fmt.Sprintf("vethtrace does not work here: %s", plural(count[Fail], "failure"))
	case count[Fail]+count[Warn] > 0:
		return fmt.Sprintf("vethtrace works here, with %s", joined(plural(count[Fail], "failure"), plural(count[Warn], "warning")))
	}
	return "vethtrace works here"
}

// plural counts things; nothing for none.
func plural(n int, what string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func joined(all ...string) string {
	var some []string
	for _, s := range all {
		if s != "" {
			some = append(some, s)
		}
	}
	return strings.Join(some, " and ")
}
