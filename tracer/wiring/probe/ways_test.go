// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

func prefix(s string) netip.Prefix                      { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr                          { return netip.MustParseAddr(s) }
func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
func hostPort(port uint16) netip.AddrPort               { return netip.AddrPortFrom(netip.IPv4Unspecified(), port) }

func query(from netip.Addr, to netip.AddrPort) wiring.Query {
	return wiring.Query{From: from, To: to, Proto: rules.TCP}
}

// connects tells what a connection really does, and how long it takes to say so.
func connects(ctx context.Context, from *lab.Node, to netip.AddrPort) string {
	ctx, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", to.String())
	switch {
	case err == nil:
		conn.Close()
		return "connected"
	case strings.Contains(err.Error(), "refused"):
		return "refused"
	}
	return "silence"
}

// TestWays: what the explanation says is what the kernel does, for each way.
func TestWays(t *testing.T) {
	w := world(t, lab.Config{
		Names: []string{"nginx", "other"}, IPv6: true,
		Ports: []lab.Port{{Host: 8080, Container: 80}, {Host: 8081, Container: 81}, {Host: 8082, Container: 7}},
	})
	if err := w.AddBridge(t.Context(), "br-app", prefix("172.18.0.0/16")); err != nil {
		t.Fatal(err)
	}
	app, err := w.AddContainer(t.Context(), lab.ContainerConfig{Name: "app", Bridge: "br-app"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.StartProxy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.StartHostMode(t.Context(), 9000); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Host.Output(t.Context(), "iptables", "-I", "DOCKER-USER", "-p", "tcp", "--dport", "7", "-s", "198.51.100.0/24", "-j", "DROP"); err != nil {
		t.Fatal(err)
	}
	nginx, other := w.Container("nginx"), w.Container("other")
	loopback6 := addr("::1")
	f := read(t, w)
	tests := []struct {
		name     string
		node     *lab.Node
		from     netip.Addr
		to       netip.AddrPort
		kind     string
		says     []string // in the verdict, its reason, or a step
		real     string
		answered string
	}{
		{"published port from outside", w.Client, w.Client.IP4, addrPort(w.Host.IP4, 8080), wiring.Delivered, []string{"delivered to nginx[", "dnat 198.51.100.1:8080 -> 172.17.0.2:80", "nat/DOCKER", "filter/DOCKER", "-j ACCEPT"}, "connected", "client"},
		{"the same over IPv6", w.Client, w.Client.IP6, addrPort(w.Host.IP6, 8080), wiring.Delivered, []string{"[2001:db8:17::242:ac11:2]:80"}, "connected", "client"},
		{"from the host", w.Host, w.Host.IP4, addrPort(w.Host.IP4, 8080), wiring.Delivered, []string{"output", "dnat 198.51.100.1:8080 -> 172.17.0.2:80"}, "connected", "client"},
		{"from 127.0.0.1", w.Host, addr("127.0.0.1"), addrPort(addr("127.0.0.1"), 8080), wiring.Proxied, []string{"docker-proxy[", "loopback", "its own connection to 172.17.0.2:80 is delivered to nginx["}, "connected", "client"},
		{"from ::1", w.Host, loopback6, addrPort(loopback6, 8080), wiring.Proxied, []string{"docker-proxy[", "loopback"}, "connected", "client"},
		{"hairpin", nginx.Node, nginx.IP4, addrPort(w.Host.IP4, 8080), wiring.Proxied, []string{"hairpin", "RETURN"}, "connected", "client"},
		{"from its own bridge", other.Node, other.IP4, addrPort(w.Host.IP4, 8080), wiring.Proxied, []string{"own bridge"}, "connected", "client"},
		{"from another bridge", app.Node, app.IP4, addrPort(w.Host.IP4, 8080), wiring.Proxied, []string{"another bridge (br-app)"}, "connected", "client"},
		{"container to container", other.Node, other.IP4, addrPort(nginx.IP4, 80), wiring.Delivered, []string{"bridge docker0 forwards by itself", "shown to iptables"}, "connected", "client"},
		{"between two bridges", app.Node, app.IP4, addrPort(nginx.IP4, 80), wiring.Dropped, []string{"filter/DOCKER-ISOLATION-STAGE-2"}, "silence", ""},
		{"container to outside, where nobody listens", other.Node, other.IP4, addrPort(w.Client.IP4, 80), wiring.Leaves, []string{"masquerade 172.17.0.3:40000 -> 198.51.100.1:40000"}, "refused", ""},
		{"DROP in DOCKER-USER", w.Client, w.Client.IP4, addrPort(w.Host.IP4, 8082), wiring.Dropped, []string{"rule 1 of filter/DOCKER-USER"}, "silence", ""},
		{"published, but nobody listens", w.Client, w.Client.IP4, addrPort(w.Host.IP4, 8081), wiring.NothingListens, []string{"nothing listens on tcp 172.17.0.2:81 in nginx", "reset"}, "refused", "client"},
		{"a port of the host that nobody listens on", w.Client, w.Client.IP4, addrPort(w.Host.IP4, 8099), wiring.NothingListens, []string{"nothing listens on tcp 198.51.100.1:8099 in host"}, "refused", ""},
		{"host mode", w.Client, w.Client.IP4, addrPort(w.Host.IP4, 9000), wiring.Delivered, []string{"delivered to host-mode["}, "connected", "client"},
		{"not published, from outside", w.Client, w.Client.IP4, addrPort(other.IP4, 80), wiring.Dropped, []string{"policy drop of filter/FORWARD"}, "silence", ""},
		{"itself", nginx.Node, nginx.IP4, addrPort(nginx.IP4, 80), wiring.Delivered, []string{"delivered to nginx["}, "connected", "client"},
		{"nobody's address", other.Node, other.IP4, addrPort(addr("172.17.0.99"), 80), wiring.Unreachable, []string{"no target that is known here has 172.17.0.99"}, "silence", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			way := f.Explain(query(tt.from, tt.to))
			said := tree(t, wiring.Document{Ways: []wiring.Way{way}})
			if way.Verdict.Kind != tt.kind || tt.answered != "" && way.Verdict.Answered != tt.answered {
				t.Errorf("%s, answer %q; want %s, %q:\n%s", way.Verdict.Kind, way.Verdict.Answered, tt.kind, tt.answered, said)
			}
			for _, want := range tt.says {
				if !strings.Contains(strings.ToLower(said+way.Verdict.Why), strings.ToLower(want)) {
					t.Errorf("no %q:\n%s", want, said)
				}
			}
			if got := connects(t.Context(), tt.node, tt.to); got != tt.real {
				t.Errorf("the kernel: %s, want %s", got, tt.real)
			}
		})
	}
}
