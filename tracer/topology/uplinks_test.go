// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"net/netip"
	"testing"
)

func TestUplinks(t *testing.T) {
	route := func(dst string, links ...int) Route {
		return Route{Dst: netip.MustParsePrefix(dst), Links: links, Table: 254, Type: RouteUnicast}
	}
	typed := func(r Route, typ RouteType) Route { r.Type = typ; return r }
	local := func(l Link) Link { l.ParentNetnsID = -1; return l }
	lo := local(Link{Index: 1, Name: "lo", Loopback: true})
	eth0 := local(Link{Index: 2, Name: "eth0", Ethernet: true})
	eth1 := local(Link{Index: 3, Name: "eth1", Ethernet: true})
	docker0 := local(Link{Index: 10, Name: "docker0", Kind: "bridge"})
	web := Link{Index: 11, Name: "vethweb", Kind: "veth", Master: 10, Parent: 2}
	other := local(Link{Index: 20, Name: "br-abc", Kind: "bridge"})
	db := Link{Index: 21, Name: "vethdb", Kind: "veth", Master: 20, Parent: 2}
	dockerRoute := route("172.17.0.0/16", 10)
	enslaved := func(l Link, master int) Link { l.Master = master; return l }

	tests := []struct {
		name   string
		links  []Link
		routes []Route
		traced []int
		want   string
	}{
		{"plain host", []Link{lo, eth0, docker0, web}, []Route{route("0.0.0.0/0", 2), dockerRoute}, []int{10}, "eth0"},
		{"port traced too", []Link{lo, eth0, docker0, web}, []Route{route("0.0.0.0/0", 2), dockerRoute}, []int{10, 11}, "eth0"},
		{"two uplinks, subnet routes only", []Link{eth0, eth1, docker0}, []Route{route("192.0.2.0/24", 3), route("198.51.100.0/24", 2)}, []int{10}, "eth0 eth1"},
		{"device without a route", []Link{eth0, eth1}, []Route{route("0.0.0.0/0", 2)}, nil, "eth0"},
		{"IPv6 only", []Link{eth0, eth1}, []Route{route("::/0", 3)}, nil, "eth1"},
		{"another table", []Link{eth0, eth1}, []Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Links: []int{3}, Table: 1000, Type: RouteUnicast}}, nil, "eth1"},
		{"multipath", []Link{eth0, eth1}, []Route{route("0.0.0.0/0", 2, 3)}, nil, "eth0 eth1"},
		{
			"local, broadcast, multicast, link-local and blackhole routes say nothing",
			[]Link{lo, eth0, eth1},
			[]Route{
				typed(route("192.0.2.1/32", 2), RouteLocal), typed(route("192.0.2.255/32", 2), RouteBroadcast),
				typed(route("ff00::/8", 2), RouteMulticast), route("ff00::/8", 2), route("fe80::/64", 2),
				typed(route("2001:db8::/128", 2), RouteAnycast),
				{Dst: netip.MustParsePrefix("10.0.0.0/8"), Type: 6},
				route("198.51.100.0/24", 3),
			},
			nil, "eth1",
		},
		{"route by lo", []Link{lo, eth0}, []Route{route("127.0.0.0/8", 1), route("0.0.0.0/0", 2)}, nil, "eth0"},
		{"another network of Docker", []Link{eth0, docker0, web, other, db}, []Route{route("0.0.0.0/0", 2), dockerRoute, route("172.18.0.0/16", 20)}, []int{10}, "eth0"},
		{"bridge without ports", []Link{eth0, other}, []Route{route("0.0.0.0/0", 2), route("172.18.0.0/16", 20)}, nil, "eth0"},
		{"another container's port with a route of its own", []Link{eth0, other, db}, []Route{route("0.0.0.0/0", 2), route("2001:db8::/64", 21)}, nil, "eth0"},
		{
			"bridge with a physical port",
			[]Link{enslaved(eth0, 20), other, db},
			[]Route{route("0.0.0.0/0", 20)},
			nil, "eth0",
		},
		{"the traced bridge has a physical port", []Link{enslaved(eth0, 10), docker0, web, eth1}, []Route{route("0.0.0.0/0", 10), route("198.51.100.0/24", 3)}, []int{10}, "eth0 eth1"},
		{"the traced bridge has a virtual machine's tap", []Link{eth0, docker0, web, local(Link{Index: 12, Name: "vnet0", Kind: "tun", Master: 10})}, []Route{route("0.0.0.0/0", 2)}, []int{10}, "eth0 vnet0"},
		{
			"bond",
			[]Link{enslaved(eth0, 30), enslaved(eth1, 30), local(Link{Index: 30, Name: "bond0", Kind: "bond"})},
			[]Route{route("0.0.0.0/0", 30)},
			nil, "eth0 eth1",
		},
		{"bond without slaves", []Link{local(Link{Index: 30, Name: "bond0", Kind: "bond"})}, []Route{route("0.0.0.0/0", 30)}, nil, "bond0"},
		{"VLAN and its parent are one", []Link{eth0, local(Link{Index: 31, Name: "eth0.7", Kind: "vlan", Parent: 2})}, []Route{route("0.0.0.0/0", 31), route("192.0.2.0/24", 2)}, nil, "eth0"},
		{
			"VLAN on a bond, in a bridge", []Link{
				enslaved(eth0, 30), enslaved(eth1, 30), local(Link{Index: 30, Name: "bond0", Kind: "bond"}),
				local(Link{Index: 31, Name: "bond0.7", Kind: "vlan", Parent: 30, Master: 32}), local(Link{Index: 32, Name: "br0", Kind: "bridge"}),
			}, []Route{route("0.0.0.0/0", 32)}, nil, "eth0 eth1",
		},
		{"macvlan of the host", []Link{eth0, local(Link{Index: 33, Name: "shim", Kind: "macvlan", Parent: 2})}, []Route{route("192.0.2.7/32", 33)}, nil, "eth0"},
		{"macvlan whose parent is elsewhere", []Link{eth0, {Index: 33, Name: "mv", Kind: "macvlan", Parent: 2, ParentNetnsID: 4}}, []Route{route("0.0.0.0/0", 33)}, nil, "mv"},
		{"VLAN on the traced bridge", []Link{docker0, web, local(Link{Index: 34, Name: "docker0.5", Kind: "vlan", Parent: 10})}, []Route{route("10.5.0.0/16", 34)}, []int{10}, ""},
		{"tun", []Link{eth0, local(Link{Index: 35, Name: "tun0", Kind: "tun"})}, []Route{route("0.0.0.0/0", 2), route("10.8.0.0/24", 35)}, nil, "eth0 tun0"},
		{"vxlan counts itself", []Link{eth0, local(Link{Index: 36, Name: "flannel.1", Kind: "vxlan", Parent: 2})}, []Route{route("0.0.0.0/0", 2), route("10.244.1.0/24", 36)}, nil, "eth0 flannel.1"},
		{"uplink that is a veth (host in a namespace)", []Link{{Index: 2, Name: "wan", Kind: "veth", Parent: 3}, docker0, web}, []Route{route("0.0.0.0/0", 2), dockerRoute}, []int{10}, "wan"},
		{"traced routed veth", []Link{eth0, {Index: 40, Name: "cali1", Kind: "veth", Parent: 2}}, []Route{route("0.0.0.0/0", 2), route("10.1.1.1/32", 40)}, []int{40}, "eth0"},
		{"route of a device that is gone", []Link{eth0}, []Route{route("0.0.0.0/0", 99)}, nil, ""},
		{
			// Never made by the kernel, but a dump is not one moment.
			"devices on top of each other",
			[]Link{local(Link{Index: 50, Name: "a", Kind: "vlan", Parent: 51}), local(Link{Index: 51, Name: "b", Kind: "vlan", Parent: 50})},
			[]Route{route("0.0.0.0/0", 50)},
			nil, "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Uplinks(Namespace{Links: tt.links, Routes: tt.routes}, tt.traced...)
			if names(got) != tt.want {
				t.Errorf("uplinks = %q, want %q", names(got), tt.want)
			}
		})
	}
}

func TestUplinkWithoutEthernetHeader(t *testing.T) {
	host := Namespace{
		Links:  []Link{{Index: 35, Name: "wg0", Kind: "wireguard", ParentNetnsID: -1}},
		Routes: []Route{{Dst: netip.MustParsePrefix("10.8.0.0/24"), Links: []int{35}, Type: RouteUnicast}},
	}
	if got := Uplinks(host); len(got) != 1 || got[0].Ethernet {
		t.Errorf("uplinks = %+v, want wg0 without an Ethernet header", got)
	}
}
