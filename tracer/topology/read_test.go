// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newNS makes a namespace of the test's own, with lo up.
func newNS(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	run(t, ns, "ip link set lo up")
	return ns
}

// run runs command lines inside a namespace. NS(x) in them is x's path.
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

// pathOf returns a path by which other processes find a namespace.
func pathOf(ns *netns.NS) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD()) }

func read(t *testing.T, ns *netns.NS) Namespace {
	t.Helper()
	n, err := Read(ns)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// world is a host with docker0, a second bridge, an uplink and two containers
// whose devices all have the same indexes.
func world(t *testing.T) (host, wire, web, db *netns.NS) {
	t.Helper()
	host, wire, web, db = newNS(t), newNS(t), newNS(t), newNS(t)
	run(
		t, host,
		"ip link add wan type veth peer name eth0 netns "+pathOf(wire),
		"ip addr add 192.0.2.1/24 dev wan; ip addr add 2001:db8::1/64 dev wan nodad; ip link set wan up",
		"ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up",
		"ip link add br-user type bridge; ip addr add 172.18.0.1/16 dev br-user; ip link set br-user up",
		"ip link add vethweb type veth peer name eth0 netns "+pathOf(web),
		"ip link add vethweb1 type veth peer name eth1 netns "+pathOf(web),
		"ip link add vethdb type veth peer name eth0 netns "+pathOf(db),
		"ip link set vethweb master docker0 up; ip link set vethweb1 master br-user up; ip link set vethdb master br-user up",
	)
	run(t, wire, "ip link set eth0 up")
	run(t, web, "ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up; ip link set eth1 up; ip route add default via 172.17.0.1")
	run(t, db, "ip link set eth0 up")
	run(t, host, "ip route add default via 192.0.2.254")
	return host, wire, web, db
}

func TestReadLink(t *testing.T) {
	host, _, web, _ := world(t)
	n := read(t, web)
	if n.Inode != web.Inode() {
		t.Errorf("inode %d, want %d", n.Inode, web.Inode())
	}
	eth0, lo, h := n.ByName("eth0"), n.ByName("lo"), read(t, host)
	if eth0 == nil || lo == nil {
		t.Fatalf("links: %+v", n.Links)
	}
	peer := h.ByName("vethweb")
	if eth0.Kind != "veth" || eth0.Parent != peer.Index || eth0.ParentNetnsID < 0 || !eth0.Up ||
		!eth0.Ethernet || eth0.Loopback || eth0.MTU != 1500 || len(eth0.MAC) != 17 || eth0.Qdisc != "noqueue" {
		t.Errorf("eth0 = %+v", eth0)
	}
	if !slices.Contains(eth0.Addrs, netip.MustParsePrefix("172.17.0.2/16")) {
		t.Errorf("addresses of eth0: %v", eth0.Addrs)
	}
	if !lo.Loopback || lo.Ethernet || lo.Kind != "" || lo.Parent != 0 || lo.ParentNetnsID != -1 {
		t.Errorf("lo = %+v", lo)
	}
	if docker0 := h.ByName("docker0"); docker0.Kind != "bridge" || peer.Master != docker0.Index {
		t.Errorf("docker0 = %+v, vethweb = %+v", docker0, peer)
	}
	if got := names(h.Bridges()); got != "docker0 br-user" {
		t.Errorf("bridges: %s", got)
	}
	if got := names(h.Ports(h.ByName("br-user").Index)); got != "vethweb1 vethdb" {
		t.Errorf("ports of br-user: %s", got)
	}
	if !h.HasAddr(netip.MustParseAddr("2001:db8::1")) {
		t.Error("the uplink's IPv6 address is missing")
	}
}

func TestReadCounters(t *testing.T) {
	host, wire, _, _ := world(t)
	run(t, wire, "ip addr add 192.0.2.254/24 dev eth0")
	before := read(t, host).ByName("wan").Counters
	run(t, wire, "ping -c 3 -i 0.01 -w 5 -q 192.0.2.1 >/dev/null")
	after := read(t, host).ByName("wan").Counters
	if after.RxPackets-before.RxPackets < 3 || after.TxPackets-before.TxPackets < 3 {
		t.Errorf("3 pings counted as %d received, %d sent", after.RxPackets-before.RxPackets, after.TxPackets-before.TxPackets)
	}
	if bytes := after.RxBytes - before.RxBytes; bytes < 3*98 {
		t.Errorf("3 pings have %d bytes", bytes)
	}
}

func TestReadQdiscAndGRO(t *testing.T) {
	host, _, _, _ := world(t)
	if w := read(t, host).ByName("vethweb"); w.GRO || w.XDP || w.NAPI() {
		t.Fatalf("a new veth has GRO or XDP: %+v", w)
	}
	run(t, host, "tc qdisc add dev wan root pfifo_fast 2>/dev/null || tc qdisc add dev wan root tbf rate 1gbit burst 1mb latency 1ms")
	if err := setOffload(host, "vethweb", unix.ETHTOOL_SGRO, 1); err != nil {
		t.Fatal(err)
	}
	n := read(t, host)
	if w := n.ByName("vethweb"); !w.GRO || !w.NAPI() {
		t.Errorf("GRO was set and is not seen: %+v", w)
	}
	if n.ByName("vethdb").GRO {
		t.Error("GRO of one veth is seen at another")
	}
	if n.ByName("vethweb").Small {
		t.Error("a new veth takes no large packets")
	}
	if err := setOffload(host, "vethweb", unix.ETHTOOL_STSO, 0); err != nil {
		t.Fatal(err)
	}
	if n = read(t, host); !n.ByName("vethweb").Small || n.ByName("vethdb").Small {
		t.Errorf("TSO was switched off at vethweb alone: %+v", n.ByName("vethweb"))
	}
	if q := n.ByName("wan").Qdisc; q != "pfifo_fast" && q != "tbf" {
		t.Errorf("queueing discipline = %q", q)
	}
}

func TestReadWiringRealNamespaces(t *testing.T) {
	host, _, web, db := world(t)
	if a, b := read(t, web).ByName("eth0").Index, read(t, db).ByName("eth0").Index; a != b {
		t.Fatalf("the eth0 of both containers must have one index to make this a test: %d, %d", a, b)
	}
	for _, tt := range []struct {
		target            *netns.NS
		dev, peer, bridge string
	}{
		{web, "eth0", "vethweb", "docker0"},
		{web, "eth1", "vethweb1", "br-user"},
		{db, "eth0", "vethdb", "br-user"}, // its index is that of web's eth0
	} {
		w, err := ReadWiring(host, tt.target)
		if err != nil {
			t.Fatal(err)
		}
		i := interfaceNamed(t, w, tt.dev)
		if nameOf(i.Peer) != tt.peer || nameOf(i.Bridge) != tt.bridge {
			t.Errorf("%s: peer %q on %q, want %q on %q (%s)", tt.dev, nameOf(i.Peer), nameOf(i.Bridge), tt.peer, tt.bridge, i.Reason)
		}
	}
	w, err := ReadWiring(host, host)
	if err != nil || !w.Same {
		t.Errorf("the host itself: %+v, %v", w, err)
	}
}

// A container in a namespace whose engine is in a namespace itself: from outside
// its peer is in a third one, even though a device here has the peer's index.
func TestReadWiringPeerInThirdNamespace(t *testing.T) {
	host, _, web, _ := world(t)
	outside := newNS(t)
	index := read(t, host).ByName("vethweb").Index
	run(t, outside, fmt.Sprintf("ip link add decoy index %d type veth peer name decoy1", index))
	w, err := ReadWiring(outside, web)
	if err != nil {
		t.Fatal(err)
	}
	if i := interfaceNamed(t, w, "eth0"); i.Connected() || !i.Elsewhere || !strings.Contains(i.Reason, "third namespace") {
		t.Errorf("peer %q, reason %q", nameOf(i.Peer), i.Reason)
	}
}

func TestReadWiringMacvlan(t *testing.T) {
	host, _, _, _ := world(t)
	target := newNS(t)
	run(t, host, "ip link add mv0 link wan type macvlan mode bridge; ip link set mv0 netns "+pathOf(target))
	w, err := ReadWiring(host, target)
	if err != nil {
		t.Fatal(err)
	}
	if i := interfaceNamed(t, w, "mv0"); nameOf(i.Lower) != "wan" || i.Peer != nil || i.Elsewhere {
		t.Errorf("lower %q, reason %q", nameOf(i.Lower), i.Reason)
	}
}

func TestUplinksRealNamespace(t *testing.T) {
	host, _, _, _ := world(t)
	run(
		t, host,
		"ip link add idle type veth peer name idle1; ip link set idle up; ip link set idle1 up", // has link-local routes only
		"ip tuntap add dev tun0 mode tun; ip addr add 10.8.0.1/24 dev tun0; ip link set tun0 up",
		"ip link add br-lan type bridge; ip addr add 198.51.100.1/24 dev br-lan; ip link set br-lan up",
		"ip tuntap add dev tap0 mode tap; ip link set tap0 master br-lan up",
	)
	n := read(t, host)
	uplinks := Uplinks(n, n.ByName("docker0").Index)
	if got := names(uplinks); got != "wan tun0 tap0" {
		t.Fatalf("uplinks = %q", got)
	}
	if !uplinks[0].Ethernet || uplinks[1].Ethernet || !uplinks[2].Ethernet {
		t.Errorf("headers: %+v", uplinks)
	}
	run(t, host, "ip route del default; ip route add default nexthop via 192.0.2.254 nexthop via 198.51.100.9; ip addr del 192.0.2.1/24 dev wan || true")
	run(t, host, "ip route add 203.0.113.0/24 dev wan table 77")
	n = read(t, host)
	if got := names(Uplinks(n, n.ByName("docker0").Index)); !strings.Contains(got, "wan") {
		t.Errorf("uplinks with a route in table 77 only = %q", got)
	}
}

func TestReadFails(t *testing.T) {
	ns := newNS(t)
	ns.Close()
	if _, err := Read(ns); err == nil {
		t.Error("reading a closed namespace gives no error")
	}
	if _, err := ReadPeering(ns, ns); err == nil {
		t.Error("asking a closed namespace for ids gives no error")
	}
	if _, err := Watch(t.Context(), ns); err == nil {
		t.Error("watching a closed namespace gives no error")
	}
}

// next returns the next change, failing the test when none comes.
func next(t *testing.T, changes <-chan Change) Change {
	t.Helper()
	select {
	case c, ok := <-changes:
		if !ok || c.Err != nil {
			t.Fatalf("the watch ended: %v", c.Err)
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no change within 10 s")
	}
	return Change{}
}

// until returns the first change of a kind for a name.
func until(t *testing.T, changes <-chan Change, kind ChangeKind, name string) Change {
	t.Helper()
	for {
		if c := next(t, changes); c.Kind == kind && c.Link.Name == name {
			return c
		}
	}
}

func TestWatch(t *testing.T) {
	ns, other := newNS(t), newNS(t)
	run(t, ns, "ip link add br0 type bridge")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := Watch(ctx, ns)
	if err != nil {
		t.Fatal(err)
	}
	run(t, ns, "ip link add v0 type veth peer name v1")
	until(t, changes, Added, "v0")
	run(t, ns, "ip link set v0 name v9")
	if c := until(t, changes, Renamed, "v9"); c.Old.Name != "v0" || c.Old.Index != c.Link.Index {
		t.Errorf("renamed from %+v", c.Old)
	}
	run(t, ns, "ip link set v9 master br0")
	if c := until(t, changes, Altered, "v9"); c.Link.Master == 0 || c.Old.Master != 0 {
		t.Errorf("master %d, was %d", c.Link.Master, c.Old.Master)
	}
	run(t, ns, "ip link set v1 netns "+pathOf(other))
	if c := until(t, changes, Removed, "v1"); c.Link.Kind != "veth" {
		t.Errorf("removed: %+v", c.Link)
	}
	run(t, ns, "ip link del v9")
	until(t, changes, Removed, "v9")
	cancel()
	for range changes { // closed when the watch has ended
	}
}

// With nobody reading, far more updates than the socket holds must neither
// block nor be lost: the end state is what counts.
func TestWatchSlowReader(t *testing.T) {
	ns := newNS(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := Watch(ctx, ns)
	if err != nil {
		t.Fatal(err)
	}
	run(t, ns, `ip link add first type veth peer name first1
		for i in $(seq 300); do echo "link set first mtu $((1000 + i))"; done | ip -batch -
		ip link del first; ip link add last type veth peer name last1`)
	seen := map[string]int{}
	for seen["last"] == 0 {
		c := next(t, changes)
		if c.Kind == Added {
			seen[c.Link.Name]++
		}
		if c.Kind == Removed {
			seen[c.Link.Name]--
		}
	}
	if seen["first"] != 0 || seen["last"] != 1 {
		t.Errorf("links left by the changes: %v", seen)
	}
	cancel()
	for range changes {
	}
}
