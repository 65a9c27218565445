// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/rights"
	"github.com/vethtrace/vethtrace/tracer/container"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	os.Exit(m.Run())
}

// tree is a machine of files.
func tree(t *testing.T, content map[string]string) files {
	t.Helper()
	root := t.TempDir()
	for name, text := range content {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return files{root}
}

func knows(names ...string) functions {
	return func(name string) bool { return slices.Contains(names, name) }
}

func TestKernel(t *testing.T) {
	f := tree(t, map[string]string{
		"sys/kernel/btf/vmlinux": "12345", "sys/kernel/btf/bridge": "1", "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
		"sys/kernel/security/lsm": "lockdown,capability\n", "proc/sys/net/core/bpf_jit_enable": "1\n", "proc/sys/net/core/bpf_jit_harden": "2\n",
		"proc/sys/kernel/bpf_stats_enabled": "0\n", "proc/modules": "nf_nat 57344 2 nf_tables,x, Live 0x0\nbridge 1 0 - Live 0x0\n",
	})
	k := f.kernel(knows("veth_xmit"))
	if k.BTF != 5 || k.BTFErr != nil || k.Lockdown != "integrity" || k.LSM != "lockdown,capability" || k.JIT != "1" || k.Harden != "2" || k.Stats != "0" {
		t.Errorf("%+v", k)
	}
	want := map[string]doctor.Module{
		"veth": {Name: "veth", State: "builtin", BTF: true}, "bridge": {Name: "bridge", State: "loaded", BTF: true},
		"nf_nat": {Name: "nf_nat", State: "loaded"}, "br_netfilter": {Name: "br_netfilter", State: "absent"},
	}
	for _, m := range k.Modules {
		if w, ok := want[m.Name]; ok && m != w {
			t.Errorf("%+v, want %+v", m, w)
		}
	}
	if len(k.Modules) != len(parts()) {
		t.Errorf("modules: %+v", k.Modules)
	}
}

// A kernel without types, one that tells nothing, and one whose types cannot be read.
func TestKernelWithoutTypes(t *testing.T) {
	k := tree(t, nil).kernel(nil)
	if k.BTFErr == nil || !strings.Contains(k.BTFErr.Error(), "no /sys/kernel/btf/vmlinux") || k.Lockdown != "" || k.JIT != "" || k.Modules[0].State != "unknown" {
		t.Errorf("%+v", k)
	}
	k = tree(t, map[string]string{"sys/kernel/btf/vmlinux": "1", "sys/kernel/security/lockdown": "strange"}).kernel(nil)
	if k.BTFErr == nil || !strings.Contains(k.BTFErr.Error(), "cannot be read") || k.Lockdown != "" {
		t.Errorf("%+v", k)
	}
}

func TestCgroupAndConntrack(t *testing.T) {
	const v2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	const v1 = "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpuacct,cpu\n34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
	for mounts, want := range map[string]doctor.Cgroup{
		v2:      {V2: true},
		v1 + v2: {V2: true, V1: []string{"cpu", "cpuacct", "memory"}},
		"22 1 0:21 / / rw - ext4 /dev/vda rw\nshort\n": {},
	} {
		if got := tree(t, map[string]string{"proc/self/mountinfo": mounts}).cgroup(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %+v, want %+v", mounts, got, want)
		}
	}
	dir := "proc/sys/net/netfilter/nf_conntrack_"
	if c := tree(t, map[string]string{dir + "count": "7\n", dir + "max": "1000\n"}).conntrack(); c != (doctor.Conntrack{There: true, Count: 7, Max: 1000}) {
		t.Errorf("%+v", c)
	}
	if c := tree(t, map[string]string{dir + "count": "7\n"}).conntrack(); c.There {
		t.Errorf("%+v", c)
	}
}

func TestRights(t *testing.T) {
	f := tree(t, map[string]string{"proc/self/uid_map": "0 1000 1\n", "proc/self/status": "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"})
	r := f.rights(0)
	if len(r.Missing) != len(rights.Needed()) || len(r.Wanted) != 1 || !r.UserNamespace || !r.Seccomp || !r.NetnsUnknown || r.OwnNetns {
		t.Errorf("%+v", r)
	}
	for _, first := range []string{"net:[1]", "net:[2]"} {
		f := tree(t, map[string]string{"proc/self/uid_map": " 0 0 4294967295\n", "proc/self/status": "Seccomp:\t0\n"})
		for pid, to := range map[string]string{"self": "net:[1]", "1": first} {
			dir := f.path(filepath.Join("proc", pid, "ns"))
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(to, filepath.Join(dir, "net"))); err != nil {
				t.Fatal(err)
			}
		}
		if r := f.rights(^uint64(0)); len(r.Missing)+len(r.Wanted) > 0 || r.UserNamespace || r.Seccomp || r.NetnsUnknown || r.OwnNetns != (first != "net:[1]") {
			t.Errorf("process 1 in %s: %+v", first, r)
		}
	}
}

// All of it, for real: the default detail works here, and nothing is held afterwards.
func TestRead(t *testing.T) {
	w, err := lab.New(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	nginx := w.Container("nginx")
	if err := nginx.NS.Do(attachXDP(t, "eth0")); err != nil {
		t.Fatal(err)
	}
	if out, err := w.Host.Output(t.Context(), "nft", "add table bridge b; add chain bridge b c { type filter hook forward priority 0; }"); err != nil {
		t.Fatal(err, out)
	}
	target, err := container.FromPID(nginx.PID)
	if err != nil {
		t.Fatal(err)
	}
	target.Name = "nginx"
	before := openFiles(t)
	f, err := Read(t.Context(), Config{
		Version: "test", Host: w.Host.NS, Targets: []container.Container{target},
		Explain: func(error) (string, bool) { return "", false },
	})
	if err != nil {
		t.Fatal(err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
	d := doctor.Judge(f)
	if !d.Works || len(d.Cost.Stamps) < kindsOfHook || len(d.Cost.Packets) != 4 {
		t.Errorf("works %v, %q: %+v, cost %+v", d.Works, d.Verdict, d.Checks, d.Cost)
	}
	for _, c := range d.Cost.Packets {
		if c.Ns <= 0 || c.Stamps < 3 || c.Count == 0 {
			t.Errorf("cost %+v", c)
		}
	}
	var devices []string
	for _, dev := range f.Devices {
		devices = append(devices, fmt.Sprintf("%s/%s/%s/%v%s", dev.Where, dev.Role, dev.Kind, dev.CallsNAPI, dev.XDP))
	}
	if want := []string{"host/uplink/veth/false", "host/bridge/bridge/false", "host/port/veth/false", "nginx/device/veth/truegeneric"}; !slices.Equal(devices, want) {
		t.Errorf("devices %v, want %v", devices, want)
	}
	if f.UnseenErr != nil || !slices.Contains(f.Unseen, "bridge forward b/c") || !slices.Contains(f.Unseen, "ip postrouting confirm") {
		t.Errorf("unseen: %v, %v", f.Unseen, f.UnseenErr)
	}
	if !f.Conntrack.There || f.Environment.Netfilter.Rules == 0 || len(f.Environment.Unread) > 0 {
		t.Errorf("%+v, %+v", f.Conntrack, f.Environment.Unread)
	}
}

// attachXDP attaches a program that lets everything pass, for as long as the device lives.
func attachXDP(t *testing.T, device string) func() error {
	return func() error {
		const pass = 2
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, pass), asm.Return()}})
		if err != nil {
			return err
		}
		t.Cleanup(func() { program.Close() })
		found, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: found.Attrs().Index, Flags: link.XDPGenericMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
