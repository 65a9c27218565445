// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// from is where requests from outside come from.
func (d *Docker) from() *netns.NS {
	if d.Client != nil {
		return d.Client
	}
	return d.Host
}

// outside is the host's address as its client sees it, and what that client is:
// one in the client's network, or else the first that is no bridge's.
func (d *Docker) outside() (netip.Addr, string) {
	host := prefixes(d.Host, d.Six)
	if d.Client == nil {
		if len(host) == 0 {
			return netip.Addr{}, "host"
		}
		return host[0].Addr(), "host"
	}
	for _, p := range prefixes(d.Client, d.Six) {
		for _, h := range host {
			if p.Contains(h.Addr()) {
				return h.Addr(), "outside"
			}
		}
	}
	if len(host) == 0 {
		return netip.Addr{}, "outside"
	}
	return host[0].Addr(), "outside"
}

// of is the one of the family that ways go by.
func (d *Docker) of(four, six netip.Addr) netip.Addr {
	if d.Six {
		return six
	}
	return four
}

// local is the host's own address.
func (d *Docker) local() netip.Addr {
	return d.of(netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
}

// bridged is the network that bridge mode is measured on.
func (d *Docker) bridged() container.NetworkMode {
	if d.Six {
		return container.NetworkMode(d.network)
	}
	return "bridge"
}

// subnet is a unique local one (RFC 4193) of this run.
func (d *Docker) subnet() netip.Prefix {
	at := [16]byte{0xfd, 'v', 't'}
	copy(at[3:], d.id) // of which the first five bytes are in the prefix
	const bits = 64
	return netip.PrefixFrom(netip.AddrFrom16(at), bits).Masked()
}

// prefixes are the addresses of a family of a namespace, without those of lo and
// of bridges, and without such as hold for one link alone. What cannot be read is
// none.
func prefixes(ns *netns.NS, six bool) []netip.Prefix {
	var all []netip.Prefix
	_ = ns.Do(func() error {
		devices, err := net.Interfaces()
		if err != nil {
			return err
		}
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer nl.Close()
		for _, device := range devices {
			if device.Flags&net.FlagLoopback != 0 || isBridge(nl, device.Name) {
				continue
			}
			addrs, err := device.Addrs()
			if err != nil {
				continue // gone meanwhile
			}
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() == six && !p.Addr().IsLinkLocalUnicast() {
					all = append(all, p)
				}
			}
		}
		return nil
	})
	return all
}

// isBridge tells whether a device is a bridge; of the thread's namespace, whose
// /sys may be another one's: netlink knows.
func isBridge(nl *netlink.Handle, name string) bool {
	link, err := nl.LinkByName(name)
	return err == nil && link.Type() == "bridge"
}

// A container's server comes up some time after the container.
const (
	comeUp    = 10 * time.Second
	dialPause = 20 * time.Millisecond
)

// try connects by every way, and leaves those out that lead nowhere.
func (d *Docker) try(ctx context.Context) error {
	kept := d.ways[:0]
	gone := map[string]bool{}
	for _, w := range d.ways {
		if err := reach(ctx, w); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			gone[w.Name] = true
			d.leftOut = append(d.leftOut, fmt.Sprintf("way %s: %v", w.Name, err))
			continue
		}
		kept = append(kept, w)
	}
	d.ways = slices.DeleteFunc(kept, func(w Way) bool {
		if gone[w.Against] {
			d.leftOut = append(d.leftOut, fmt.Sprintf("way %s: way %s, which it is compared with, leads nowhere", w.Name, w.Against))
		}
		return gone[w.Against]
	})
	if len(d.ways) == 0 {
		return fmt.Errorf("no way leads to a server: %v", d.leftOut)
	}
	return nil
}

// reach waits until the ports of a way can be connected to.
func reach(ctx context.Context, w Way) error {
	ctx, cancel := context.WithTimeout(ctx, comeUp)
	defer cancel()
	for _, port := range []uint16{w.To.HTTP, w.To.RR, w.To.Bulk} {
		to := netip.AddrPortFrom(w.To.Addr, port)
		for {
			err := w.Client.Do(func() error {
				conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", to.String())
				if err != nil {
					return err
				}
				return conn.Close()
			})
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(dialPause):
			}
		}
	}
	return nil
}
