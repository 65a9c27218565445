// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	vnl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// ReadEnv reads what rules ask beside the packet: devices with their addresses,
// the routing with all its tables, and the switches that decide a packet's way.
func ReadEnv(ns Entry) (rules.Env, error) {
	var env rules.Env
	err := ns.Do(func() error {
		h, err := vnl.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
		names, err := readDevices(h, &env)
		if err != nil {
			return err
		}
		if err := readRoutes(h, &env, names); err != nil {
			return err
		}
		env.Forward4 = readSwitch("net/ipv4/ip_forward") != 0
		env.Forward6 = readSwitch("net/ipv6/conf/all/forwarding") != 0
		env.RouteLocalnet = readSwitch("net/ipv4/conf/all/route_localnet") != 0
		return nil
	})
	if err != nil {
		return rules.Env{}, fmt.Errorf("read the surroundings of rules: %w", err)
	}
	return env, nil
}

// readDevices reads devices and addresses, and returns names by index.
func readDevices(h *vnl.Handle, env *rules.Env) (map[int]string, error) {
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	addrs, err := h.AddrList(nil, vnl.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	byIndex := map[int][]netip.Prefix{}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok && a.Flags&unix.IFA_F_TENTATIVE == 0 {
			byIndex[a.LinkIndex] = append(byIndex[a.LinkIndex], p)
		}
	}
	env.Devices = map[string]rules.Device{}
	names := map[int]string{}
	all := readSwitch("net/ipv4/conf/all/rp_filter")
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		env.Devices[a.Name] = rules.Device{
			Index: a.Index, Group: a.Group, Loopback: a.Flags&net.FlagLoopback != 0, Type: linkType(a.EncapType), Addrs: byIndex[a.Index],
			RPFilter:      max(all, readSwitch("net/ipv4/conf/"+a.Name+"/rp_filter")),
			RouteLocalnet: readSwitch("net/ipv4/conf/"+a.Name+"/route_localnet") != 0,
			AcceptLocal:   readSwitch("net/ipv4/conf/all/accept_local")+readSwitch("net/ipv4/conf/"+a.Name+"/accept_local") != 0,
		}
	}
	return names, nil
}

// linkType is the number of a kind of device that rules compare; 0 for Ethernet,
// lo and what the netlink library has no name for.
func linkType(encap string) uint16 {
	return map[string]uint16{"ppp": unix.ARPHRD_PPP, "none": 0xfffe, "ipip": unix.ARPHRD_TUNNEL, "sit": unix.ARPHRD_SIT, "gre": unix.ARPHRD_IPGRE}[encap]
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), true
}

func readRoutes(h *vnl.Handle, env *rules.Env, names map[int]string) error {
	for _, family := range []int{vnl.FAMILY_V4, vnl.FAMILY_V6} {
		routes, err := h.RouteListFiltered(family, &vnl.Route{Table: unix.RT_TABLE_UNSPEC}, vnl.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			env.Routes.Routes = append(env.Routes.Routes, routeOf(r, family, names))
		}
		list, err := h.RuleList(family)
		if err != nil {
			return fmt.Errorf("list rules of the routing: %w", err)
		}
		for _, r := range list {
			env.Routes.Rules = append(env.Routes.Rules, policyOf(r, family))
		}
	}
	return nil
}

func routeOf(r vnl.Route, family int, names map[int]string) rules.Route {
	out := rules.Route{
		Table: r.Table, Type: rules.RouteType(r.Type), Dev: names[r.LinkIndex], Metric: r.Priority, //nolint:gosec // types are below 12
	}
	var ok bool
	if out.Dst, ok = prefixOf(r.Dst); !ok {
		out.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if family == vnl.FAMILY_V6 {
			out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	gw, src := r.Gw, r.Src
	if len(r.MultiPath) > 0 { // of several ways, the first stands for all
		gw, out.Dev = r.MultiPath[0].Gw, names[r.MultiPath[0].LinkIndex]
	}
	if a, ok := netip.AddrFromSlice(gw); ok {
		out.Via = a.Unmap()
	}
	if a, ok := netip.AddrFromSlice(src); ok {
		out.Src = a.Unmap()
	}
	return out
}

func policyOf(r vnl.Rule, family int) rules.PolicyRule {
	out := rules.PolicyRule{
		Priority: r.Priority, Not: r.Invert, In: r.IifName, Out: r.OifName, Mark: r.Mark, Table: r.Table,
		V4Only: family == vnl.FAMILY_V4, V6Only: family == vnl.FAMILY_V6, SuppressPrefix: r.SuppressPrefixlen,
		Opaque: r.Tos != 0 || r.TunID != 0 || r.SuppressIfgroup >= 0 || r.IPProto > 0 || r.Sport != nil || r.Dport != nil ||
			r.UIDRange != nil || r.Goto >= 0 && r.Type != 0 && r.Type != unix.FR_ACT_TO_TBL,
	}
	if r.Mask != nil {
		out.Mask = *r.Mask
	} else if r.Mark != 0 {
		out.Mask = ^uint32(0)
	}
	out.From, _ = prefixOf(r.Src)
	out.To, _ = prefixOf(r.Dst)
	switch r.Type {
	case unix.FR_ACT_BLACKHOLE:
		out.Action = rules.RouteBlackhole
	case unix.FR_ACT_UNREACHABLE:
		out.Action = rules.RouteUnreachable
	case unix.FR_ACT_PROHIBIT:
		out.Action = rules.RouteProhibit
	}
	return out
}

// readSwitch reads a number below /proc/sys of the thread's namespace; 0 where
// there is none. A "." in a device's name stands as it is, since this is a path.
func readSwitch(file string) int {
	b, err := os.ReadFile("/proc/sys/" + file)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}
