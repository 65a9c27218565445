// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// bridge is a Docker network of a world.
type bridge struct {
	name    string
	gateway netip.Prefix // the bridge's own address
	six     netip.Prefix // the same for IPv6; invalid without
	last    netip.Addr   // the address given out last
}

// AddBridge makes a bridge as `docker network create` does, with its rules. The first address of
// subnet (IPv4) becomes the bridge's own. In a world with IPv6 it also gets a /64 of its own.
func (w *World) AddBridge(ctx context.Context, name string, subnet netip.Prefix) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addBridge(ctx, name, subnet)
}

func (w *World) addBridge(ctx context.Context, name string, subnet netip.Prefix) error {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() > 29 {
		return fmt.Errorf("add bridge %s: %s is no IPv4 subnet with room for containers", name, subnet)
	}
	if _, ok := w.bridges[name]; ok {
		return fmt.Errorf("add bridge %s: it exists", name)
	}
	gw := netip.PrefixFrom(subnet.Masked().Addr().Next(), subnet.Bits())
	br := &bridge{name: name, gateway: gw, last: gw.Addr()}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, randomMAC()
	if err := w.Host.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	if err := w.Host.addAddr(name, gw); err != nil {
		return err
	}
	if w.cfg.IPv6 {
		br.six = netip.PrefixFrom(sixOf(len(w.bridges), netip.IPv4Unspecified()).Next(), 64)
		if err := w.Host.addAddr(name, br.six); err != nil {
			return err
		}
	}
	if err := w.Host.linkUp(name); err != nil {
		return err
	}
	w.bridges[name] = br
	return w.changeRules(ctx, func(t *ruleText) {
		if t.six {
			t.addBridge(name, br.six)
		} else {
			t.addBridge(name, br.gateway)
		}
	})
}

// sixOf makes the IPv6 address that Docker gives a container: its MAC, which is 02:42 and its IPv4
// address, behind the prefix of the n-th bridge (2001:db8:17::/64, 2001:db8:18::/64, ...). For the
// unspecified address it is the prefix.
func sixOf(n int, four netip.Addr) netip.Addr {
	a := netip.MustParseAddr("2001:db8:17::").As16()
	a[5] += byte(n)
	if !four.IsUnspecified() {
		f := four.As4()
		a[10], a[11] = 0x02, 0x42
		copy(a[12:], f[:])
	}
	return netip.AddrFrom16(a)
}

// containerMAC is Docker's: 02:42 and the IPv4 address.
func containerMAC(four netip.Addr) net.HardwareAddr {
	f := four.As4()
	return net.HardwareAddr{0x02, 0x42, f[0], f[1], f[2], f[3]}
}

// randomMAC is a bridge's, which keeps it whatever ports come and go.
func randomMAC() net.HardwareAddr {
	mac := net.HardwareAddr{0x02, 0x42, 0, 0, 0, 0}
	_, _ = rand.Read(mac[2:]) // never fails (crypto/rand)
	return mac
}

// next gives out an address of the bridge's subnet.
func (b *bridge) next() (netip.Prefix, error) {
	b.last = b.last.Next()
	p := netip.PrefixFrom(b.last, b.gateway.Bits())
	if !b.gateway.Masked().Contains(b.last.Next()) { // the very last one is the broadcast address
		return p, fmt.Errorf("give address: subnet of %s is used up", b.name)
	}
	return p, nil
}

// changeRules loads what edit writes, per family that the world has rules of.
func (w *World) changeRules(ctx context.Context, edit func(*ruleText)) error {
	if w.cfg.Rules == RulesNone {
		return nil
	}
	families := []bool{false}
	if w.cfg.IPv6 {
		families = append(families, true)
	}
	for _, six := range families {
		t := &ruleText{six: six, legacy: w.cfg.Rules == RulesLegacy}
		if w.rules[six] {
			edit(t)
		} else {
			t.addBase()
			edit(t)
			w.rules[six] = true
		}
		if len(t.filter)+len(t.nat) == 0 {
			continue
		}
		if err := t.load(ctx, w.Host.NS); err != nil {
			return err
		}
	}
	return nil
}
