// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/tracer"
)

// healthy is a machine on which everything works.
func healthy() Facts {
	yes := true
	f := Facts{
		Version: "test",
		Environment: environment.Environment{
			Host:   environment.Host{Name: "secret", Boot: "b"},
			Kernel: environment.Kernel{Release: "6.12.1", Arch: "x86_64"},
			CPU:    environment.CPU{ClockSource: "tsc"},
			Sysctls: map[string]string{
				"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "1", "net.bridge.bridge-nf-call-arptables": "1",
				"net.ipv4.ip_forward": "1",
			},
			Netfilter: environment.Netfilter{Backend: "nf_tables", Rules: 20, Chains: map[string]int{"ip/nat": 8, "ip/filter": 12}},
			Docker:    &environment.Docker{Version: "27.1", CgroupVersion: "2", UserlandProxy: &yes, BridgeName: "docker0"},
		},
		Kernel: Kernel{BTF: 6 << 20, Lockdown: "none", LSM: "lockdown,capability", JIT: "1", Harden: "0", Stats: "0", Modules: []Module{
			{Name: "bridge", State: "loaded", BTF: true},
			{Name: "veth", State: "builtin", BTF: true},
			{Name: "nf_nat", State: "loaded"},
			{Name: "ip_tables", State: "absent"},
		}},
		Cgroup:    Cgroup{V2: true},
		Conntrack: Conntrack{There: true, Count: 10, Max: 1000},
		Engine:    Engine{Host: "unix:///run/docker.sock", Count: 3},
		Devices:   []MetDevice{{Where: "host", Name: "eth0", Role: "uplink", Driver: "virtio_net", MTU: 1500, Qdisc: "fq_codel", Offloads: []string{"gro", "tso"}}},
	}
	for _, h := range tracer.Hooks() {
		f.Trial.Hooks = append(f.Trial.Hooks, tracer.Tryout{
			Spec: h, Hook: h.Name(), Provider: h.Provider, Tried: []tracer.Attempted{{Provider: h.Provider}},
		})
	}
	f.Trial.Functions = []tracer.Attempted{
		{Provider: tracer.ProviderSession, Err: &tracer.UnsupportedError{Feature: "probe functions by kprobe.session", Needs: "CONFIG_FPROBE (Linux 6.10)", Err: unix.EINVAL}},
		{Provider: tracer.ProviderTracing},
		{Provider: tracer.ProviderMulti},
	}
	f.Trial.Run = Run{Detail: tracer.DetailHooks, Seen: seen()}
	return f
}

// seen is a run's snapshot: a target each way.
func seen() tracer.Snapshot {
	hops := []tracer.Hop{{From: "uplink/ingress", To: "host/prerouting/last"}, {From: "host/prerouting/last", To: "netif_rx"}}
	target := tracer.Target{Name: "bridge-mode", Mode: "bridge", Paths: []tracer.Path{
		{Direction: tracer.Ingress, Packets: 1, Hops: hops[:1]},
		{Direction: tracer.Ingress, Packets: 9, Hops: hops},
		{Direction: tracer.Egress, Packets: 7, Hops: hops[:1]},
	}}
	target.Accounting[0] = tracer.Accounting{Started: 10, Completed: 10}
	target.Accounting[1] = tracer.Accounting{Started: 7, Completed: 7}
	return tracer.Snapshot{
		Targets:  []tracer.Target{target},
		Observer: tracer.Observer{StampNs: map[string]float64{"tcx": 100, "netfilter": 200, "tracepoint": 50}},
	}
}

// failHook lets one hook fail by all its providers.
func failHook(f *Facts, name string, err error) {
	for i := range f.Trial.Hooks {
		if one := &f.Trial.Hooks[i]; one.Hook == name {
			one.Tried, one.Provider = []tracer.Attempted{{Provider: one.Spec.Provider, Err: err}}, ""
		}
	}
}

func TestJudgeHealthy(t *testing.T) {
	d := Judge(healthy())
	if !d.Works || d.Verdict != "vethtrace works here" || len(d.Hooks) != len(tracer.Hooks()) {
		t.Errorf("%v %q, %d hooks", d.Works, d.Verdict, len(d.Hooks))
	}
	for _, c := range d.Checks {
		if c.State == Warn || c.State == Fail || c.Todo != "" && c.Name != string(tracer.ProviderSession) {
			t.Errorf("%+v", c)
		}
	}
	for _, h := range d.Hooks {
		if h.State != OK || h.Provider == "" || len(h.Details) == 0 {
			t.Errorf("%+v", h)
		}
	}
	if d.Environment.Host.Name != "" || d.Environment.Host.Boot != "b" {
		t.Errorf("host: %+v", d.Environment.Host)
	}
	want := []PathCost{{"bridge mode", "in", 3, 100 + 200 + 50, 9}, {"bridge mode", "out", 2, 300, 7}}
	if fmt.Sprint(d.Cost.Packets) != fmt.Sprint(want) || len(d.Cost.Stamps) != 3 {
		t.Errorf("cost: %+v", d.Cost)
	}
}

// Each thing that can be wrong is a line that says so and what to do.
func TestJudge(t *testing.T) {
	refused := &tracer.UnsupportedError{Feature: "attach", Needs: "tcx (Linux 6.6)", Err: unix.EOPNOTSUPP}
	eperm := &tracer.UnsupportedError{Feature: "load the programs", Needs: "CAP_BPF", Err: unix.EPERM}
	for _, c := range []struct {
		name   string
		change func(*Facts)
		check  string
		state  State
		value  string
		todo   string // "": none is needed
		fails  bool   // the default detail does not work
	}{
		{"no BTF", func(f *Facts) {
			f.Kernel.BTFErr = errors.New("there is no /sys/kernel/btf/vmlinux")
			f.Trial.Run = Run{Err: eperm}
		}, "types (BTF)", Fail, "none: there is no", "CONFIG_DEBUG_INFO_BTF", true},
		{"lockdown", func(f *Facts) { f.Kernel.Lockdown = "confidentiality" }, "lockdown", Warn, "confidentiality", "lockdown=integrity", false},
		{"lockdown of integrity", func(f *Facts) { f.Kernel.Lockdown = "integrity" }, "lockdown", OK, "integrity", "", false},
		{"lockdown unknown", func(f *Facts) { f.Kernel.Lockdown = "" }, "lockdown", Note, "does not tell", "", false},
		{"no JIT", func(f *Facts) { f.Kernel.JIT = "0" }, "JIT", Warn, "off", "bpf_jit_enable=1", false},
		{"JIT hardened", func(f *Facts) { f.Kernel.Harden = "2" }, "JIT", Warn, "hardened", "bpf_jit_harden", false},
		{"statistics", func(f *Facts) { f.Kernel.Stats = "1" }, "BPF statistics", Warn, "on", "bpf_stats_enabled=0", false},
		{"no CAP_BPF", func(f *Facts) {
			f.Rights.Missing = []string{"CAP_BPF (to load programs)"}
			f.Trial = Trial{WorldErr: unix.EPERM}
		}, "capabilities", Fail, "CAP_BPF", "as root", true},
		{"no rights, no world", func(f *Facts) {
			f.Rights.Missing = []string{"CAP_BPF (to load programs)"}
			f.Trial = Trial{WorldErr: unix.EPERM}
		}, "default detail", Fail, "not tried", "see rights", true},
		{"no veth, no world", func(f *Facts) { f.Trial = Trial{WorldErr: errors.New("add veth: not supported")} }, "tried", Fail, "not at all: add veth", "modprobe veth", true},
		{"user namespace", func(f *Facts) { f.Rights.UserNamespace = true }, "user namespace", Fail, "not the machine's", "machine's root", false},
		{"another namespace", func(f *Facts) { f.Rights.OwnNetns = true }, "network namespace", Warn, "another", "--net=host", false},
		{"seccomp", func(f *Facts) { f.Rights.Seccomp = true }, "seccomp", Note, "filtered", "", false},
		{"less than it may have", func(f *Facts) { f.Rights.Wanted = []string{"CAP_SYS_PTRACE (to reach)"} }, "more capabilities", Warn, "CAP_SYS_PTRACE", "add them", false},
		{"no control groups", func(f *Facts) { f.Cgroup = Cgroup{} }, "control groups", Warn, "not mounted", "nsenter", false},
		{"v1", func(f *Facts) { f.Cgroup = Cgroup{V1: []string{"cpu", "memory"}} }, "control groups", OK, "v1 (cpu, memory)", "", false},
		{"a hook of the default detail", func(f *Facts) { failHook(f, "port/egress", refused) }, "tried", Fail, "of ", "below", false},
		{"a hook that is not needed", func(f *Facts) { failHook(f, "gro_receive", refused) }, "tried", Warn, "of ", "left out", false},
		{"hooks not tried", func(f *Facts) { f.Trial.Hooks, f.Trial.HooksErr = nil, eperm }, "tried", Fail, "not all", "needs CAP_BPF", false},
		{"the run fails", func(f *Facts) { f.Trial.Run = Run{Err: fmt.Errorf("open: %w", refused)} }, "default detail", Fail, "attach: not allowed", "needs tcx (Linux 6.6)", true},
		{"the run fails, nobody knows why", func(f *Facts) { f.Trial.Run = Run{Err: errors.New("two\n lines")} }, "default detail", Fail, "two lines", "report it", true},
		{"nothing was seen", func(f *Facts) { f.Trial.Run.Seen.Targets[0].Accounting[1] = tracer.Accounting{} }, "default detail", Fail, "no packet of bridge-mode (egress)", "report it", true},
		{"no target was seen", func(f *Facts) { f.Trial.Run.Seen.Targets = nil }, "default detail", Fail, "no packet of any target", "report it", true},
		{"packets were lost from sight", func(f *Facts) { f.Trial.Run.Seen.Targets[0].Accounting[0].Evicted = 3 }, "default detail", Warn, "3 lost from sight, -3 unaccounted", "report it", false},
		{"br_netfilter is not loaded", func(f *Facts) { f.Environment.Sysctls = nil }, "br_netfilter", Note, "not loaded", "", false},
		{"br_netfilter is off", func(f *Facts) { f.Environment.Sysctls["net.bridge.bridge-nf-call-iptables"] = "0" }, "br_netfilter", Note, "on for ip6tables, arptables; bridge-nf-call off for iptables", "", false},
		{"chains that cannot be stamped", func(f *Facts) { f.Unseen = []string{"bridge forward b/c"} }, "chains unseen", Note, "bridge forward b/c: they", "", false},
		{"chains that cannot be read", func(f *Facts) { f.UnseenErr = unix.EPERM }, "chains unseen", Warn, "not read: operation", "as root", false},
		{"no rules", func(f *Facts) { f.Environment.Netfilter = environment.Netfilter{Backend: "none"} }, "rules", Note, "none", "", false},
		{"rules of both", func(f *Facts) { f.Environment.Netfilter.Backend = "both" }, "rules", Note, "20 in both (ip/filter 12, ip/nat 8)", "update-alternatives", false},
		{"legacy rules", func(f *Facts) { f.Environment.Netfilter.Backend = "legacy" }, "rules", OK, "20 in legacy", "", false},
		{"conntrack is full", func(f *Facts) { f.Conntrack.Count = 950 }, "conntrack", Warn, "950 of 1000", "nf_conntrack_max", false},
		{"no conntrack", func(f *Facts) { f.Conntrack = Conntrack{} }, "conntrack", Note, "not in use", "", false},
		{"no forwarding", func(f *Facts) { f.Environment.Sysctls["net.ipv4.ip_forward"] = "0" }, "forwarding", Note, "off", "", false},
		{"XDP at the uplink", func(f *Facts) { f.Devices[0].XDP = "native" }, "eth0", Warn, "uplink, virtio_net, mtu 1500, queue fq_codel, gro tso, XDP native", "not seen", false},
		{"XDP in a container", func(f *Facts) {
			f.Devices[0] = MetDevice{Where: "web", Name: "eth0", Role: "device", Kind: "veth", XDP: "generic", Others: 2}
		}, "web/eth0", Note, "no offloads, 2 tcx programs of others, XDP generic", "", false},
		{"a device cannot be read", func(f *Facts) { f.DevicesErr = errors.New("web: gone") }, "devices", Warn, "web: gone", "run it again", false},
		{"no device", func(f *Facts) { f.Devices = nil }, "devices", Note, "neither an uplink nor a bridge", "nsenter --net", false},
		{"something was not read", func(f *Facts) { f.Environment.Unread = []string{"rules: enter: operation not permitted"} }, "not read", Warn, "rules: enter", "as root", false},
		{"something is not there", func(f *Facts) { f.Environment.Unread = []string{"host: open /etc/machine-id: no such file"} }, "not read", Note, "machine-id", "", false},
		{"no engine", func(f *Facts) {
			f.Environment.Docker, f.Engine = nil, Engine{Host: "unix:///x", Err: errors.New("gone"), Todo: "start it"}
		}, "engine", Note, "none answers at unix:///x", "start it", false},
		{"the engine that was asked for", func(f *Facts) {
			f.Environment.Docker, f.Engine = nil, Engine{Host: "unix:///x", Err: errors.New("gone"), Todo: "start it", Asked: true}
		}, "engine", Warn, "cannot be asked at unix:///x: gone", "start it", false},
		{"an engine that says little", func(f *Facts) {
			f.Environment.Docker, f.Environment.Unread = nil, []string{"engine: no network"}
		}, "engine", Warn, "answers at unix:///run/docker.sock, but: no network", "report it", false},
		{"no userland proxy", func(f *Facts) { no := false; f.Environment.Docker.UserlandProxy = &no }, "userland proxy", OK, "off", "", false},
		{"userland proxy unknown", func(f *Facts) { f.Environment.Docker.UserlandProxy = nil }, "userland proxy", Note, "cannot be told", "", false},
		{"a slow clock", func(f *Facts) { f.Environment.CPU.ClockSource = "hpet" }, "clock", Warn, "hpet", "tsc", false},
	} {
		f := healthy()
		c.change(&f)
		d := Judge(f)
		var found *Check
		for i := range d.Checks {
			if d.Checks[i].Name == c.check {
				found = &d.Checks[i]
			}
			if s := d.Checks[i].State; (s == Fail || s == Warn) && d.Checks[i].Todo == "" {
				t.Errorf("%s: %+v says nothing to do", c.name, d.Checks[i])
			}
		}
		if found == nil {
			t.Errorf("%s: no line %q", c.name, c.check)
			continue
		}
		if found.State != c.state || !strings.Contains(found.Value, c.value) || !strings.Contains(found.Todo, c.todo) || (found.Todo == "") != (c.todo == "") {
			t.Errorf("%s: %+v", c.name, *found)
		}
		if d.Works == c.fails || strings.Contains(d.Verdict, "does not work") != c.fails {
			t.Errorf("%s: works %v, %q", c.name, d.Works, d.Verdict)
		}
		if (c.state == Warn || c.state == Fail) && d.Verdict == "vethtrace works here" {
			t.Errorf("%s: %q", c.name, d.Verdict)
		}
	}
}

// A hook says what was tried, and how bad its absence is.
func TestJudgeHooks(t *testing.T) {
	f := healthy()
	refused := &tracer.UnsupportedError{Feature: "attach", Needs: "tcx (Linux 6.6)", Err: errors.New("two\nlines")}
	for i := range f.Trial.Hooks {
		switch one := &f.Trial.Hooks[i]; one.Hook {
		case "port/egress", "device_queue": // needed; and what takes its place elsewhere
			one.Tried, one.Provider = []tracer.Attempted{{Provider: one.Spec.Provider, Err: refused}}, ""
		case "port/ingress": // by the second one
			one.Tried, one.Provider = []tracer.Attempted{{Provider: one.Spec.Provider, Err: refused}, {Provider: "clsact"}}, "clsact"
		}
	}
	want := map[string]Hook{
		"port/egress":    {State: Fail, Todo: "needs tcx (Linux 6.6)"},
		"device_queue":   {State: Warn, Todo: "needs tcx (Linux 6.6)"},
		"port/ingress":   {State: Warn, Provider: "clsact"},
		"uplink/ingress": {State: OK, Provider: "tcx"},
	}
	d := Judge(f)
	for _, h := range d.Hooks {
		w, ok := want[h.Hook]
		if !ok {
			continue
		}
		if h.State != w.State || h.Todo != w.Todo || h.Provider != w.Provider {
			t.Errorf("%+v, want %+v", h, w)
		}
		if h.State != OK && h.Tried[0].Error != "attach: two lines" {
			t.Errorf("%s: tried %+v", h.Hook, h.Tried)
		}
	}
	if d.Verdict != "vethtrace works here, with 2 failures and 2 warnings" {
		t.Error(d.Verdict)
	}
}

// Each provider of functions has a line; the first that works is the one that is taken.
func TestJudgeFunctions(t *testing.T) {
	lines := func(f Facts) (all []string) {
		for _, c := range Judge(f).Checks {
			if strings.HasPrefix(c.Name, "kprobe") || c.Name == "fentry" || c.Name == "functions" {
				all = append(all, fmt.Sprintf("%s %s %s %s", c.Name, c.State, c.Value, c.Todo))
			}
		}
		return all
	}
	none := healthy()
	none.Trial.Functions = none.Trial.Functions[:1]
	untried := healthy()
	untried.Trial.Functions, untried.Trial.FunctionsErr = nil, errors.New("read symbols: denied")
	noWorld := healthy()
	noWorld.Trial = Trial{WorldErr: unix.EPERM}
	session := "kprobe.session note probe functions by kprobe.session: invalid argument needs CONFIG_FPROBE (Linux 6.10)"
	for name, c := range map[string]struct {
		facts Facts
		want  []string
		tried int
	}{
		"some":     {healthy(), []string{session, "fentry ok probes functions, with their returns: what --detail functions takes ", "kprobe.multi note probes functions, their entries only; not needed "}, 3},
		"none":     {none, []string{session, "functions note cannot be probed here: no --detail functions, no --probe "}, 1},
		"untried":  {untried, []string{"functions note cannot be probed: read symbols: denied " + reportIt}, 0},
		"no world": {noWorld, nil, 0},
	} {
		if got := lines(c.facts); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		d := Judge(c.facts)
		if len(d.Functions) != c.tried || d.Functions == nil {
			t.Errorf("%s: %+v", name, d.Functions)
		}
		if c.tried == 3 && (d.Functions[0].Error == "" || d.Functions[1] != (Attempt{Provider: "fentry"})) {
			t.Errorf("%s: %+v", name, d.Functions)
		}
	}
}
