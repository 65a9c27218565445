// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"slices"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// features are the offloads by the names that ethtool -k prints, shortened.
func features() map[string]string {
	return map[string]string{
		"rx-gro": "gro", "tx-generic-segmentation": "gso", "rx-lro": "lro", "rx-checksum": "rx-checksum",
		"tx-scatter-gather": "sg", "tx-tcp-segmentation": "tso", "tx-checksum-ip-generic": "tx-checksum",
		"tx-checksum-ipv4": "tx-checksum", "rx-gro-hw": "gro-hw", "rx-gro-list": "gro-list", "rx-udp-gro-forwarding": "udp-gro-forwarding",
		"tx-udp-segmentation": "uso",
	}
}

// devices reads the devices of a namespace.
func (r *reader) devices(ns *netns.NS) error {
	return in(ns, func() error {
		devices, err := ReadDevices()
		r.Devices = append(r.Devices, devices...)
		return err
	})
}

// ReadDevices describes the devices of the thread's namespace.
func ReadDevices() ([]environment.Device, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	links, err := nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return nil, fmt.Errorf("open a socket for ethtool: %w", err)
	}
	defer tool.Close()
	qdiscs, err := nl.QdiscList(nil)
	if err != nil {
		return nil, fmt.Errorf("list queueing disciplines: %w", err)
	}
	root := map[int]string{}
	for _, q := range qdiscs {
		if a := q.Attrs(); a.Parent == netlink.HANDLE_ROOT {
			root[a.LinkIndex] = q.Type()
		}
	}
	devices := make([]environment.Device, 0, len(links))
	for _, link := range links {
		d, err := device(tool, link, root[link.Attrs().Index])
		if errors.Is(err, unix.ENODEV) {
			continue // gone since it was listed
		}
		if err != nil {
			return devices, fmt.Errorf("read %s: %w", link.Attrs().Name, err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func device(tool *ethtool.Ethtool, link netlink.Link, qdisc string) (environment.Device, error) {
	a := link.Attrs()
	d := environment.Device{Name: a.Name, MTU: a.MTU, Qdisc: qdisc, Offloads: []string{}}
	if d.Kind = link.Type(); d.Kind == "device" {
		d.Kind = ""
	}
	driver, err := tool.DriverName(a.Name)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return d, err
	}
	d.Driver = driver
	on, err := tool.Features(a.Name)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return d, err
	}
	for name, short := range features() {
		if on[name] && !slices.Contains(d.Offloads, short) {
			d.Offloads = append(d.Offloads, short)
		}
	}
	slices.Sort(d.Offloads)
	return d, nil
}
