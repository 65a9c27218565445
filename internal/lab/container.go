// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// The ports of every container's servers.
const (
	PortHTTP uint16 = 80 // a page of 612 bytes
	PortEcho uint16 = 7  // TCP and UDP
)

// vanishTimeout bounds how long a dead namespace may keep its veth: the kernel cleans up by a queue.
const vanishTimeout = 10 * time.Second

// Container is a node whose namespace is held by a process, which serves in it.
type Container struct {
	*Node
	PID     int      // of the holder: /proc/PID/ns/net is the container's namespace
	HostDev string   // the host's end of the first veth; empty for what is on the uplink
	Bridge  string   // the first one's name; empty for what is on the uplink
	Devs    []Attach // all devices but lo, the first one being that of HostDev and Bridge
	Ports   []Port   // as published

	proc *child
}

// Attach is one device of a container.
type Attach struct {
	Dev, HostDev, Bridge string
	IP4, IP6             netip.Addr
}

// AddContainer makes a container and returns when its servers listen.
func (w *World) AddContainer(ctx context.Context, cfg ContainerConfig) (*Container, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.addContainer(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("add container %s: %w", cfg.Name, err)
	}
	return c, nil
}

func (w *World) addContainer(ctx context.Context, cfg ContainerConfig) (_ *Container, err error) {
	if cfg.Name == "" || w.find(cfg.Name) >= 0 {
		return nil, errors.New("name is empty or taken")
	}
	ports := slices.Clone(cfg.Ports)
	for i := range ports {
		if err := ports[i].check(); err != nil {
			return nil, err
		}
	}
	node, err := newNode(cfg.Name)
	if err != nil {
		return nil, err
	}
	c := &Container{Node: node, Ports: ports}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.destroy())
		}
	}()
	if !w.cfg.IPv6 { // as Docker does for a network without it
		for _, conf := range []string{"all", "default"} {
			if err := node.Sysctl("net/ipv6/conf/"+conf+"/disable_ipv6", "1"); err != nil {
				return nil, err
			}
		}
	}
	if cfg.Kind == KindVeth {
		err = w.attachBridges(c, cfg)
	} else {
		err = w.attachStacked(c, cfg.Kind)
	}
	if err != nil {
		return nil, err
	}
	c.proc, err = spawn(ctx, w.thread, node.NS, []string{"vethtrace-lab", cfg.Name},
		orders{Comm: cfg.Name, Serve: &serveSpec{HTTP: PortHTTP, Echo: PortEcho}})
	if err != nil {
		return nil, err
	}
	c.PID = c.proc.pid
	from := w.Host
	if cfg.Kind != KindVeth {
		from = w.Client // a macvlan does not hear the device that it is on
	}
	if err := from.awaitPeer(ctx, c.IP6); err != nil {
		return nil, err
	}
	if err := w.changeRules(ctx, c.portRules("-A")); err != nil {
		return nil, err
	}
	w.Containers = append(w.Containers, c)
	w.cfg.Log.Debug("container up", "name", c.Name, "pid", c.PID, "ip", c.IP4, "veth", c.HostDev)
	return c, nil
}

// portRules returns the edit that publishes the container's ports, or undoes it.
func (c *Container) portRules(op string) func(*ruleText) {
	return func(t *ruleText) {
		to := c.IP4
		if t.six {
			to = c.IP6
		}
		for _, p := range c.Ports {
			if c.Bridge != "" {
				t.publish(op, c.Bridge, to, p)
			}
		}
	}
}

func (w *World) attachBridges(c *Container, cfg ContainerConfig) error {
	names := append([]string{cmp.Or(cfg.Bridge, w.cfg.Bridge)}, cfg.MoreBridges...)
	for i, name := range names {
		br, ok := w.bridges[name]
		if !ok {
			return fmt.Errorf("attach to bridge %s: it does not exist", name)
		}
		a, err := w.attachVeth(c, br, fmt.Sprintf("eth%d", i))
		if err != nil {
			return err
		}
		c.Devs = append(c.Devs, a)
	}
	first := c.Devs[0]
	c.Dev, c.HostDev, c.Bridge, c.IP4, c.IP6 = first.Dev, first.HostDev, first.Bridge, first.IP4, first.IP6
	br := w.bridges[first.Bridge]
	if err := c.defaultRoute(br.gateway.Addr()); err != nil {
		return err
	}
	if w.cfg.IPv6 {
		return c.defaultRoute(br.six.Addr())
	}
	return nil
}

// attachVeth connects one device of a container.
func (w *World) attachVeth(c *Container, br *bridge, dev string) (Attach, error) {
	addr, err := br.next()
	if err != nil {
		return Attach{}, err
	}
	a := Attach{Dev: dev, HostDev: vethName(), Bridge: br.name, IP4: addr.Addr()}
	if err := w.Host.addVeth(a.HostDev, c.Node, dev); err != nil {
		return a, err
	}
	link, err := c.nl.LinkByName(dev)
	if err == nil {
		err = c.nl.LinkSetHardwareAddr(link, containerMAC(a.IP4))
	}
	if err != nil {
		return a, fmt.Errorf("set address of %s: %w", dev, err)
	}
	if err := w.Host.enslave(a.HostDev, br.name); err != nil {
		return a, err
	}
	if err := errors.Join(w.Host.linkUp(a.HostDev), c.linkUp(dev), c.addAddr(dev, addr)); err != nil {
		return a, err
	}
	if br.six.IsValid() {
		six := br.six.Addr().As16()
		a.IP6 = sixOf(int(six[5]-0x17), a.IP4)
		return a, c.addAddr(dev, netip.PrefixFrom(a.IP6, br.six.Bits()))
	}
	return a, nil
}

func (n *Node) enslave(dev, master string) error {
	link, err := n.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("look up %s: %w", dev, err)
	}
	br, err := n.nl.LinkByName(master)
	if err == nil {
		err = n.nl.LinkSetMaster(link, br)
	}
	if err != nil {
		return fmt.Errorf("attach %s to %s: %w", dev, master, err)
	}
	return nil
}

// attachStacked gives the container a device of its own on the wire.
func (w *World) attachStacked(c *Container, kind ContainerKind) error {
	parent, err := w.Host.nl.LinkByName(w.Host.Dev)
	if err != nil {
		return fmt.Errorf("look up uplink: %w", err)
	}
	w.stacked++
	p := wirePlan()
	four := p.host4.Addr().As4()
	four[3] = byte(100 + w.stacked)
	attrs := netlink.NewLinkAttrs()
	// Before Linux 6.14 no device of the host may have its name.
	attrs.Name, attrs.ParentIndex = vethName(), parent.Attrs().Index
	attrs.Namespace = netlink.NsFd(c.NS.FD())
	c.IP4 = netip.AddrFrom4(four)
	if err := w.Host.nl.LinkAdd(stackedLink(attrs, kind, c.IP4)); err != nil {
		return fmt.Errorf("add a device upon %s: %w", w.Host.Dev, err)
	}
	if err := c.rename(attrs.Name, "eth0"); err != nil {
		return err
	}
	if err := errors.Join(c.linkUp("eth0"), c.addAddr("eth0", netip.PrefixFrom(c.IP4, p.host4.Bits()))); err != nil {
		return err
	}
	if w.cfg.IPv6 {
		six := p.host6.Addr().As16()
		six[15] = four[3]
		c.IP6 = netip.AddrFrom16(six)
		if err := c.addAddr("eth0", netip.PrefixFrom(c.IP6, p.host6.Bits())); err != nil {
			return err
		}
	}
	c.Devs = []Attach{{Dev: "eth0", IP4: c.IP4, IP6: c.IP6}}
	return c.defaultRoute(p.host4.Addr())
}

func (n *Node) rename(dev, to string) error {
	link, err := n.nl.LinkByName(dev)
	if err == nil {
		err = n.nl.LinkSetName(link, to)
	}
	if err != nil {
		return fmt.Errorf("rename %s of %s: %w", dev, n.Name, err)
	}
	return nil
}

// stackedLink is the device of a kind; an ipvlan has the address of what it is on.
func stackedLink(attrs netlink.LinkAttrs, kind ContainerKind, addr netip.Addr) netlink.Link {
	switch kind {
	case KindIPvlanL2:
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: netlink.IPVLAN_MODE_L2}
	case KindIPvlanL3:
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: netlink.IPVLAN_MODE_L3}
	case KindIPvlanL3S:
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: netlink.IPVLAN_MODE_L3S}
	case KindVeth, KindMacvlan:
	}
	attrs.HardwareAddr = containerMAC(addr)
	return &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
}

// vethName is one like Docker's.
func vethName() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "veth" + hex.EncodeToString(b)[:7]
}

// RemoveContainer kills the holder and lets the namespace die, deletes the rules of its ports, and
// returns when the host's ends of its veths are gone. That fails if somebody else holds the namespace.
func (w *World) RemoveContainer(ctx context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.find(name)
	if i < 0 {
		return fmt.Errorf("remove container %s: no such container", name)
	}
	c := w.Containers[i]
	w.Containers = slices.Delete(w.Containers, i, i+1)
	err := errors.Join(w.changeRules(ctx, c.portRules("-D")), c.destroy())
	for _, a := range c.Devs {
		err = errors.Join(err, w.Host.awaitGone(ctx, a.HostDev))
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", name, err)
	}
	return nil
}

// awaitGone waits for a device to vanish.
func (n *Node) awaitGone(ctx context.Context, dev string) error {
	if dev == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, vanishTimeout)
	defer cancel()
	for {
		there, err := n.HasLink(dev)
		if err != nil || !there {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to vanish: %w", dev, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// destroy drops all that keeps the namespace alive.
func (c *Container) destroy() error {
	if c.proc != nil {
		c.proc.kill()
	}
	return c.close()
}
