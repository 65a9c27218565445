// SPDX-License-Identifier: Apache-2.0

// Package probe reads the environment of a measurement from /proc, /sys, netlink,
// ethtool and the engine. It only reads.
package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
)

// Config says what to read.
type Config struct {
	Host *netns.NS // where the bridge and the uplinks are
	Tool string    // version of vethtrace
	// Engine describes the engine; nil where none is asked.
	Engine func() (*environment.Docker, error)
}

// Read reads everything. What it cannot read is left empty and named in Unread:
// a measurement must not fail for it.
func Read(cfg Config) environment.Environment {
	r := reader{Environment: environment.Environment{
		Tool: cfg.Tool, Devices: []environment.Device{}, Sysctls: map[string]string{}, Unread: []string{},
		Netfilter: environment.Netfilter{Chains: map[string]int{}},
	}}
	r.try("kernel", r.kernel)
	r.try("host", r.host)
	r.try("processors", r.cpu)
	r.try("sysctls", func() error { return r.sysctls(cfg.Host) })
	r.try("devices", func() error { return r.devices(cfg.Host) })
	r.try("rules", func() error { return r.rules(cfg.Host) })
	if cfg.Engine != nil {
		r.try("engine", func() (err error) {
			r.Docker, err = cfg.Engine()
			return err
		})
	}
	return r.Environment
}

// reader fills an environment.
type reader struct{ environment.Environment }

func (r *reader) try(what string, read func() error) {
	if err := read(); err != nil {
		r.Unread = append(r.Unread, fmt.Sprintf("%s: %v", what, err))
	}
}

func (r *reader) kernel() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	r.Kernel = environment.Kernel{
		Release: unix.ByteSliceToString(uts.Release[:]),
		Version: unix.ByteSliceToString(uts.Version[:]),
		Arch:    unix.ByteSliceToString(uts.Machine[:]),
	}
	return nil
}

func (r *reader) host() error {
	var err error
	if r.Host.Name, err = os.Hostname(); err != nil {
		return err
	}
	if r.Host.Boot, err = read("/proc/sys/kernel/random/boot_id"); err != nil {
		return err
	}
	id, err := read("/etc/machine-id")
	if err == nil && id != "" {
		sum := sha256.Sum256([]byte(id))
		r.Host.Machine = hex.EncodeToString(sum[:])[:12]
	}
	return err
}

func (r *reader) cpu() error {
	info, err := read("/proc/cpuinfo")
	if err != nil {
		return err
	}
	r.CPU = parseCPU(info)
	r.CPU.Count = runtime.NumCPU()
	governors := map[string]bool{}
	files, err := filepath.Glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
	if err != nil {
		return err
	}
	for _, file := range files {
		governor, err := read(file)
		if err != nil {
			return err
		}
		governors[governor] = true
	}
	r.CPU.Governor = strings.Join(sorted(governors), ",")
	if r.CPU.ClockSource, err = read("/sys/devices/system/clocksource/clocksource0/current_clocksource"); err != nil {
		return err
	}
	r.CPU.Mitigations = map[string]string{}
	files, err = filepath.Glob("/sys/devices/system/cpu/vulnerabilities/*")
	if err != nil {
		return err
	}
	for _, file := range files {
		state, err := read(file)
		if err != nil {
			return err
		}
		if state != "Not affected" {
			r.CPU.Mitigations[filepath.Base(file)] = state
		}
	}
	return nil
}

// parseCPU reads the model, and whether there is a hypervisor, from /proc/cpuinfo.
func parseCPU(info string) environment.CPU {
	c := environment.CPU{Model: runtime.GOARCH}
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "model name":
			c.Model = value
		case "flags":
			c.Virtual = c.Virtual || slices.Contains(strings.Fields(value), "hypervisor")
		}
	}
	return c
}

// names are the settings that change what packets meet or how long they wait.
func names() []string {
	return []string{
		"net.bridge.bridge-nf-call-arptables", "net.bridge.bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-iptables",
		"net.bridge.bridge-nf-filter-vlan-tagged",
		"net.core.busy_poll", "net.core.busy_read", "net.core.default_qdisc", "net.core.dev_weight", "net.core.flow_limit_cpu_bitmap",
		"net.core.netdev_budget", "net.core.netdev_budget_usecs", "net.core.netdev_max_backlog", "net.core.rmem_default", "net.core.rmem_max",
		"net.core.rps_sock_flow_entries", "net.core.somaxconn", "net.core.wmem_default", "net.core.wmem_max", "net.core.bpf_jit_enable",
		"net.ipv4.conf.all.route_localnet", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter",
		"net.ipv4.ip_early_demux", "net.ipv4.ip_forward", "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_early_demux", "net.ipv4.tcp_rmem",
		"net.ipv4.tcp_wmem", "net.ipv4.udp_early_demux", "net.ipv6.conf.all.forwarding",
		"net.netfilter.nf_conntrack_buckets", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_acct",
		"kernel.sched_autogroup_enabled", "kernel.timer_migration",
	}
}

// sysctls reads those that there are: some come with a module, and some, which
// are of the whole machine, are seen in its first namespace only.
func (r *reader) sysctls(ns *netns.NS) error {
	return errors.Join(in(nil, r.someSysctls), in(ns, r.someSysctls))
}

// someSysctls reads those of the thread's namespace over those that are there.
func (r *reader) someSysctls() error {
	for _, name := range names() {
		value, err := read("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		default:
			r.Sysctls[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return nil
}

func (r *reader) rules(ns *netns.NS) error {
	if ns == nil {
		own, err := netns.Current()
		if err != nil {
			return err
		}
		defer own.Close()
		ns = own
	}
	counts, err := netfilter.Count(ns)
	if err != nil {
		return err
	}
	r.Netfilter.Backend = "none"
	for _, part := range []struct {
		name  string
		rules map[string]int
	}{{"nf_tables", counts.NFT}, {"legacy", counts.Legacy}} {
		if len(part.rules) == 0 {
			continue
		}
		if r.Netfilter.Backend == "none" {
			r.Netfilter.Backend = part.name
		} else {
			r.Netfilter.Backend = "both"
		}
		for table, n := range part.rules {
			r.Netfilter.Chains[table] = n
			r.Netfilter.Rules += n
		}
	}
	return nil
}

// in runs fn in a namespace, nil being our own.
func in(ns *netns.NS, fn func() error) error {
	if ns == nil {
		return fn()
	}
	return ns.Do(fn)
}

func read(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

func sorted(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}
