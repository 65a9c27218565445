// SPDX-License-Identifier: Apache-2.0

package probe_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	draw "github.com/vethtrace/vethtrace/exporter/wiring"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/wiring"
	"github.com/vethtrace/vethtrace/tracer/wiring/probe"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	os.Exit(m.Run())
}

func world(t *testing.T, cfg lab.Config) *lab.World {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := lab.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// targets are the containers of a world, as an engine would describe them.
func targets(t *testing.T, w *lab.World) []probe.Target {
	t.Helper()
	var list []probe.Target
	for _, c := range w.Containers {
		found, err := container.FromPID(c.PID)
		if err != nil {
			t.Fatal(err)
		}
		found.Name, found.Mode = c.Name, "bridge"
		if c.Bridge == "" {
			found.Mode = "macvlan"
		}
		for _, p := range c.Ports {
			found.Ports = append(found.Ports, container.Port{Host: hostPort(p.Host), Container: p.Container, Protocol: p.Proto})
		}
		list = append(list, probe.Target{Container: found})
	}
	return list
}

func read(t *testing.T, w *lab.World, more ...probe.Target) *wiring.Facts {
	t.Helper()
	f, err := probe.Read(probe.Config{Host: w.Host.NS, Targets: append(targets(t, w), more...), Whole: true, Rules: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Notes) > 0 {
		t.Errorf("notes: %q", f.Notes)
	}
	return f
}

func tree(t *testing.T, d wiring.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := draw.Text(&b, d, draw.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPicture: what is drawn is what the lab made.
func TestPicture(t *testing.T) {
	w := world(t, lab.Config{Names: []string{"nginx", "other"}, IPv6: true})
	if err := w.AddBridge(t.Context(), "br-app", prefix("172.18.0.0/16")); err != nil {
		t.Fatal(err)
	}
	for _, cc := range []lab.ContainerConfig{
		{Name: "app", Bridge: "br-app", MoreBridges: []string{"docker0"}}, {Name: "mv", Kind: lab.KindMacvlan},
	} {
		if _, err := w.AddContainer(t.Context(), cc); err != nil {
			t.Fatal(err)
		}
	}
	proxies, err := w.StartProxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	web, err := w.StartHostMode(t.Context(), 9000)
	if err != nil {
		t.Fatal(err)
	}
	hosted, err := container.FromPID(web.PID)
	if err != nil {
		t.Fatal(err)
	}
	hosted.Name, hosted.Mode = "web", "host"
	if res, err := w.Host.TCPEcho(t.Context(), addrPort(w.Container("nginx").IP4, 7), 1, 1); err != nil || res.Done != 1 {
		t.Fatal(res, err) // the bridge learns nginx's address
	}
	d := read(t, w, probe.Target{Container: hosted}).Document("test")
	text := tree(t, d)
	nginx := w.Container("nginx")
	out, err := w.Host.Output(t.Context(), "ip", "-o", "link", "show", "dev", nginx.HostDev)
	if err != nil {
		t.Fatal(err)
	}
	hostIndex, peerName, _ := strings.Cut(strings.Fields(out)[0]+strings.TrimSuffix(strings.Fields(out)[1], ":"), ":")
	for _, want := range []string{
		fmt.Sprintf("host  net:[%d]  ip_forward on", w.Host.NS.Inode()),
		"├─ uplink eth0@if", "198.51.100.1/24", "├─ bridge docker0  index", "STP off  VLAN filtering off  bridge-nf-call-iptables on",
		"├─ bridge br-app", "port " + peerName + "  index " + hostIndex, "forwarding\n", fmt.Sprintf("net:[%d]  pid %d", nginx.NS.Inode(), nginx.PID),
		"172.17.0.2/16 2001:db8:17::242:ac11:2/64", "FDB knows its address", "published  0.0.0.0:8080 -> 80/tcp  docker-proxy " + fmt.Sprint(proxies[0].PID),
		"-j DNAT --to-destination 172.17.0.2:80", "without this rule: dropped by policy drop of filter/FORWARD in host",
		"listens  tcp [::]:80  IPv4 and IPv6  nginx[" + fmt.Sprint(nginx.PID) + "]", "app  (above)", "macvlan bridge  on eth0@if", "macvlan: packets go between the wire",
		"host mode: no bridge, no veth, no NAT", "listens  tcp [::]:9000", "docker-proxy[" + fmt.Sprint(proxies[0].PID) + "]  tcp 0.0.0.0:8080  -> 172.17.0.2:80  (nginx)",
		"ip filter/FORWARD  forward  policy drop",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if accept := d.Targets[0].Published[0].Accept; accept == nil || accept.Chain != "DOCKER" || accept.Packets == nil || *accept.Packets != 0 {
		t.Errorf("accepting rule: %+v", accept)
	}
	if i := slices.IndexFunc(d.Uplinks, func(u wiring.Device) bool { return u.Name != "eth0" }); i >= 0 {
		t.Errorf("%s is no uplink", d.Uplinks[i].Name)
	}
}
