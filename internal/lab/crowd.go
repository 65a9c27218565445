// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MostPorts is how many ports a bridge can have (BR_MAX_PORTS less one): so many containers fit on one.
const MostPorts = 1023

// AddCrowd makes count containers in which no process runs, on the default bridge and with IPv4
// only: a namespace is held by one descriptor, and a hundred of them take less than a second. They
// are named after prefix and a number from 1 on, and end as the others do.
func (w *World) AddCrowd(ctx context.Context, prefix string, count int) ([]*Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	br, ok := w.bridges[w.cfg.Bridge]
	if !ok {
		return nil, fmt.Errorf("add crowd: the world has no bridge %s", w.cfg.Bridge)
	}
	if count < 1 || len(w.Containers)+count > MostPorts {
		return nil, fmt.Errorf("add crowd: %d containers, a bridge takes %d", len(w.Containers)+count, MostPorts)
	}
	master, err := w.Host.nl.LinkByName(br.name)
	if err != nil {
		return nil, fmt.Errorf("add crowd: look up %s: %w", br.name, err)
	}
	crowd := make([]*Container, 0, count)
	for i := range count {
		name := fmt.Sprintf("%s%d", prefix, i+1)
		if err := ctx.Err(); err != nil {
			return crowd, fmt.Errorf("add crowd: %w", err)
		}
		if w.find(name) >= 0 {
			return crowd, fmt.Errorf("add crowd: %s is there", name)
		}
		c, err := w.addQuiet(name, br, master.Attrs().Index)
		if err != nil {
			return crowd, fmt.Errorf("add crowd: %s: %w", name, err)
		}
		w.Containers = append(w.Containers, c)
		crowd = append(crowd, c)
	}
	return crowd, nil
}

// addQuiet makes one of a crowd.
func (w *World) addQuiet(name string, br *bridge, master int) (_ *Container, err error) {
	node, err := newNode(name)
	if err != nil {
		return nil, err
	}
	c := &Container{Node: node}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.destroy())
		}
	}()
	addr, err := br.next()
	if err != nil {
		return nil, err
	}
	err = node.NS.Do(func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644),
			os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644))
	})
	if err != nil {
		return nil, fmt.Errorf("do without IPv6: %w", err)
	}
	a := Attach{Dev: "eth0", HostDev: vethName(), Bridge: br.name, IP4: addr.Addr()}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = a.HostDev, master, net.FlagUp
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerHardwareAddr = a.Dev, containerMAC(a.IP4)
	pair.PeerNamespace = netlink.NsFd(node.NS.FD())
	if err := w.Host.nl.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("add veth %s: %w", a.HostDev, err)
	}
	if err := c.address(a.Dev, addr, br.gateway.Addr()); err != nil {
		return nil, err
	}
	c.Devs = []Attach{a}
	c.Dev, c.HostDev, c.Bridge, c.IP4 = a.Dev, a.HostDev, a.Bridge, a.IP4
	// a thousand sockets would be open for nothing
	node.nl.Close()
	node.nl = nil
	return c, nil
}

// address gives a device its address and a default route, in the fewest calls.
func (n *Node) address(dev string, addr netip.Prefix, gateway netip.Addr) error {
	link, err := n.nl.LinkByName(dev)
	if err == nil {
		err = n.nl.LinkSetUp(link)
	}
	if err == nil {
		err = n.nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(addr), Flags: unix.IFA_F_PERMANENT})
	}
	if err != nil {
		return fmt.Errorf("address %s of %s: %w", dev, n.Name, err)
	}
	return n.defaultRoute(gateway)
}
