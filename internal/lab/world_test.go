// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

var wires = []WireKind{WireVeth, WireTap, WireVethCleared, WireNIC}

func TestPublishedPort(t *testing.T) {
	for _, kind := range wires {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t, Config{
				Wire: kind, IPv6: true,
				Ports: []Port{{Host: 8080, Container: 80}, {Host: 7007, Container: 7, Proto: "udp"}, {Host: 7007, Container: 7}},
			})
			ctx := testContext(t)
			c := w.Containers[0]
			for _, host := range []netip.Addr{w.Host.IP4, w.Host.IP6} {
				res, err := w.Client.HTTP(ctx, fmt.Sprintf("http://%s/", netip.AddrPortFrom(host, 8080)), 20, LoadConfig{KeepAlive: true, Connections: 2})
				if err != nil || res.Done != 20 || res.Errors != 0 {
					t.Errorf("HTTP to %s: %+v, %v", host, res, err)
				}
				status, body, err := w.Client.Get(ctx, fmt.Sprintf("http://%s/whoami", netip.AddrPortFrom(host, 8080)))
				if err != nil || status != 200 {
					t.Errorf("whoami: %d %v", status, err)
				}
				from, to := w.Client.IP4, c.IP4
				if host.Is6() {
					from, to = w.Client.IP6, c.IP6
				}
				if s := string(body); !strings.Contains(s, from.String()) || !strings.Contains(s, to.String()) {
					t.Errorf("whoami: %q does not name %s and %s, so no DNAT was done", s, from, to)
				}
				echo := netip.AddrPortFrom(host, 7007)
				if res, err := w.Client.TCPEcho(ctx, echo, 50, 1); err != nil || res.Done != 50 {
					t.Errorf("TCP echo: %+v, %v", res, err)
				}
				if res, err := w.Client.UDPEcho(ctx, echo, 50, 64); err != nil || res.Done != 50 {
					t.Errorf("UDP echo: %+v, %v", res, err)
				}
				if res, err := w.Client.TCPConnects(ctx, echo, 20); err != nil || res.Done != 20 {
					t.Errorf("connects: %+v, %v", res, err)
				}
			}
			for _, to := range []netip.Addr{c.IP4, c.IP6} {
				if res, err := w.Client.Ping(ctx, to, 2); err != nil || res.Done != 0 || res.Errors != 2 {
					t.Errorf("ping from the client to %s must be dropped in FORWARD: %+v, %v", to, res, err)
				}
				if res, err := w.Host.Ping(ctx, to, 5); err != nil || res.Done != 5 {
					t.Errorf("ping from the host to %s: %+v, %v", to, res, err)
				}
			}
		})
	}
}
