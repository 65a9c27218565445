// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// Node is one machine of a world: a namespace with its device and addresses.
type Node struct {
	Name string
	NS   *netns.NS
	IP4  netip.Addr
	IP6  netip.Addr // invalid in a world without IPv6
	Dev  string     // the uplink: eth0

	nl *netlink.Handle
}

// newNode makes an empty machine whose lo is up.
func newNode(name string) (*Node, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, fmt.Errorf("make node %s: %w", name, err)
	}
	n := &Node{Name: name, NS: ns, Dev: "eth0"}
	if n.nl, err = openNetlink(ns); err == nil {
		err = n.linkUp("lo")
	}
	if err == nil {
		// Else link-local addresses are tentative, and nothing is forwarded, for the first 2 s.
		err = n.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make node %s: %w", name, err), n.close())
	}
	return n, nil
}

// openNetlink opens a route socket inside ns; it stays there for good.
func openNetlink(ns *netns.NS) (*netlink.Handle, error) {
	var nl *netlink.Handle
	err := ns.Do(func() (err error) {
		nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open route socket: %w", err)
	}
	return nl, nil
}

func (n *Node) close() error {
	if n.nl != nil {
		n.nl.Close()
	}
	return n.NS.Close()
}

// Sysctl writes a value below /proc/sys of the node, for example "net/ipv4/ip_forward".
func (n *Node) Sysctl(key, value string) error {
	err := n.NS.Do(func() error {
		return os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
	})
	if err != nil {
		return fmt.Errorf("set sysctl of %s: %w", n.Name, err)
	}
	return nil
}

// ReadSysctl reads a value below /proc/sys of the node, without its newline.
func (n *Node) ReadSysctl(key string) (string, error) {
	var b []byte
	err := n.NS.Do(func() (err error) {
		b, err = os.ReadFile("/proc/sys/" + key)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read sysctl of %s: %w", n.Name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// HasLink reports whether a device of that name exists in the node.
func (n *Node) HasLink(name string) (bool, error) {
	_, err := n.nl.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up %s in %s: %w", name, n.Name, err)
	}
	return true, nil
}

// awaitPeer waits until an IPv6 address answers: the kernel finishes setting one up in the background.
// An invalid address is there already.
func (n *Node) awaitPeer(ctx context.Context, addr netip.Addr) error {
	if !addr.IsValid() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		res, err := n.Ping(ctx, addr, 1)
		if err != nil {
			return fmt.Errorf("wait for %s to answer %s: %w", addr, n.Name, err)
		}
		if res.Done == 1 {
			return nil
		}
	}
}

func (n *Node) linkUp(name string) error {
	link, err := n.nl.LinkByName(name)
	if err == nil {
		err = n.nl.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("set %s of %s up: %w", name, n.Name, err)
	}
	return nil
}

// addAddr adds an address that is usable at once: duplicate detection would hold an IPv6 one back.
func (n *Node) addAddr(dev string, p netip.Prefix) error {
	link, err := n.nl.LinkByName(dev)
	if err == nil {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		err = n.nl.AddrAdd(link, addr)
	}
	if err != nil {
		return fmt.Errorf("add address %s to %s of %s: %w", p, dev, n.Name, err)
	}
	return nil
}

func (n *Node) defaultRoute(gw netip.Addr) error {
	dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gw.Is6() {
		dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	err := n.nl.RouteAdd(&netlink.Route{Dst: ipNet(dst), Gw: gw.AsSlice()})
	if err != nil {
		return fmt.Errorf("route %s by %s: %w", n.Name, gw, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
