// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// Signal tells that links, addresses or routes of the host's namespace changed,
// or its nf_tables rules, and links or addresses of the namespaces that it has
// an id for, which are those at the other end of its veth pairs. It does not
// say what: changes are coalesced, read then. It ends with ctx.
//
// Nobody tells of iptables-legacy's rules, of switches of /proc/sys, and of
// sockets that begin to listen.
//
// Sockets are in the host's namespace alone: no container's is held by them.
func Signal(ctx context.Context, host *netns.NS) (<-chan struct{}, error) {
	var links, rules *netlink.Conn
	err := host.Do(func() (err error) {
		links, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
			Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE,
		})
		if err != nil {
			return fmt.Errorf("subscribe to changes of links: %w", err)
		}
		rules, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			links.Close()
			return fmt.Errorf("subscribe to changes of rules: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Without the right to it (CAP_NET_BROADCAST) the host's own changes are told,
	// without nf_tables in the kernel there are no changes of its rules.
	_ = links.SetOption(netlink.ListenAllNSID, true)
	_ = rules.JoinGroup(unix.NFNLGRP_NFTABLES)
	out := make(chan struct{}, 1)
	for _, conn := range []*netlink.Conn{links, rules} {
		context.AfterFunc(ctx, func() { conn.Close() })
		go listen(conn, out)
	}
	return out, nil
}

// listen empties a socket as fast as it fills. What was lost changes nothing:
// that something happened is all that is told.
func listen(conn *netlink.Conn, out chan<- struct{}) {
	for {
		_, err := conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return // closed
		}
		select {
		case out <- struct{}{}:
		default:
		}
	}
}
