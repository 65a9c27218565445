// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/wiring"
	"github.com/vethtrace/vethtrace/tracer/wiring/probe"
)

// known are the containers of a world as an engine tells of them that gave their devices these addresses.
func known(t *testing.T, w *lab.World, given map[string]string) *wiring.Facts {
	t.Helper()
	all := targets(t, w)
	for i := range all {
		c := w.Container(all[i].Name)
		all[i].Networks = []container.Network{{Name: "bridge", Driver: "bridge", Bridge: "docker0", IP4: c.IP4, MAC: given[c.Name]}}
	}
	f, err := probe.Read(probe.Config{Host: w.Host.NS, Targets: all, Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// differs are the differences of each target's device, and the tree that shows them.
func differs(t *testing.T, d wiring.Document) map[string][]string {
	t.Helper()
	found, text := map[string][]string{}, tree(t, d)
	for _, target := range d.Targets {
		for _, in := range target.Interfaces {
			found[target.Name] = append(found[target.Name], in.Differs...)
			for _, line := range in.Differs {
				if !strings.Contains(text, "MAC differs  "+line) {
					t.Errorf("the tree does not say %q:\n%s", line, text)
				}
			}
		}
	}
	return found
}

// until reads again until what a bridge has learned is there: it learns as packets pass.
func until(t *testing.T, w *lab.World, given map[string]string, ok func(found map[string][]string) bool) map[string][]string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found := differs(t, known(t, w, given).Document("test"))
		if ok(found) {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %q", found)
		}
	}
}

// TestMACDiffers: the engine's endpoint, the device and the forwarding table are
// one address, until it is changed, and until another container sends with it.
func TestMACDiffers(t *testing.T) {
	w := world(t, lab.Config{Names: []string{"nginx", "other"}})
	nginx, other := w.Container("nginx"), w.Container("other")
	given := map[string]string{}
	for _, c := range w.Containers {
		mac, err := c.HardwareAddr("eth0")
		if err != nil {
			t.Fatal(err)
		}
		given[c.Name] = mac.String()
	}
	reach := func(c *lab.Container) {
		t.Helper()
		if r, err := w.Host.UDPEcho(t.Context(), addrPort(c.IP4, lab.PortEcho), 1, 1); err != nil || r.Done != 1 {
			t.Fatal(r, err)
		}
	}
	reach(nginx)
	reach(other)
	d := known(t, w, given).Document("test")
	for name, lines := range differs(t, d) {
		if len(lines) > 0 {
			t.Errorf("%s differs in nothing, and: %q", name, lines)
		}
	}
	if text := tree(t, d); strings.Contains(text, "MAC differs") || strings.Count(text, "FDB knows its address") != 2 {
		t.Errorf("of ordinary containers:\n%s", text)
	}

	// the other container sends a frame with nginx's address: the bridge then has it behind the other's port
	victim, err := nginx.HardwareAddr("eth0")
	if err != nil {
		t.Fatal(err)
	}
	frame := append(append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, victim...), 0x88, 0xb5)
	if err := other.SendFrames("eth0", append(frame, make([]byte, 46)...), 1); err != nil {
		t.Fatal(err)
	}
	found := until(t, w, given, func(found map[string][]string) bool { return len(found["nginx"]) > 0 })
	if want := "docker0 has it behind " + other.HostDev + ", the port of other"; len(found["nginx"]) != 1 || found["nginx"][0] != want {
		t.Errorf("nginx: %q, want %q", found["nginx"], want)
	}
	if want := "other sends by eth0 with " + victim.String() + ", which none of its devices has"; len(found["other"]) != 1 || found["other"][0] != want {
		t.Errorf("other: %q, want %q", found["other"], want)
	}

	// and one that changes its own address
	const changed = "02:42:ac:11:77:77"
	if _, err := nginx.Output(t.Context(), "ip", "link", "set", "eth0", "address", changed); err != nil {
		t.Fatal(err)
	}
	found = until(t, w, given, func(found map[string][]string) bool {
		return len(found["nginx"]) > 0 && strings.Contains(found["nginx"][0], changed)
	})
	if want := given["nginx"] + " is what the engine gave it in network bridge, " + changed + " is what it has"; found["nginx"][0] != want {
		t.Errorf("nginx: %q, want %q", found["nginx"], want)
	}
}
