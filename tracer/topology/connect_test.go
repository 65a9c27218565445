// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net/netip"
	"strings"
	"testing"
)

// pair makes the two ends of a veth pair, each with the other namespace's id.
func pair(host, target Link, targetInHost, hostInTarget int) (Link, Link) {
	host.Kind, target.Kind = "veth", "veth"
	host.Parent, target.Parent = target.Index, host.Index
	host.ParentNetnsID, target.ParentNetnsID = targetInHost, hostInTarget
	return host, target
}

func TestConnect(t *testing.T) {
	lo := Link{Index: 1, Name: "lo", Loopback: true, ParentNetnsID: -1}
	docker0 := Link{Index: 3, Name: "docker0", Kind: "bridge", ParentNetnsID: -1}
	br1 := Link{Index: 4, Name: "br-1", Kind: "bridge", ParentNetnsID: -1}
	eth0 := Link{Index: 2, Name: "eth0", ParentNetnsID: -1}
	ids := Peering{TargetInHost: 1, HostInTarget: 0}

	webHost, webEth0 := pair(Link{Index: 27, Name: "vethweb", Master: 3}, Link{Index: 26, Name: "eth0"}, 1, 0)
	webHost1, webEth1 := pair(Link{Index: 29, Name: "vethweb1", Master: 4}, Link{Index: 28, Name: "eth1"}, 1, 0)
	// Two containers made by hand, both with an eth0 of index 2.
	aHost, aEth0 := pair(Link{Index: 11, Name: "vetha", Master: 3}, Link{Index: 2, Name: "eth0"}, 1, 0)
	bHost, _ := pair(Link{Index: 12, Name: "vethb", Master: 4}, Link{Index: 2, Name: "eth0"}, 2, 0)
	routed, routedEth0 := pair(Link{Index: 31, Name: "cali1"}, Link{Index: 2, Name: "eth0"}, 1, 0)

	tests := []struct {
		name                string
		host, target        []Link
		ids                 Peering
		dev                 string
		peer, bridge, lower string
		inner, reason       string
	}{
		{name: "docker0", host: []Link{lo, eth0, docker0, webHost}, target: []Link{lo, webEth0}, ids: ids, dev: "eth0", peer: "vethweb", bridge: "docker0"},
		{name: "second network", host: []Link{docker0, br1, webHost, webHost1}, target: []Link{webEth0, webEth1}, ids: ids, dev: "eth1", peer: "vethweb1", bridge: "br-1"},
		{name: "first of two networks", host: []Link{docker0, br1, webHost, webHost1}, target: []Link{webEth0, webEth1}, ids: ids, dev: "eth0", peer: "vethweb", bridge: "docker0"},
		{name: "routed without bridge", host: []Link{routed}, target: []Link{routedEth0}, ids: ids, dev: "eth0", peer: "cali1"},
		{name: "loopback", host: []Link{lo}, target: []Link{lo}, ids: ids, dev: "lo", reason: "loopback"},
		{name: "two containers with index 2", host: []Link{docker0, br1, aHost, bHost}, target: []Link{lo, aEth0}, ids: ids, dev: "eth0", peer: "vetha", bridge: "docker0"},
		{
			// b's end as seen by a target whose id in the host is another.
			name: "index right, namespace wrong", host: []Link{br1, bHost},
			target: []Link{{Index: 2, Name: "eth0", Kind: "veth", Parent: 12, ParentNetnsID: 0}}, ids: ids, dev: "eth0", reason: "connected elsewhere",
		},
		{
			name: "host's device of that index is no veth", host: []Link{{Index: 27, Name: "eth7", ParentNetnsID: -1}},
			target: []Link{webEth0}, ids: ids, dev: "eth0", reason: "connected elsewhere",
		},
		{
			// The host has a veth of the same index, connected back to the same
			// index, but the target's peer lives in namespace 5.
			name: "peer in a third namespace", host: []Link{webHost},
			target: []Link{{Index: 26, Name: "eth0", Kind: "veth", Parent: 27, ParentNetnsID: 5}}, ids: ids, dev: "eth0", reason: "third namespace",
		},
		{name: "host has no id at all", host: []Link{webHost}, target: []Link{webEth0}, ids: Peering{TargetInHost: IDNone, HostInTarget: IDNone}, dev: "eth0", reason: "third namespace"},
		{name: "ids unknown, indexes agree", host: []Link{docker0, webHost}, target: []Link{webEth0}, ids: Peering{IDUnknown, IDUnknown}, dev: "eth0", peer: "vethweb", bridge: "docker0"},
		{name: "ids unknown, indexes disagree", host: []Link{docker0, {Index: 27, Name: "vethx", Kind: "veth", Parent: 99, ParentNetnsID: 1}}, target: []Link{webEth0}, ids: Peering{IDUnknown, IDUnknown}, dev: "eth0", reason: "connected elsewhere"},
		{name: "peer just removed", host: []Link{docker0}, target: []Link{webEth0}, ids: ids, dev: "eth0", reason: "not in the host's namespace"},
		{
			name: "pair within the target", target: []Link{
				{Index: 2, Name: "a", Kind: "veth", Parent: 3, ParentNetnsID: -1}, {Index: 3, Name: "b", Kind: "veth", Parent: 2, ParentNetnsID: -1},
			}, ids: ids, dev: "a", reason: "peer b is in the target's own namespace",
		},
		{
			name: "macvlan", host: []Link{eth0}, target: []Link{{Index: 9, Name: "eth0", Kind: "macvlan", Parent: 2, ParentNetnsID: 0}},
			ids: ids, dev: "eth0", lower: "eth0",
		},
		{
			name: "macvlan on a third namespace's device", host: []Link{eth0}, target: []Link{{Index: 9, Name: "eth0", Kind: "macvlan", Parent: 2, ParentNetnsID: 3}},
			ids: ids, dev: "eth0", reason: "third namespace",
		},
		{
			name: "VLAN on the target's own eth0", host: []Link{docker0, webHost},
			target: []Link{webEth0, {Index: 40, Name: "eth0.7", Kind: "vlan", Parent: 26, ParentNetnsID: -1}},
			ids:    ids, dev: "eth0.7", inner: "eth0", reason: "on top of",
		},
		{name: "physical device moved in", host: []Link{lo}, target: []Link{{Index: 5, Name: "sriov0", ParentNetnsID: -1}}, ids: ids, dev: "sriov0", reason: "a physical device has no other end"},
		{name: "tun", host: []Link{lo}, target: []Link{{Index: 5, Name: "tun0", Kind: "tun", ParentNetnsID: -1}}, ids: ids, dev: "tun0", reason: "a tun device has no other end"},
		{
			name: "netkit", host: []Link{{Index: 8, Name: "nk", Kind: "netkit", Parent: 2, ParentNetnsID: 1}},
			target: []Link{{Index: 2, Name: "eth0", Kind: "netkit", Parent: 8, ParentNetnsID: 0}}, ids: ids, dev: "eth0", peer: "nk",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := Connect(Namespace{Inode: 1, Links: tt.host}, Namespace{Inode: 2, Links: tt.target}, tt.ids)
			if w.Same || len(w.Interfaces) != len(tt.target) {
				t.Fatalf("same = %v with %d interfaces, want false with %d", w.Same, len(w.Interfaces), len(tt.target))
			}
			i := interfaceNamed(t, w, tt.dev)
			for what, names := range map[string][2]string{
				"peer": {nameOf(i.Peer), tt.peer}, "bridge": {nameOf(i.Bridge), tt.bridge},
				"lower": {nameOf(i.Lower), tt.lower}, "inner": {nameOf(i.Inner), tt.inner},
			} {
				if names[0] != names[1] {
					t.Errorf("%s = %q, want %q (reason %q)", what, names[0], names[1], i.Reason)
				}
			}
			if tt.reason == "" && i.Reason != "" || !strings.Contains(i.Reason, tt.reason) {
				t.Errorf("reason = %q, want %q", i.Reason, tt.reason)
			}
			if want := tt.peer != "" || tt.lower != ""; i.Connected() != want {
				t.Errorf("connected = %v, want %v", i.Connected(), want)
			}
		})
	}
}

func TestConnectSameNamespace(t *testing.T) {
	host := Namespace{Inode: 7, Links: []Link{{Index: 1, Name: "lo", Loopback: true}, {Index: 2, Name: "eth0"}}}
	w := Connect(host, host, Peering{})
	if !w.Same || len(w.Interfaces) != 2 {
		t.Fatalf("wiring of the host itself: %+v", w)
	}
	if i := w.Interfaces[1]; i.Connected() || i.Reason != "device of the host itself" {
		t.Errorf("eth0: %+v", i)
	}
	// Namespaces whose inode could not be read are not the same one.
	if Connect(Namespace{}, Namespace{}, Peering{}).Same {
		t.Error("two namespaces without inode are the same")
	}
}

func TestConnectCopies(t *testing.T) {
	h, e := pair(Link{Index: 27, Name: "vethweb"}, Link{Index: 26, Name: "eth0"}, 1, 0)
	host := Namespace{Inode: 1, Links: []Link{h}}
	w := Connect(host, Namespace{Inode: 2, Links: []Link{e}}, Peering{1, 0})
	host.Links[0].Name = "changed"
	if got := w.Interfaces[0].Peer.Name; got != "vethweb" {
		t.Errorf("the peer of a wiring changed with the namespace it came from: %q", got)
	}
}

func TestNamespaceLookups(t *testing.T) {
	n := Namespace{Links: []Link{
		{Index: 1, Name: "lo", Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Index: 2, Name: "br0", Kind: "bridge"},
		{Index: 3, Name: "p1", Master: 2},
		{Index: 4, Name: "p2", Master: 2},
		{Index: 5, Name: "bond0", Kind: "bond"},
	}}
	if got := names(n.Bridges()); got != "br0" {
		t.Errorf("bridges: %s", got)
	}
	if got := names(n.Ports(2)); got != "p1 p2" {
		t.Errorf("ports: %s", got)
	}
	if got := n.Ports(0); got != nil {
		t.Errorf("ports of no bridge: %v", got)
	}
	if n.ByName("p2").Index != 4 || n.ByName("none") != nil || n.ByIndex(9) != nil {
		t.Error("look-ups by name or index are wrong")
	}
	if !n.HasAddr(netip.MustParseAddr("::ffff:127.0.0.1")) || n.HasAddr(netip.MustParseAddr("127.0.0.2")) {
		t.Error("HasAddr is wrong")
	}
}

func interfaceNamed(t *testing.T, w Wiring, name string) Interface {
	t.Helper()
	for _, i := range w.Interfaces {
		if i.Dev.Name == name {
			return i
		}
	}
	t.Fatalf("no interface %s in %+v", name, w)
	return Interface{}
}

func nameOf(l *Link) string {
	if l == nil {
		return ""
	}
	return l.Name
}

func names(links []Link) string {
	var out []string
	for _, l := range links {
		out = append(out, l.Name)
	}
	return strings.Join(out, " ")
}
