// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/mdlayher/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newNS(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// run runs command lines inside a namespace.
func run(t *testing.T, ns *netns.NS, lines ...string) {
	t.Helper()
	for _, line := range lines {
		err := ns.Do(func() error {
			if out, err := exec.Command("sh", "-ec", line).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", line, err, out)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, ns *netns.NS) []Chain {
	t.Helper()
	chains, err := BaseChains(ns)
	if err != nil {
		t.Fatal(err)
	}
	return chains
}

// expect compares what is at hooks, written "family hook: brackets". What a
// kernel that lists its hooks may have everywhere (security modules) is left out.
func expect(t *testing.T, chains []Chain, want map[string]string) {
	t.Helper()
	chains = slices.DeleteFunc(slices.Clone(chains), func(c Chain) bool {
		return c.Backend == BackendKernel && !slices.Contains([]string{"defrag", "conntrack", "confirm", "nat"}, c.Name)
	})
	for where, want := range want {
		family, hook, _ := strings.Cut(where, " ")
		if got := show(Borders(chains, family, hook)); got != want {
			t.Errorf("%s: %q, want %q", where, got, want)
		}
	}
}

func TestBaseChainsEmpty(t *testing.T) {
	for _, c := range read(t, newNS(t)) {
		// A kernel that lists its hooks may have some everywhere (security modules).
		if c.Backend != BackendKernel || c.Name == "conntrack" || c.Name == "defrag" || c.Name == "confirm" {
			t.Errorf("a new namespace has %+v", c)
		}
	}
}

// docker is what an engine does with iptables, shortened to a chain of each.
func docker(iptables string) []string {
	return []string{
		iptables + " -t nat -N DOCKER",
		iptables + " -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
		iptables + " -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
		iptables + " -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
		iptables + " -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
		iptables + " -N DOCKER-USER",
		iptables + " -A FORWARD -j DOCKER-USER",
		iptables + " -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
	}
}

func TestBaseChainsLikeDocker(t *testing.T) {
	for _, iptables := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(iptables, func(t *testing.T) {
			ns := newNS(t)
			run(t, ns, docker(iptables)...)
			chains := read(t, ns)
			expect(t, chains, map[string]string{
				"ip prerouting":  "-400 defrag, -200 conntrack, -100 nat",
				"ip forward":     "0 filter",
				"ip output":      outputOf(iptables),
				"ip postrouting": "100 nat, 2147483647 confirm",
				"ip input":       inputOf(iptables),
				"ip6 prerouting": "",
				"ip6 forward":    "",
			})
			want := BackendNFT
			if iptables == "iptables-legacy" {
				want = BackendLegacy
			}
			i := slices.IndexFunc(chains, func(c Chain) bool { return c.Hook == HookForward })
			if i < 0 || chains[i].Backend != want || chains[i].Type != "filter" && iptables == "iptables-nft" {
				t.Errorf("forward: %+v", chains)
			}
		})
	}
}

func inputOf(iptables string) string {
	if iptables == "iptables-legacy" {
		return "0 filter, 100 nat, 2147483647 confirm"
	}
	return "100 nat, 2147483647 confirm"
}

// outputOf is what is at OUTPUT after docker: iptables-nft makes only the base
// chains that rules name, legacy tables have all of theirs.
func outputOf(iptables string) string {
	if iptables == "iptables-legacy" {
		return "-400 defrag, -200 conntrack, -100 nat, 0 filter"
	}
	return "-400 defrag, -200 conntrack, -100 nat"
}

func TestBaseChainsOfIP6AndSecurityTables(t *testing.T) {
	ns := newNS(t)
	run(t, ns, "ip6tables-legacy -t mangle -L -n", "ip6tables-legacy -t raw -L -n")
	expect(t, read(t, ns), map[string]string{
		"ip6 prerouting": "-300 raw, -150 mangle", "ip6 forward": "-150 mangle", "ip6 output": "-300 raw, -150 mangle", "ip prerouting": "",
	})
}

func TestBaseChainsOfNFT(t *testing.T) {
	ns := newNS(t)
	run(
		t, ns,
		"nft add table inet fw",
		"nft 'add chain inet fw guard { type filter hook forward priority 10; }'",
		"nft 'add chain inet fw early { type filter hook prerouting priority -310; }'",
		"nft 'add chain inet fw regular'",
		"nft add table ip other",
		"nft 'add chain ip other guard { type filter hook forward priority 10; }'",
		"nft 'add chain ip other route { type route hook output priority -150; }'",
		"nft 'add table ip asleep { flags dormant; }'",
		"nft 'add chain ip asleep guard { type filter hook forward priority 20; }'",
		"nft add table bridge b",
		"nft 'add chain bridge b pre { type filter hook prerouting priority -300; }'",
		"nft add table arp a",
		"nft 'add chain arp a in { type filter hook input priority 0; }'",
	)
	chains := read(t, ns)
	expect(t, chains, map[string]string{
		"ip6 forward":       "10 fw/guard",
		"ip prerouting":     "-310 fw/early",
		"ip output":         "-150 other/route",
		"bridge prerouting": "-300 b/pre",
		"arp input":         "0 a/in",
	})
	// Two chains at one priority are one bracket; in which order they run only
	// the hook dump tells.
	forward := Borders(chains, FamilyIP, HookForward)
	if len(forward) != 1 || forward[0].Priority != 10 {
		t.Fatalf("ip forward: %q", show(forward))
	}
	slices.Sort(forward[0].Names)
	if forward[0].Name() != "fw/guard+other/guard" {
		t.Errorf("ip forward: %q", show(forward))
	}
	// A rule that needs connection tracking, of a table of both families.
	run(t, ns, "nft add rule inet fw guard ct state established accept")
	expect(t, read(t, ns), map[string]string{
		"ip prerouting":  "-400 defrag, -310 fw/early, -200 conntrack",
		"ip6 prerouting": "-400 defrag, -310 fw/early, -200 conntrack",
		"ip input":       "2147483647 confirm",
	})
	// A nat chain is called from the kernel's nat function, which alone tracks nothing.
	run(t, ns, "nft flush chain inet fw guard", "nft 'add chain inet fw trans { type nat hook postrouting priority 90; }'")
	expect(t, read(t, ns), map[string]string{"ip6 input": "100 nat", "ip postrouting": "100 fw/trans", "ip output": "-150 other/route, -100 nat"})
	run(t, ns, "nft delete chain inet fw trans")
	expect(t, read(t, ns), map[string]string{"ip prerouting": "-310 fw/early", "ip6 input": ""})
}

func TestBaseChainsOfDevice(t *testing.T) {
	ns := newNS(t)
	run(
		t, ns,
		"ip link add v0 type veth peer name v1",
		"nft add table netdev n",
		"nft 'add chain netdev n in { type filter hook ingress device v0 priority 5; }'",
	)
	expect(t, read(t, ns), map[string]string{"netdev ingress": "5 n/in", "ip prerouting": ""})
}

// bindQueue listens to an NFQUEUE until the test ends, as libnetfilter_queue does.
func bindQueue(t *testing.T, ns *netns.NS, number uint16) {
	t.Helper()
	const (
		subsysQueue  = 3
		msgConfig    = 2
		attrCommand  = 1
		commandBind  = 1
		sizeofConfig = 4
	)
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		t.Cleanup(func() { conn.Close() })
		b := []byte{unix.AF_UNSPEC, 0, byte(number >> 8), byte(number)}
		attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: attrCommand, Data: make([]byte, sizeofConfig)}})
		if err != nil {
			return err
		}
		attrs[4] = commandBind
		_, err = conn.Execute(netlink.Message{
			Header: netlink.Header{Type: subsysQueue<<8 | msgConfig, Flags: netlink.Request | netlink.Acknowledge},
			Data:   append(b, attrs...),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestQueues(t *testing.T) {
	ns := newNS(t)
	if got, err := Queues(ns); err != nil || got != nil {
		t.Fatalf("a new namespace: %v, %v", got, err)
	}
	bindQueue(t, ns, 7)
	bindQueue(t, ns, 300)
	got, err := Queues(ns)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, []uint16{7, 300}) {
		t.Errorf("queues %v, %v", got, err)
	}
	if got, err := Queues(newNS(t)); err != nil || got != nil {
		t.Errorf("another namespace: %v, %v", got, err)
	}
}

func TestTrackedConnectionsCount(t *testing.T) {
	ns := newNS(t)
	run(
		t, ns, "ip link set lo up", "iptables-legacy -A OUTPUT -m conntrack --ctstate NEW",
		"ping -c 1 -w 5 -q 127.0.0.1",
	)
	// The rule is legacy's and can't be read: the connection tells.
	deadline := time.Now().Add(5 * time.Second)
	for {
		chains := read(t, ns)
		if slices.ContainsFunc(chains, func(c Chain) bool { return c.Name == "conntrack" && c.Hook == HookOutput }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("connection tracking is not seen: %+v", chains)
		}
	}
}

// dumpIn lists the registered hooks of a namespace, if the kernel can.
func dumpIn(t *testing.T, ns *netns.NS) (dump []registered, ok bool) {
	t.Helper()
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		dump, ok, err = dumpHooks(conn)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dump, ok
}

// The kernel's own list must be used where there is one, and then tells the
// order within one priority, which nothing else does.
func TestHookDump(t *testing.T) {
	ns := newNS(t)
	run(
		t, ns,
		"nft add table ip one", "nft 'add chain ip one c { type filter hook forward priority 10; }'",
		"nft add table ip two", "nft 'add chain ip two c { type filter hook forward priority 10; }'",
		"nft 'add chain ip two n { type nat hook postrouting priority 90; }'",
	)
	dump, ok := dumpIn(t, ns)
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(symbols)) // "address type name [module]"
	if has := slices.Contains(names, "nfnl_hook_dump"); has != ok {
		t.Fatalf("hook dump: %v; the kernel has it loaded: %v", ok, has)
	}
	if !ok {
		t.Log("this kernel does not list its hooks (CONFIG_NETFILTER_NETLINK_HOOK)")
		return
	}
	var tables []string
	for _, r := range dump {
		if r.family == FamilyIP && r.hook == HookForward && r.info == infoNFTables {
			tables = append(tables, r.table+"/"+r.chain)
		}
	}
	chains := read(t, ns)
	if got := Borders(chains, FamilyIP, HookForward); len(tables) != 2 || len(got) != 1 || !slices.Equal(got[0].Names, tables) {
		t.Errorf("brackets %q, dump %v", show(got), tables)
	}
	i := slices.IndexFunc(chains, func(c Chain) bool { return c.Hook == HookPostrouting && c.Type == "nat" })
	if i < 0 || chains[i].Table != "two" || chains[i].Priority != PrioritySNAT {
		t.Errorf("the nat chain is not named: %+v", chains)
	}
}

// vethtrace's own links are no chains.
func TestBPFLinksAreLeftOut(t *testing.T) {
	ns := newNS(t)
	before := read(t, ns)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Netfilter, AttachType: ebpf.AttachNetfilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	var l link.Link
	err = ns.Do(func() (err error) {
		l, err = link.AttachNetfilter(link.NetfilterOptions{
			Program: prog, ProtocolFamily: unix.NFPROTO_IPV4, Hook: link.NetfilterInetForward, Priority: 7,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dump, ok := dumpIn(t, ns); ok && !slices.ContainsFunc(dump, registered.bpf) {
		t.Errorf("the kernel does not list the link: %+v", dump)
	}
	if after := read(t, ns); !slices.Equal(before, after) {
		t.Errorf("chains %+v, were %+v", after, before)
	}
}

func TestReadFails(t *testing.T) {
	ns := newNS(t)
	ns.Close()
	if _, err := BaseChains(ns); err == nil {
		t.Error("reading a closed namespace gives no error")
	}
	if _, err := Queues(ns); err == nil {
		t.Error("reading the queues of a closed namespace gives no error")
	}
}
