// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestUserBridges(t *testing.T) {
	w := newWorld(t, Config{IPv6: true})
	ctx := testContext(t)
	for name, subnet := range map[string]string{"br-a": "172.18.0.0/16", "br-b": "172.19.0.0/24"} {
		if err := w.AddBridge(ctx, name, netip.MustParsePrefix(subnet)); err != nil {
			t.Fatal(err)
		}
	}
	multi, err := w.AddContainer(ctx, ContainerConfig{Name: "multi", Bridge: "br-a", MoreBridges: []string{"br-b"}, Ports: []Port{{Host: 8081, Container: 80}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(multi.Devs) != 2 || multi.Devs[0].Bridge != "br-a" || multi.Devs[1].Dev != "eth1" || multi.HostDev != multi.Devs[0].HostDev {
		t.Errorf("devices: %+v", multi.Devs)
	}
	if multi.IP4 != netip.MustParseAddr("172.18.0.2") || multi.Devs[1].IP4 != netip.MustParseAddr("172.19.0.2") {
		t.Errorf("addresses: %+v", multi.Devs)
	}
	for _, host := range []netip.Addr{w.Host.IP4, w.Host.IP6} {
		url := fmt.Sprintf("http://%s/", netip.AddrPortFrom(host, 8081))
		if res, err := w.Client.HTTP(ctx, url, 3, LoadConfig{}); err != nil || res.Done != 3 {
			t.Errorf("%s: %+v %v", url, res, err)
		}
	}
	peer, err := w.AddContainer(ctx, ContainerConfig{Name: "peer", Bridge: "br-b"})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := peer.Ping(ctx, multi.Devs[1].IP4, 2); err != nil || res.Done != 2 {
		t.Errorf("two containers of a bridge: %+v %v", res, err)
	}
	if res, err := w.Containers[0].Ping(ctx, multi.IP4, 1); err != nil || res.Done != 0 {
		t.Errorf("two bridges must be isolated: %+v %v", res, err)
	}
	if err := w.RemoveContainer(ctx, "multi"); err != nil {
		t.Fatal(err)
	}
	for _, a := range multi.Devs {
		if there, err := w.Host.HasLink(a.HostDev); there || err != nil {
			t.Errorf("%s stays (%v)", a.HostDev, err)
		}
	}
}

func TestMacvlan(t *testing.T) {
	for _, kind := range wires {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t, Config{Wire: kind, IPv6: true})
			ctx := testContext(t)
			c, err := w.AddContainer(ctx, ContainerConfig{Name: "mv", Kind: KindMacvlan})
			if err != nil {
				t.Fatal(err)
			}
			for _, ip := range []netip.Addr{c.IP4, c.IP6} {
				if res, err := w.Client.HTTP(ctx, fmt.Sprintf("http://%s/", netip.AddrPortFrom(ip, 80)), 3, LoadConfig{}); err != nil || res.Done != 3 {
					t.Errorf("to %s: %+v %v", ip, res, err)
				}
			}
			if c.HostDev != "" || c.Bridge != "" {
				t.Errorf("macvlan with host device %q, bridge %q", c.HostDev, c.Bridge)
			}
		})
	}
}

func TestHostMode(t *testing.T) {
	w := newWorld(t, Config{IPv6: true})
	ctx := testContext(t)
	h, err := w.StartHostMode(ctx, 9000)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []*Node{w.Client, w.Host, w.Containers[0].Node} {
		if res, err := from.HTTP(ctx, "http://198.51.100.1:9000/", 3, LoadConfig{KeepAlive: true}); err != nil || res.Done != 3 {
			t.Errorf("HTTP from %s: %+v %v", from.Name, res, err)
		}
		echo := netip.AddrPortFrom(w.Host.IP4, h.Echo)
		if res, err := from.UDPEcho(ctx, echo, 3, 1000); err != nil || res.Done != 3 {
			t.Errorf("UDP from %s: %+v %v", from.Name, res, err)
		}
	}
	if _, err := w.StartHostMode(ctx, 9000); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one on the same port: %v", err)
	}
	h.Stop()
	h.Stop()
	if !ended(h.PID) {
		t.Error("lives after Stop")
	}
}

func TestProxy(t *testing.T) {
	w := newWorld(t, Config{Ports: []Port{{Host: 8080, Container: 80}, {Host: 7007, Container: 7, Proto: "udp"}}})
	ctx := testContext(t)
	if status, _, err := w.Host.Get(ctx, "http://127.0.0.1:8080/"); err == nil {
		t.Errorf("localhost answers %d without a proxy", status)
	}
	all, err := w.StartProxy(ctx)
	if err != nil || len(all) != 4 {
		t.Fatalf("%d proxies, %v", len(all), err)
	}
	for _, local := range []string{"127.0.0.1", "[::1]"} {
		status, body, err := w.Host.Get(ctx, "http://"+local+":8080/whoami")
		if err != nil || status != 200 || !strings.HasPrefix(string(body), "172.17.0.1:") {
			t.Errorf("%s: %d %q %v: the server must see the bridge's address", local, status, body, err)
		}
		echo := netip.MustParseAddrPort(local + ":7007")
		if res, err := w.Host.UDPEcho(ctx, echo, 5, 32); err != nil || res.Done != 5 {
			t.Errorf("UDP at %s: %+v %v", local, res, err)
		}
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", all[0].PID))
	if err != nil || string(comm) != "docker-proxy\n" {
		t.Errorf("comm %q %v", comm, err)
	}
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", all[0].PID))
	want := "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80 "
	if got := strings.ReplaceAll(string(argv), "\x00", " "); err != nil || got != want {
		t.Errorf("arguments %q %v", got, err)
	}
	// From outside the DNAT rule comes first: the proxies see nothing.
	if _, body, err := w.Client.Get(ctx, "http://198.51.100.1:8080/whoami"); err != nil || !strings.HasPrefix(string(body), "198.51.100.2:") {
		t.Errorf("from the client: %q %v", body, err)
	}
}

func TestBridgeNF(t *testing.T) {
	for _, on := range []bool{true, false} {
		w := newWorld(t, Config{BridgeNFCallIptables: &on, Containers: -1})
		want := map[bool]string{true: "1", false: "0"}[on]
		if got, err := w.Host.ReadSysctl("net/bridge/bridge-nf-call-iptables"); err != nil || got != want {
			t.Errorf("set to %v, reads %q (%v)", on, got, err)
		}
	}
}

func TestRulesNone(t *testing.T) {
	w := newWorld(t, Config{Rules: RulesNone})
	if out, err := w.Host.Output(t.Context(), "iptables-save"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("rules: %q %v", out, err)
	}
	if res, err := w.Client.Ping(t.Context(), w.Containers[0].IP4, 2); err != nil || res.Done != 2 {
		t.Errorf("without rules the host forwards everything: %+v %v", res, err)
	}
}

func TestBare(t *testing.T) {
	w := newWorld(t, Config{Bare: true, IPv6: true})
	if there, err := w.Host.HasLink("docker0"); there || err != nil || len(w.Containers) > 0 {
		t.Errorf("docker0 %v, %d containers (%v)", there, len(w.Containers), err)
	}
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if got, err := w.Host.ReadSysctl(key); err != nil || got != "0" {
			t.Errorf("%s is %q (%v)", key, got, err)
		}
	}
	if res, err := w.Client.Ping(t.Context(), w.Host.IP6, 2); err != nil || res.Done != 2 {
		t.Errorf("ping over the wire: %+v %v", res, err)
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t, Config{})
	ctx := testContext(t)
	for name, cfg := range map[string]ContainerConfig{
		"no name":    {},
		"taken name": {Name: "nginx"},
		"no bridge":  {Name: "x", Bridge: "none"},
		"bad proto":  {Name: "x", Ports: []Port{{Host: 1, Container: 1, Proto: "sctp"}}},
		"no port":    {Name: "x", Ports: []Port{{Host: 1}}},
	} {
		if _, err := w.AddContainer(ctx, cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(w.Containers) != 1 {
		t.Errorf("%d containers after failures", len(w.Containers))
	}
	for name, subnet := range map[string]string{"docker0": "172.20.0.0/16", "br6": "2001:db8::/64", "tiny": "172.21.0.0/30"} {
		if err := w.AddBridge(ctx, name, netip.MustParsePrefix(subnet)); err == nil {
			t.Errorf("bridge %s %s: accepted", name, subnet)
		}
	}
	if _, err := New(ctx, Config{Wire: 99}); err == nil {
		t.Error("wire 99: accepted")
	}
}

func TestSubnetIsUsedUp(t *testing.T) {
	b := &bridge{name: "b", gateway: netip.MustParsePrefix("10.0.0.1/29"), last: netip.MustParseAddr("10.0.0.1")}
	for i := 2; i <= 6; i++ {
		if p, err := b.next(); err != nil || p.Addr().As4()[3] != byte(i) {
			t.Fatalf("address %d: %v %v", i, p, err)
		}
	}
	if p, err := b.next(); err == nil {
		t.Errorf("gave the broadcast address %v", p)
	}
}
