// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/environment/probe"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// where is a device that is concerned.
type where struct {
	link topology.Link
	role string
}

// devices describes the uplinks, and what leads to the targets or, where none is
// named, all bridges. enter tells whether namespaces may be entered.
func devices(cfg Config, enter bool) ([]doctor.MetDevice, error) {
	view, err := topology.Read(hostEntry(cfg, enter))
	if err != nil {
		return nil, err
	}
	var all []doctor.MetDevice
	var errs []error
	var concerned []where
	var traced []int
	for _, target := range cfg.Targets {
		devices, found, err := ofTarget(cfg.Host, view, target)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", target.Name, err))
			continue
		}
		for _, w := range found {
			traced = append(traced, w.link.Index)
		}
		all, concerned = append(all, devices...), append(concerned, found...)
	}
	if len(cfg.Targets) == 0 {
		for _, bridge := range view.Bridges() {
			concerned, traced = append(concerned, where{bridge, "bridge"}), append(traced, bridge.Index)
		}
	}
	for _, uplink := range topology.Uplinks(view, traced...) {
		concerned = append(concerned, where{uplink, "uplink"})
	}
	described, err := describe(hostNamespace(cfg, enter), "host", concerned)
	return append(described, all...), errors.Join(append(errs, err)...)
}

func hostNamespace(cfg Config, enter bool) *netns.NS {
	if enter {
		return cfg.Host
	}
	return nil
}

// ofTarget describes a target's own devices, and finds the host's that lead to it.
func ofTarget(host *netns.NS, view topology.Namespace, c container.Container) ([]doctor.MetDevice, []where, error) {
	if c.Netns == host.Inode() {
		return nil, nil, nil // host mode: the uplinks are its devices
	}
	ns, err := netns.Open(c.NetnsPath)
	if err != nil {
		return nil, nil, err
	}
	defer ns.Close()
	wiring, err := topology.ReadTarget(host, view, ns)
	if err != nil {
		return nil, nil, err
	}
	var inside, outside []where
	for _, i := range wiring.Interfaces {
		if i.Dev.Loopback {
			continue
		}
		inside = append(inside, where{i.Dev, "device"})
		if i.Peer != nil {
			outside = append(outside, where{*i.Peer, "port"})
		}
		if i.Bridge != nil {
			outside = append(outside, where{*i.Bridge, "bridge"})
		}
	}
	described, err := describe(ns, c.Name, inside)
	return described, outside, err
}

// describe reads what ethtool and the kernel say of devices of a namespace.
func describe(ns *netns.NS, place string, concerned []where) (all []doctor.MetDevice, err error) {
	err = in(ns, func() error {
		known, err := probe.ReadDevices()
		if err != nil {
			return err
		}
		seen := map[int]bool{}
		for _, w := range concerned {
			if seen[w.link.Index] {
				continue // a bridge of two targets
			}
			seen[w.link.Index] = true
			d := doctor.MetDevice{Where: place, Role: w.role, Name: w.link.Name, Kind: w.link.Kind, MTU: w.link.MTU, Qdisc: w.link.Qdisc, Offloads: []string{}}
			for _, k := range known {
				if k.Name == d.Name {
					d.Driver, d.Offloads = k.Driver, k.Offloads
				}
			}
			d.CallsNAPI = d.Kind == "veth" && w.link.NAPI()
			d.XDP = xdpOf(w.link)
			d.NFCall = nfCall(w.link.Bridge)
			d.Others = othersAt(w.link.Index)
			all = append(all, d)
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b doctor.MetDevice) int { return rank(a.Role) - rank(b.Role) })
	return all, err
}

// rank orders devices as a packet meets them on its way in.
func rank(role string) int { return slices.Index([]string{"uplink", "bridge", "port", "device"}, role) }

// xdpOf tells how an XDP program is attached.
func xdpOf(l topology.Link) string {
	if !l.XDP {
		return ""
	}
	names := map[uint32]string{nl.XDP_ATTACHED_DRV: "native", nl.XDP_ATTACHED_SKB: "generic", nl.XDP_ATTACHED_HW: "offloaded"}
	found, err := netlink.LinkByIndex(l.Index)
	if err != nil || found.Attrs().Xdp == nil || names[found.Attrs().Xdp.AttachMode] == "" {
		return "attached"
	}
	return names[found.Attrs().Xdp.AttachMode]
}

// othersAt counts the tcx programs at a device; a kernel or rights that do not tell have none.
func othersAt(index int) (n int) {
	for _, way := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		if result, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: way}); err == nil {
			n += len(result.Programs)
		}
	}
	return n
}

// nfCall names the families that a bridge's own setting sends through iptables.
func nfCall(b *topology.Bridge) string {
	if b == nil {
		return ""
	}
	var on []string
	for _, family := range []struct {
		name string
		on   bool
	}{{"iptables", b.NFCall.IPTables}, {"ip6tables", b.NFCall.IP6Tables}, {"arptables", b.NFCall.ARPTables}} {
		if family.on {
			on = append(on, family.name)
		}
	}
	return strings.Join(on, ", ")
}
