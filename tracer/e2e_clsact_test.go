package tracer_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
)

func byClsact() tracer.Config { return tracer.Config{Refuse: []tracer.Provider{tracer.ProviderTCX}} }

// killedEnv makes TestFiltersOfKilledRun the process that is killed; it names
// the namespaces of the host and of the target.
const killedEnv = "VETHTRACE_TRACER_TEST_FILTERS"

// What a run that was killed has left at devices the next one removes, and
// nothing of others: neither a filter, nor a qdisc, nor what a live run has.
func TestFiltersOfKilledRun(t *testing.T) {
	if paths := os.Getenv(killedEnv); paths != "" {
		filterUntilKilled(t, strings.Fields(paths))
	}
	s := newStage(t, lab.Config{})
	host, target := s.world.Host.NS, s.world.Container("nginx").NS
	foreign := s.foreignFilter(host, "docker0", 100)
	other := s.foreignFilter(host, "lo", 1)
	s.killRun(host, target)
	left := s.filters(host, target)
	if len(left) < 8 {
		t.Fatalf("too few filters outlive their process, the check is blind: %v", left)
	}

	live, err := tracer.Open(s.ctx, withHost(byClsact(), host), spec(s.world.Container("nginx")))
	s.must(err)
	defer live.Close()
	after := s.filters(host, target)
	for name := range left {
		if after[name] && strings.HasPrefix(name, "vethtrace:") {
			t.Errorf("%s is still there", name)
		}
	}
	s.open(byClsact(), "nginx") // beside another run that lives
	s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{}))
	s.stop()
	for name := range after {
		if strings.Contains(name, ":vt_null_") { // these come and go
			continue
		}
		if !s.filters(host, target)[name] {
			t.Errorf("%s of a live run, or of others, is gone", name)
		}
	}
	s.must(live.Close())
	want := map[string]bool{foreign: true, other: true}
	if end := s.filters(host, target); len(end) != len(want) || !end[foreign] || !end[other] {
		t.Errorf("filters at the end: %v, want %v", end, want)
	}
	if qdiscs := s.clsactQdiscs(host, target); fmt.Sprint(qdiscs) != "[docker0 lo]" {
		t.Errorf("clsact qdiscs at the end: %v", qdiscs)
	}
}

func withHost(cfg tracer.Config, host *netns.NS) tracer.Config {
	cfg.Host = host
	return cfg
}

// killRun traces in another process, which is killed.
func (s *stage) killRun(host, target *netns.NS) {
	s.t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFiltersOfKilledRun$")
	paths := make([]string, 0, 2)
	for _, ns := range []*netns.NS{host, target} {
		paths = append(paths, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD()))
	}
	cmd.Env = append(os.Environ(), killedEnv+"="+strings.Join(paths, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "attached\n" {
		s.t.Errorf("the other process said %q: %v", line, err)
	}
	s.must(cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
}

func filterUntilKilled(t *testing.T, paths []string) {
	t.Helper()
	var spaces []*netns.NS
	for _, path := range paths {
		ns, err := netns.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		spaces = append(spaces, ns)
	}
	_, err := tracer.Open(t.Context(), withHost(byClsact(), spaces[0]), tracer.TargetSpec{Name: "nginx", Mode: "bridge", Netns: spaces[1]})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("attached")
	select {}
}

// A qdisc that leaves no room for clsact keeps its device's borders from being
// seen, which is said, and no others.
func TestOccupiedDevice(t *testing.T) {
	s := newStage(t, lab.Config{})
	s.must(s.world.Host.NS.Do(func() error {
		l, err := netlink.LinkByName("docker0")
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
		}})
	}))
	cfg := byClsact()
	cfg.Detail = tracer.DetailDevices
	s.open(cfg, "nginx")
	s.exact(s.world.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{KeepAlive: true}))
	snapshot := s.stop()
	missing := fmt.Sprint(snapshot.Missing)
	for _, hook := range []string{"bridge/egress at device", "bridge/ingress at device"} {
		if !strings.Contains(missing, hook) {
			t.Errorf("%s is not named: %s", hook, missing)
		}
	}
	if len(snapshot.Missing) != 2 {
		t.Errorf("missing: %s", missing)
	}
	if qdiscs := s.clsactQdiscs(s.world.Host.NS); len(qdiscs) > 0 {
		t.Errorf("left: %v", qdiscs)
	}
}

// foreignFilter puts somebody else's filter, in a qdisc of theirs, at a device, and names it.
func (s *stage) foreignFilter(ns *netns.NS, device string, priority uint16) string {
	s.t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	s.must(err)
	s.t.Cleanup(func() { program.Close() })
	name := "theirs-at-" + device
	s.must(ns.Do(func() error {
		l, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		index := l.Attrs().Index
		err = netlink.QdiscAdd(&netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
			QdiscType:  "clsact",
		})
		if err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: priority},
			Fd:          program.FD(), Name: name, DirectAction: true,
		})
	}))
	return name
}

// filters are the names of all filters at the devices of namespaces.
func (s *stage) filters(spaces ...*netns.NS) map[string]bool {
	s.t.Helper()
	names := map[string]bool{}
	s.atDevices(spaces, func(l netlink.Link) error {
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			all, err := netlink.FilterList(l, parent)
			if err != nil {
				return err
			}
			for _, f := range all {
				if f, ok := f.(*netlink.BpfFilter); ok {
					names[f.Name] = true
				}
			}
		}
		return nil
	})
	return names
}

// clsactQdiscs are the devices that have one.
func (s *stage) clsactQdiscs(spaces ...*netns.NS) (devices []string) {
	s.t.Helper()
	s.atDevices(spaces, func(l netlink.Link) error {
		all, err := netlink.QdiscList(l)
		for _, qdisc := range all {
			if qdisc.Type() == "clsact" {
				devices = append([]string{l.Attrs().Name}, devices...)
			}
		}
		return err
	})
	return devices
}

func (s *stage) atDevices(spaces []*netns.NS, look func(netlink.Link) error) {
	s.t.Helper()
	for _, ns := range spaces {
		s.must(ns.Do(func() error {
			all, err := netlink.LinkList()
			if err != nil {
				return err
			}
			for _, l := range all {
				if err := look(l); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}
