// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net/netip"
	"strings"
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

// TestForMany: no connection is taken, and no sender told, by an address that is no
// single one's; and by which address a packet is asked for is seen in its way.
func TestForMany(t *testing.T) {
	heard := listener("0.0.0.0", false, 1)
	heard.Protocol = "udp"
	for name, c := range map[string]struct {
		to    string
		proto uint8
		kind  string
		says  string
	}{
		"connection to all":          {"255.255.255.255:80", rules.TCP, Dropped, "no connection is taken by 255.255.255.255"},
		"connection to the network":  {"198.51.100.255:80", rules.TCP, Dropped, "no connection is taken by 198.51.100.255"},
		"association to a group":     {"224.0.0.1:80", rules.SCTP, Dropped, "no connection is taken by 224.0.0.1"},
		"datagram that is heard":     {"198.51.100.255:80", rules.UDP, Delivered, "delivered to web[1]"},
		"datagram that is not heard": {"198.51.100.255:81", rules.UDP, NothingListens, "the sender is not told"},
		"datagram to the host alone": {"198.51.100.1:81", rules.UDP, NothingListens, "the sender gets an ICMP port unreachable"},
		"association with the host":  {"198.51.100.1:81", rules.SCTP, NothingListens, "the sender gets an abort"},
		"echo request to all":        {"198.51.100.255:0", rules.ICMP, Undecided, "whether the kernel of host answers"},
		"echo request to the host":   {"198.51.100.1:0", rules.ICMP, Delivered, "the kernel of host itself answers"},
	} {
		f := routed()
		f.Host.Env.Routes.Routes = append(f.Host.Env.Routes.Routes, rules.Route{
			Table: rules.TableLocal, Dst: netip.MustParsePrefix("198.51.100.255/32"), Type: rules.RouteBroadcast, Dev: "eth0",
		})
		f.Host.Sockets = []container.Socket{listener("0.0.0.0", false, 1), heard}
		to := netip.MustParseAddrPort(c.to)
		way := f.Explain(Query{From: netip.MustParseAddr("198.51.100.2"), To: to, Proto: c.proto})
		if way.Verdict.Kind != c.kind || !strings.Contains(way.Verdict.Text, c.says) {
			t.Errorf("%s: %+v", name, way.Verdict)
		}
		if want := endpoint(to.Addr(), to.Port(), c.proto); way.To != want || c.proto == rules.ICMP && way.To != to.Addr().String() {
			t.Errorf("%s: to %q, want %q", name, way.To, want)
		}
		if to.Port() == 80 && len(way.Back) != 0 { // all of these are for many
			t.Errorf("%s: answered from %s", name, to.Addr())
		}
	}
}

// TestEcho: a rule that asks for echo requests, or for their answers, sees these.
func TestEcho(t *testing.T) {
	const drop4, drop6 = " -p icmp -m icmp --icmp-type %d -j DROP", " -p ipv6-icmp -m icmp6 --icmpv6-type %d -j DROP"
	for name, c := range map[string]struct {
		from, to, rule string
		proto          uint8
		kind, answered string
	}{
		"no rule":            {"198.51.100.2", "198.51.100.1", "", rules.ICMP, Delivered, "client"},
		"request":            {"198.51.100.2", "198.51.100.1", "-A INPUT" + fmt.Sprintf(drop4, 8), rules.ICMP, Dropped, ""},
		"its answer":         {"198.51.100.2", "198.51.100.1", "-A OUTPUT" + fmt.Sprintf(drop4, 0), rules.ICMP, Delivered, "dropped by rule 1 of filter/OUTPUT"},
		"another":            {"198.51.100.2", "198.51.100.1", "-A INPUT" + fmt.Sprintf(drop4, 3), rules.ICMP, Delivered, "client"},
		"request, IPv6":      {"2001:db8::2", "2001:db8::1", "-A INPUT" + fmt.Sprintf(drop6, 128), rules.ICMPv6, Dropped, ""},
		"IPv6 by the name":   {"2001:db8::2", "2001:db8::1", "-A INPUT" + fmt.Sprintf(drop6, 128), rules.ICMP, Dropped, ""},
		"its answer, IPv6":   {"2001:db8::2", "2001:db8::1", "-A OUTPUT" + fmt.Sprintf(drop6, 129), rules.ICMPv6, Delivered, "dropped by rule 1 of filter/OUTPUT"},
		"another, IPv6":      {"2001:db8::2", "2001:db8::1", "-A INPUT" + fmt.Sprintf(drop6, 1), rules.ICMPv6, Delivered, "client"},
		"IPv4 by IPv6's own": {"198.51.100.2", "198.51.100.1", "-A INPUT" + fmt.Sprintf(drop4, 8), rules.ICMPv6, Dropped, ""},
	} {
		f := routed()
		prefix := netip.MustParsePrefix("2001:db8::/64")
		f.Host.Namespace.Links[0].Addrs = append(f.Host.Namespace.Links[0].Addrs, netip.MustParsePrefix("2001:db8::1/64"))
		f.Host.Env.Routes.Routes = append(f.Host.Env.Routes.Routes,
			rules.Route{Table: rules.TableLocal, Dst: netip.MustParsePrefix("2001:db8::1/128"), Type: rules.RouteLocal, Dev: "eth0"},
			rules.Route{Table: rules.TableMain, Dst: prefix, Type: rules.RouteUnicast, Dev: "eth0"})
		family := "ip"
		if netip.MustParseAddr(c.from).Is6() {
			family = "ip6"
		}
		set, err := rules.ParseSave("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"+c.rule+"\nCOMMIT\n", family, rules.Legacy)
		if err != nil {
			t.Fatal(err)
		}
		f.Host.Rules = set
		way := f.Explain(Query{From: netip.MustParseAddr(c.from), To: netip.AddrPortFrom(netip.MustParseAddr(c.to), 0), Proto: c.proto})
		if way.Verdict.Kind != c.kind || !strings.HasPrefix(way.Verdict.Answered, c.answered) || c.answered == "" && way.Verdict.Answered != "" {
			t.Errorf("%s: %+v", name, way.Verdict)
		}
	}
}

// TestRefusal: that no socket takes a packet is told by a message of its own, which
// rules see as that, not as an answer of the connection.
func TestRefusal(t *testing.T) {
	const told, dropped = "client", "dropped by rule 1 of filter/OUTPUT"
	for rule, want := range map[string]map[uint8]string{
		"": {rules.TCP: told, rules.UDP: told},
		"-A OUTPUT -m conntrack --ctstate RELATED -j DROP":        {rules.TCP: told, rules.UDP: dropped},
		"-A OUTPUT -m conntrack --ctstate ESTABLISHED -j DROP":    {rules.TCP: dropped, rules.UDP: told},
		"-A OUTPUT -p icmp -m icmp --icmp-type 3/3 -j DROP":       {rules.TCP: told, rules.UDP: dropped},
		"-A OUTPUT -p udp -j DROP":                                {rules.TCP: told, rules.UDP: told},
		"-A OUTPUT -p tcp -m tcp --tcp-flags SYN,RST RST -j DROP": {rules.TCP: dropped, rules.UDP: told},
	} {
		set, err := rules.ParseSave("*filter\n:OUTPUT ACCEPT [0:0]\n"+rule+"\nCOMMIT\n", "ip", rules.Legacy)
		if err != nil {
			t.Fatal(err)
		}
		for proto, answered := range want {
			f := routed()
			f.Host.Rules = set
			v := f.Explain(Query{From: netip.MustParseAddr("198.51.100.2"), To: netip.MustParseAddrPort("198.51.100.1:81"), Proto: proto}).Verdict
			if v.Kind != NothingListens || !strings.HasPrefix(v.Answered, answered) {
				t.Errorf("%q, protocol %d: %+v", rule, proto, v)
			}
		}
	}
}

// TestNothingKnown: facts that lack everything give a verdict that says so.
func TestNothingKnown(t *testing.T) {
	for _, from := range []string{"198.51.100.2", "127.0.0.1", "2001:db8::1"} {
		for _, to := range []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::2]:80"), netip.AddrPortFrom(netip.Addr{}, 80)} {
			way := (&Facts{}).Explain(Query{From: netip.MustParseAddr(from), To: to, Proto: rules.TCP})
			v := way.Verdict
			if v.Kind != Unreachable && v.Kind != Undecided || v.Text == "" || !strings.Contains(way.From, from) || !strings.HasSuffix(way.To, ":80") {
				t.Errorf("%s to %s: %+v", from, to, way)
			}
		}
	}
	if d := (&Facts{}).Document("test"); d.Schema != Schema || d.Bridges == nil || d.Ways == nil {
		t.Errorf("%+v", d)
	}
}
