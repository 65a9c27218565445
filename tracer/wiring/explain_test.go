// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"net/netip"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// routed is a host whose eth0 is on 198.51.100.0/24, without any rules.
func routed() *Facts {
	prefix := netip.MustParsePrefix("198.51.100.1/24")
	f := &Facts{}
	f.Host.Namespace.Links = []topology.Link{{Index: 2, Name: "eth0", Up: true, Addrs: []netip.Prefix{prefix}}}
	f.Host.Namespace.Routes = []topology.Route{{Dst: prefix.Masked(), Links: []int{2}, Table: 254, Type: topology.RouteUnicast}}
	f.Host.Env.Devices = map[string]rules.Device{"eth0": {Index: 2, Addrs: []netip.Prefix{prefix}}, "lo": {Index: 1, Loopback: true}}
	f.Host.Env.Routes.Routes = []rules.Route{
		{Table: rules.TableLocal, Dst: netip.MustParsePrefix("198.51.100.1/32"), Type: rules.RouteLocal, Dev: "eth0"},
		{Table: rules.TableMain, Dst: prefix.Masked(), Type: rules.RouteUnicast, Dev: "eth0"},
	}
	return f
}

func listener(addr string, only6 bool, pid int) container.Socket {
	return container.Socket{
		Listener: container.Listener{Protocol: "tcp", Addr: netip.MustParseAddr(addr), Port: 80}, Only6: only6,
		Holders: []container.Process{{PID: pid, Name: "web"}},
	}
}

// TestWithoutRules: a host without rules and targets, and what its sockets take.
func TestWithoutRules(t *testing.T) {
	q := Query{From: netip.MustParseAddr("198.51.100.2"), To: netip.AddrPortFrom(netip.Addr{}, 80), Proto: rules.TCP}
	for name, c := range map[string]struct {
		sockets []container.Socket
		kind    string
		pid     int
	}{
		"nobody":                {nil, NothingListens, 0},
		"dual-stack":            {[]container.Socket{listener("::", false, 1)}, Delivered, 1},
		"IPv6 only":             {[]container.Socket{listener("::", true, 1)}, NothingListens, 0},
		"exact before all":      {[]container.Socket{listener("0.0.0.0", false, 1), listener("198.51.100.1", false, 2)}, Delivered, 2},
		"exact first":           {[]container.Socket{listener("198.51.100.1", false, 2), listener("0.0.0.0", false, 1)}, Delivered, 2},
		"IPv4 before dual":      {[]container.Socket{listener("::", false, 1), listener("0.0.0.0", false, 2)}, Delivered, 2},
		"another address":       {[]container.Socket{listener("127.0.0.1", false, 1)}, NothingListens, 0},
		"a proxy by its name":   {[]container.Socket{{Listener: listener("0.0.0.0", false, 0).Listener, Holders: []container.Process{{PID: 3, Name: "rootlesskit"}}}}, Proxied, 3},
		"a process out of view": {[]container.Socket{{Listener: listener("0.0.0.0", false, 0).Listener}}, Delivered, 0},
	} {
		f := routed()
		f.Host.Sockets = c.sockets
		v := f.Explain(q).Verdict
		pid := 0
		if len(v.Processes) > 0 {
			pid = v.Processes[0].PID
		}
		if v.Kind != c.kind || pid != c.pid {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestNothingKnown: facts that lack everything give a verdict that says so.
func TestNothingKnown(t *testing.T) {
	for _, from := range []string{"198.51.100.2", "127.0.0.1", "2001:db8::1"} {
		for _, to := range []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::2]:80"), netip.AddrPortFrom(netip.Addr{}, 80)} {
			v := (&Facts{}).Explain(Query{From: netip.MustParseAddr(from), To: to, Proto: rules.TCP}).Verdict
			if v.Kind != Unreachable && v.Kind != Undecided || v.Text == "" {
				t.Errorf("%s to %s: %+v", from, to, v)
			}
		}
	}
	if d := (&Facts{}).Document("test"); d.Schema != Schema || d.Bridges == nil || d.Ways == nil {
		t.Errorf("%+v", d)
	}
}
