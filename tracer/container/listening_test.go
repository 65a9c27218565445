// SPDX-License-Identifier: Apache-2.0

package container

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// TestListening: sockets of each kind are found, with what they take and who holds them.
func TestListening(t *testing.T) {
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	open := map[uint16]string{} // network by port
	for _, network := range []string{"tcp4", "tcp6", "tcp"} {
		addr := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::]:0", "tcp": "[::]:0"}[network]
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		open[portOf(t, l.Addr())] = network
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	open[portOf(t, udp.LocalAddr())] = "udp4"
	all, err := Listening(ns)
	if err != nil {
		t.Fatal(err)
	}
	who, err := Holders()
	if err != nil {
		t.Fatal(err)
	}
	lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	for _, s := range all {
		network, ok := open[s.Port]
		if !ok || network[:3] != s.Protocol {
			continue
		}
		delete(open, s.Port)
		takes := [2]bool{s.Takes(lo4), s.Takes(lo6)}
		if want := map[string][2]bool{"tcp4": {true, false}, "tcp6": {false, true}, "tcp": {true, true}, "udp4": {true, false}}[network]; takes != want {
			t.Errorf("%s: takes %v, want %v: %+v", network, takes, want, s)
		}
		if !slices.ContainsFunc(who[s.Inode], func(p Process) bool { return p.PID == os.Getpid() && p.Name != "" }) {
			t.Errorf("%s is held by %+v", network, who[s.Inode])
		}
	}
	if len(open) > 0 {
		t.Errorf("not found: %v", open)
	}
}

func portOf(t *testing.T, a net.Addr) uint16 {
	t.Helper()
	_, text, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

func TestParseSCTP(t *testing.T) {
	const text = ` ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS
ffff8880 ffff8881 2   10  29   7777    0 4711 127.0.0.1 ::1
ffff8882 ffff8883 2   7   30   7778    0 4712 127.0.0.1
`
	want := []Socket{
		{Listener: Listener{Protocol: "sctp", Addr: netip.MustParseAddr("127.0.0.1"), Port: 7777, Inode: 4711}},
		{Listener: Listener{Protocol: "sctp", Addr: netip.MustParseAddr("::1"), Port: 7777, Inode: 4711}},
	}
	if diff := cmp.Diff(want, parseSCTP(text), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeSocketShort(t *testing.T) {
	if _, _, err := decodeSocket(make([]byte, 20)); err == nil {
		t.Error("a short message is read")
	}
}
