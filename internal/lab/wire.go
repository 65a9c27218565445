// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// wire is what runs or is attached to keep client and host connected.
type wire interface {
	// close stops it; the devices may still exist then.
	close() error
}

// addVeth makes a pair: dev here, peerDev in peer.
func (n *Node) addVeth(dev string, peer *Node, peerDev string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = dev
	pair := netlink.NewVeth(attrs)
	pair.PeerName = peerDev
	pair.PeerNamespace = netlink.NsFd(peer.NS.FD())
	if err := n.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("add veth %s of %s to %s of %s: %w", dev, n.Name, peerDev, peer.Name, err)
	}
	return nil
}

// connect makes the wire's two devices, both named by Node.Dev, and sets them up.
func connect(kind WireKind, client, host *Node) (wire, error) {
	var w wire = plainWire{}
	var err error
	switch kind {
	case WireVeth:
		err = host.addVeth(host.Dev, client, client.Dev)
	case WireVethCleared:
		if err = host.addVeth(host.Dev, client, client.Dev); err == nil {
			w, err = newClearedWire(client)
		}
	case WireNIC:
		err = host.addVeth(host.Dev, client, client.Dev)
		for _, n := range []*Node{client, host} {
			if err == nil {
				err = n.likeNIC(n.Dev)
			}
		}
	case WireTap:
		w, err = newTapWire(client, host)
	default:
		err = fmt.Errorf("connect client and host: unknown %s", kind)
	}
	if err != nil {
		return nil, err
	}
	for _, n := range []*Node{client, host} {
		if err := n.linkUp(n.Dev); err != nil {
			return w, err
		}
	}
	return w, nil
}

// plainWire needs nothing to run.
type plainWire struct{}

func (plainWire) close() error { return nil }
