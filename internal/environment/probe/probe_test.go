// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/lab"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	os.Exit(m.Run())
}

// A host with Docker's rules: its devices, settings and rules, not ours; and
// what changes there is what differs.
func TestRead(t *testing.T) {
	w, err := lab.New(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	read := func() environment.Environment {
		e := Read(Config{Host: w.Host.NS, Tool: "test"})
		if len(e.Unread) > 0 {
			t.Errorf("not read: %v", e.Unread)
		}
		return e
	}
	e := read()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil || e.Kernel.Release != strings.TrimSpace(string(release)) || e.Tool != "test" || e.CPU.Count < 1 || e.CPU.Model == "" {
		t.Errorf("kernel %+v, processors %+v", e.Kernel, e.CPU)
	}
	if e.Sysctls["net.ipv4.ip_forward"] != "1" || e.Sysctls["net.bridge.bridge-nf-call-iptables"] != "1" || e.Sysctls["net.core.netdev_budget"] == "" {
		t.Errorf("sysctls: %v", e.Sysctls)
	}
	if n := e.Netfilter; n.Backend != "nf_tables" || n.Chains["ip/filter"] == 0 || n.Chains["ip/nat"] == 0 || n.Rules != n.Chains["ip/filter"]+n.Chains["ip/nat"] {
		t.Errorf("netfilter: %+v", n)
	}
	kinds := map[string]string{}
	for _, d := range e.Devices {
		kinds[d.Name] = d.Kind
		if d.Name == "eth0" && (d.MTU != 1500 || d.Driver != "veth" || !slices.Contains(d.Offloads, "tso")) {
			t.Errorf("eth0: %+v", d)
		}
	}
	if kinds["docker0"] != "bridge" || kinds["eth0"] != "veth" || len(kinds) != 4 {
		t.Errorf("devices: %v", kinds)
	}
	for _, change := range []func() error{
		func() error { return w.Host.Sysctl("net/ipv4/ip_early_demux", "0") },
		func() error { return output(t, w, "ip", "link", "set", "eth0", "mtu", "1400") },
		func() error { return output(t, w, "iptables", "-A", "FORWARD", "-s", "192.0.2.1", "-j", "ACCEPT") },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
	}
	differences, err := environment.Differences(e, read())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, d := range differences {
		keys = append(keys, d.Key)
	}
	want := "devices.eth0.mtu netfilter.chains.ip/filter netfilter.rules sysctls.net.ipv4.ip_early_demux"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("what differs: %s, want %s", got, want)
	}
}

func output(t *testing.T, w *lab.World, name string, args ...string) error {
	t.Helper()
	_, err := w.Host.Output(t.Context(), name, args...)
	return err
}

func TestParseCPU(t *testing.T) {
	c := parseCPU("processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: fpu hypervisor sse\n")
	if c.Model != "Example 9000" || !c.Virtual {
		t.Errorf("%+v", c)
	}
	if c := parseCPU("flags\t: fpu\n"); c.Virtual || c.Model == "" {
		t.Errorf("%+v", c)
	}
}
