// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/lab/engine"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
)

// TestDockerPaths: on a real engine, by both kinds of uplink, each way to a
// container is seen as it is, hop by hop.
func TestDockerPaths(t *testing.T) {
	for _, wire := range []lab.WireKind{lab.WireVeth, lab.WireTap} {
		t.Run(wire.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), dockerTime)
			defer cancel()
			e := startEngine(ctx, t, wire)
			for _, args := range [][]string{
				{"run", "-d", "-p", "8080:80", "--name", "nginx", "nginx"},
				{"run", "-d", "--net=host", "--name", "nginx-host-mode", "nginx"},
				{"create", "--name", "created", "nginx"},
			} {
				if out, err := e.Docker(ctx, args...); err != nil {
					t.Fatal(err, out)
				}
			}
			visit(ctx, t, e, "http://198.51.100.1:8080/")
			visit(ctx, t, e, "http://198.51.100.1:80/")
			t.Run("published port", func(t *testing.T) { testPublished(ctx, t, e) })
			t.Run("from the host", func(t *testing.T) { testFromHost(ctx, t, e) })
			t.Run("docker-proxy", func(t *testing.T) { testProxy(ctx, t, e) })
			t.Run("host mode", func(t *testing.T) { testHostMode(ctx, t, e) })
			t.Run("errors", func(t *testing.T) { testTargetErrors(t, e) })
		})
	}
}

// traced is what vethtrace saw of some load.
func traced(ctx context.Context, t *testing.T, e *engine.Engine, name string, load func(context.Context)) tracer.Target {
	t.Helper()
	v := startVethtrace(t, e.Host, "--container", name, "--docker-host", "unix://"+e.Socket, "-o", "json")
	v.await(t, "attached to "+name)
	load(ctx)
	s := v.end(t, os.Interrupt)
	if s.Observer.Unpathed != 0 || s.Observer.StampNs["tcx"] == 0 {
		t.Errorf("observer %+v: want each journey on a path, and the cost of a stamp", s.Observer)
	}
	if len(s.Targets) != 1 {
		t.Fatalf("%d targets, want %s", len(s.Targets), name)
	}
	for direction, a := range s.Targets[0].Accounting {
		if a.Balance() != 0 || a.Evicted+a.Expired+a.Cut+a.InFlight != 0 {
			t.Errorf("%s: %+v, want all of it completed or dropped", tracer.Direction(direction), a)
		}
	}
	return s.Targets[0]
}

// packets counts those of TCP paths with this peer, and names the hops of the busiest.
func packets(of tracer.Target, direction tracer.Direction, peer string) (count uint64, hops []string) {
	var most uint64
	for _, path := range of.Paths {
		if path.Direction != direction || path.Peer != peer || path.Protocol != "tcp" {
			continue
		}
		count += path.Packets
		if path.Packets > most {
			most, hops = path.Packets, nil
			for _, hop := range path.Hops {
				hops = append(hops, hop.Name)
			}
		}
	}
	return count, hops
}

// carried is what the devices of a container but lo have received and sent, by their own count.
func carried(ctx context.Context, t *testing.T, e *engine.Engine, name string) (packets [2]uint64) {
	t.Helper()
	pid, err := e.Docker(ctx, "inspect", "-f", "{{.State.Pid}}", name)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = ns.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if stats := l.Attrs().Statistics; stats != nil && l.Attrs().Name != "lo" {
				packets[tracer.Ingress] += stats.RxPackets
				packets[tracer.Egress] += stats.TxPackets
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

func testPublished(ctx context.Context, t *testing.T, e *engine.Engine) {
	var begin, end [2]uint64
	before := carried(ctx, t, e, "nginx")
	nginx := traced(ctx, t, e, "nginx", func(ctx context.Context) {
		begin = carried(ctx, t, e, "nginx")
		visit(ctx, t, e, "http://198.51.100.1:8080/")
		if r, err := e.Client.HTTP(ctx, "http://198.51.100.1:8080/", visits, lab.LoadConfig{}); err != nil || r.Done != visits {
			t.Error(r.Done, r.Last, err)
		}
		end = carried(ctx, t, e, "nginx")
	})
	after := carried(ctx, t, e, "nginx")
	for d, a := range nginx.Accounting {
		seen := a.Started + a.Cloned
		for _, skip := range nginx.Skipped[d] {
			seen += skip.Count
		}
		// what comes while vethtrace attaches and detaches is seen or is not
		if least, most := end[d]-begin[d], after[d]-before[d]; seen < least || seen > most || least < 2*visits {
			t.Errorf("%s: %d packets, %d to %d by the container's device", tracer.Direction(d), seen, least, most)
		}
	}
	if nginx.Mode != "bridge" || len(nginx.Interfaces) != 1 || nginx.Interfaces[0].Bridge != "docker0" {
		t.Errorf("mode %q, interfaces %+v", nginx.Mode, nginx.Interfaces)
	}
	if len(nginx.Ports) == 0 || nginx.Ports[0].Host.Port() != 8080 || nginx.Ports[0].Container != 80 {
		t.Errorf("ports %+v, want 8080->80", nginx.Ports)
	}
	want := []string{
		"netfilter/prerouting", "routing", "netfilter/forward", "netfilter/postrouting",
		"bridge", "veth", "softirq", "netfilter/input",
	}
	if in, way := packets(nginx, tracer.Ingress, "uplink"); in < visits || !slices.Equal(way, want) {
		t.Errorf("%d packets in by %v,\nwant at least %d by %v", in, way, visits, want)
	}
	want = []string{
		"netfilter/output", "veth", "softirq", "netfilter/prerouting",
		"bridge", "routing", "netfilter/forward", "netfilter/postrouting",
	}
	if e.Wire == lab.WireTap {
		want = append(want, "qdisc") // a veth has none
	}
	if out, way := packets(nginx, tracer.Egress, "uplink"); out < visits || !slices.Equal(way, want) {
		t.Errorf("%d packets out by %v,\nwant at least %d by %v", out, way, visits, want)
	}
}

func testFromHost(ctx context.Context, t *testing.T, e *engine.Engine) {
	addr, err := e.Docker(ctx, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "nginx")
	if err != nil {
		t.Fatal(err)
	}
	nginx := traced(ctx, t, e, "nginx", func(ctx context.Context) {
		if r, err := e.Host.HTTP(ctx, "http://"+addr+"/", visits, lab.LoadConfig{KeepAlive: true}); err != nil || r.Done != visits {
			t.Error(r.Done, r.Last, err)
		}
	})
	want := []string{"netfilter/output", "netfilter/postrouting", "bridge", "veth", "softirq", "netfilter/input"}
	if in, way := packets(nginx, tracer.Ingress, "host"); in < visits || !slices.Equal(way, want) {
		t.Errorf("%d packets in by %v,\nwant at least %d by %v", in, way, visits, want)
	}
	want = []string{"netfilter/output", "veth", "softirq", "netfilter/prerouting", "bridge", "netfilter/input"}
	if out, way := packets(nginx, tracer.Egress, "host"); out < visits || !slices.Equal(way, want) {
		t.Errorf("%d packets out by %v,\nwant at least %d by %v", out, way, visits, want)
	}
}

// A request to 127.0.0.1 is answered by docker-proxy: two legs, and its own time between them.
func testProxy(ctx context.Context, t *testing.T, e *engine.Engine) {
	nginx := traced(ctx, t, e, "nginx", func(ctx context.Context) {
		for range visits {
			if status, _, err := e.Host.Get(ctx, "http://127.0.0.1:8080/"); err != nil || status != 200 {
				t.Error(status, err)
			}
		}
	})
	var toProxy, toContainer uint64
	for _, path := range nginx.Paths {
		if path.Direction != tracer.Ingress || path.Peer != "proxy" {
			continue
		}
		if slices.ContainsFunc(path.Hops, func(h tracer.Hop) bool { return h.Side == tracer.SideTarget }) {
			toContainer += path.Packets
		} else {
			toProxy += path.Packets
		}
	}
	if toProxy < visits || toContainer < visits {
		t.Errorf("leg 1 has %d packets, leg 2 %d, want at least %d each", toProxy, toContainer, visits)
	}
	if nginx.Proxied == nil || nginx.Proxied.Proxy.Hist.Count() < visits*9/10 {
		t.Errorf("the proxy's own time is missing: %+v", nginx.Proxied)
	}
}

// In host mode each packet of the container is seen, and none of a neighbor's.
func testHostMode(ctx context.Context, t *testing.T, e *engine.Engine) {
	web := traced(ctx, t, e, "nginx-host-mode", func(ctx context.Context) {
		visit(ctx, t, e, "http://198.51.100.1:80/")
		visit(ctx, t, e, "http://198.51.100.1:8080/")
	})
	if web.Mode != "host" {
		t.Errorf("mode %q, want host", web.Mode)
	}
	for _, direction := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
		count, way := packets(web, direction, "uplink")
		// a packet for each request and answer, and a few for the two connections' begin and end
		if count < visits || count > visits+15 || slices.Contains(way, "veth") {
			t.Errorf("%s: %d packets by %v, want %d and a few", direction, count, way, visits)
		}
	}
}

func testTargetErrors(t *testing.T, e *engine.Engine) {
	for _, c := range []struct {
		name   string
		status int
		says   string
	}{
		{"ngnix", exitNoTarget, "nginx"}, {"created", exitNoTarget, "created"},
	} {
		v := startVethtrace(t, e.Host, "--container", c.name, "--docker-host", "unix://"+e.Socket)
		status, said := v.wait(t), v.messages(t)
		if status != c.status || !strings.Contains(said, c.says) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: status %d, %q; want status %d and one line with %q", c.name, status, said, c.status, c.says)
		}
	}
}
