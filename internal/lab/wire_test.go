// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// polled is how many packets the node's end of a veth wire has received by NAPI, before they may be merged.
func polled(t *testing.T, n *Node) (packets int) {
	t.Helper()
	var out []byte
	err := n.NS.Do(func() (err error) {
		out, err = exec.Command("ethtool", "-S", n.Dev).Output()
		return err
	})
	if err != nil {
		t.Fatalf("ethtool -S %s of %s: %v", n.Dev, n.Name, err)
	}
	lines := regexp.MustCompile(`rx_queue_\d+_xdp_packets: (\d+)`).FindAllStringSubmatch(string(out), -1)
	if len(lines) == 0 {
		t.Fatalf("no queue of %s counts packets:\n%s", n.Name, out)
	}
	for _, line := range lines {
		one, err := strconv.Atoi(line[1])
		if err != nil {
			t.Fatal(err)
		}
		packets += one
	}
	return packets
}

// received is how many packets IPv4 of the node has been given, after they may have been merged.
func received(t *testing.T, n *Node) (packets int) {
	t.Helper()
	var raw []byte
	err := n.NS.Do(func() (err error) {
		raw, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if fields[0] != "Ip:" {
			continue
		}
		for i, name := range names {
			if name == "InReceives" {
				if packets, err = strconv.Atoi(fields[i]); err != nil {
					t.Fatal(err)
				}
				return packets
			}
		}
		names = fields
	}
	t.Fatalf("no InReceives in\n%s", raw)
	return 0
}

// A nic receives by NAPI at both ends, each packet for itself as long as one is on its way at a
// time; a plain veth never does.
func TestWireNIC(t *testing.T) {
	for _, kind := range []WireKind{WireNIC, WireVeth} {
		t.Run(kind.String(), func(t *testing.T) {
			w := newWorld(t, Config{Wire: kind, Ports: []Port{{Host: 7007, Container: 7}}})
			const exchanges = 500
			var before [2]int
			for i, n := range []*Node{w.Client, w.Host} {
				before[i] = polled(t, n)
			}
			ip := received(t, w.Client)
			res, err := w.Client.TCPEcho(testContext(t), netip.AddrPortFrom(w.Host.IP4, 7007), exchanges, 1)
			if err != nil || res.Done != exchanges {
				t.Fatalf("%+v, %v", res, err)
			}
			ip = received(t, w.Client) - ip
			if ip < exchanges {
				t.Errorf("%d exchanges were %d packets to the client's IP: some were merged", exchanges, ip)
			}
			for i, n := range []*Node{w.Client, w.Host} {
				got := polled(t, n) - before[i]
				if kind == WireVeth && got != 0 {
					t.Errorf("%s: %d packets by NAPI on a plain veth", n.Name, got)
				}
				if kind == WireNIC && got < exchanges {
					t.Errorf("%s: %d packets by NAPI, want %d", n.Name, got, exchanges)
				}
				// the few that are not IP are ARP
				if kind == WireNIC && n == w.Client && (got < ip || got > ip+5) {
					t.Errorf("%d packets by NAPI at the client, %d at its IP", got, ip)
				}
			}
		})
	}
}
