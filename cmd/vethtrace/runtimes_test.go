// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/lab/engine"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// whole is the way in to a published port behind a bridge, hop by hop.
var whole = []string{
	"netfilter/prerouting", "routing", "netfilter/forward", "netfilter/postrouting",
	"bridge", "veth", "softirq", "netfilter/input",
}

// other is an engine that is not Docker, as far as the tests of the command need it.
type other struct {
	*lab.World
	args []string // by which vethtrace finds it
}

// ask runs vethtrace topology.
func (o other) ask(t *testing.T, args ...string) wiring.Document {
	t.Helper()
	v := startVethtrace(t, o.Host, slices.Concat([]string{"topology", "-o", "json"}, o.args, args)...)
	if status := v.wait(t); status != exitDone {
		t.Fatalf("status %d: %s", status, v.messages(t))
	}
	var d wiring.Document
	if err := stdjson.NewDecoder(bytes.NewReader(v.out.Bytes())).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// load makes visits requests, each of one connection, and fails the test unless all are answered.
func (o other) load(ctx context.Context, t *testing.T, from *lab.Node, url string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if status, _, err := from.Get(ctx, url); err == nil && status == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(status, err)
		}
	}
	if r, err := from.HTTP(ctx, url, visits, lab.LoadConfig{KeepAlive: true}); err != nil || r.Done != visits {
		t.Error(r.Done, r.Last, err)
	}
}

// sees traces a target while its published port is visited, and wants the whole way in.
func (o other) sees(ctx context.Context, t *testing.T, target ...string) tracer.Target {
	t.Helper()
	v := startVethtrace(t, o.Host, slices.Concat([]string{"-o", "json"}, o.args, target)...)
	v.await(t, "attached to ")
	o.load(ctx, t, o.Client, "http://198.51.100.1:8080/")
	s := v.end(t, os.Interrupt)
	if len(s.Targets) != 1 {
		t.Fatalf("%d targets, want one", len(s.Targets))
	}
	got := s.Targets[0]
	if in, way := packets(got, tracer.Ingress, "uplink"); in < visits || !slices.Equal(way, whole) {
		t.Errorf("%d packets in by %v,\nwant at least %d by %v", in, way, visits, whole)
	}
	for direction, a := range got.Accounting {
		if a.Balance() != 0 {
			t.Errorf("%s: %+v do not add up", tracer.Direction(direction), a)
		}
	}
	return got
}

// way is a packet, what is explained of it, and whether a connection comes about.
type way struct {
	from      *lab.Node
	src, to   string
	kind, nat string // "" where nothing is translated
	target    string
	connects  bool
}

// goes compares what is explained with what happens.
func (o other) goes(ctx context.Context, t *testing.T, ways ...way) {
	t.Helper()
	for _, w := range ways {
		got := o.ask(t, "--from", w.src, "--to", w.to+"/tcp").Ways[0]
		var nats []string
		for _, s := range got.There {
			if s.NAT != "" {
				nats = append(nats, s.NAT)
			}
		}
		if got.Verdict.Kind != w.kind || got.Verdict.Target != w.target || w.nat != "" && !slices.Contains(nats, w.nat) {
			t.Errorf("%s to %s: %s (%s), translated by %q; want %s, %s, %s", w.src, w.to, got.Verdict.Text, got.Verdict.Target, nats, w.kind, w.target, w.nat)
		}
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		conn, err := w.from.Dial(short, "tcp", w.to)
		cancel()
		if (err == nil) != w.connects {
			t.Errorf("%s to %s: explained as %s, but %v", w.src, w.to, got.Verdict.Kind, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// published8080 are the ways to a published port that end in a container's port 80.
func (o other) published8080(addr, target string) []way {
	client, host := o.Client.IP4.String(), o.Host.IP4.String()
	to := host + ":8080"
	return []way{
		{o.Client, client, to, wiring.Delivered, "DNAT " + to + " -> " + addr + ":80", target, true},
		{o.Host, host, to, wiring.Delivered, "DNAT " + to + " -> " + addr + ":80", target, true},
		{o.Host, "127.0.0.1", "127.0.0.1:8080", wiring.Delivered, "DNAT 127.0.0.1:8080 -> " + addr + ":80", target, true},
		{o.Client, client, host + ":8099", wiring.NothingListens, "", "", false},
	}
}

// exports wants the exporter to name its containers.
func (o other) exports(t *testing.T, labels ...string) {
	t.Helper()
	v := startVethtrace(t, o.Host, slices.Concat([]string{"export", "--once", "--duration", "500ms"}, o.args)...)
	if status := v.wait(t); status != exitDone {
		t.Fatalf("status %d: %s", status, v.messages(t))
	}
	for _, label := range labels {
		if !strings.Contains(v.out.String(), label) {
			t.Errorf("no %s among the metrics", label)
		}
	}
}

// foundByItself runs vethtrace where the engine listens at its usual place, without a word about it.
func foundByItself(t *testing.T, host *lab.Node, inside []string, runtime, name string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Our test binary is vethtrace when it is called so.
	args := slices.Concat(inside, []string{"bash", "-c", `exec -a vethtrace "$0" "$@"`, exe, "topology", "-o", "json"})
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "DOCKER_HOST=") || strings.HasPrefix(s, "CONTAINER")
	})
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := host.NS.Do(cmd.Run); err != nil {
		t.Fatal(err, said.String())
	}
	var d wiring.Document
	if err := stdjson.NewDecoder(&out).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if got := named(d, name); got.Runtime != runtime {
		t.Errorf("found by itself: %s of %q, want of %s; notes %q", name, got.Runtime, runtime, d.Notes)
	}
}

// follows starts and ends a container while all are traced.
func (o other) follows(t *testing.T, name string, start, end func()) {
	t.Helper()
	v := startVethtrace(t, o.Host, slices.Concat([]string{"--all", "-o", "json", "--log-level", "debug"}, o.args)...)
	v.await(t, "attached to ")
	start()
	v.await(t, "container is traced\" name="+name)
	end()
	v.await(t, "target has ended\" name="+name)
	if s := v.end(t, os.Interrupt); !slices.ContainsFunc(s.Targets, func(t tracer.Target) bool { return t.Name == name && t.Gone }) {
		t.Errorf("%s is not among the targets as one that has ended", name)
	}
}

func named(d wiring.Document, name string) wiring.Target {
	i := slices.IndexFunc(d.Targets, func(t wiring.Target) bool { return t.Name == name })
	if i < 0 {
		return wiring.Target{}
	}
	return d.Targets[i]
}

// published wants one port to be known, with its rule.
func published(t *testing.T, target wiring.Target, chain string, byRules bool) {
	t.Helper()
	p := target.Published
	if len(p) != 1 || p[0].Host != "0.0.0.0:8080" || p[0].Container != 80 || p[0].ByRules != byRules || p[0].DNAT == nil || !strings.HasPrefix(p[0].DNAT.Chain, chain) {
		t.Errorf("published: %+v, want 8080 by a rule of %s*", p, chain)
	}
}

// TestPodman is the product's main job on Podman, with both backends of its networks.
func TestPodman(t *testing.T) {
	for _, tt := range []struct{ backend, bridge, chain string }{
		{engine.Netavark, "podman0", "NETAVARK-DN-"}, {engine.CNI, "cni-podman0", "CNI-DN-"},
	} {
		t.Run(tt.backend, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e := podmanWorld(ctx, t, tt.backend)
			for _, args := range [][]string{
				{"run", "-d", "-p", "8080:80", "--label", "io.podman.compose.project=shop", "--name", "nginx", "nginx"},
				{"run", "-d", "--network", "container:nginx", "--name", "sidecar", "tools"},
				{"run", "-d", "--network", "host", "--name", "hosted", "tools"},
				{"run", "-d", "-p", "9000-9003:78-81", "--name", "ranged", "nginx"},
			} {
				podman(ctx, t, e, args...)
			}
			o := other{e.World, []string{"--runtime", "podman", "--docker-host", "unix://" + e.Socket}}
			o.load(ctx, t, e.Client, "http://198.51.100.1:8080/")
			o.load(ctx, t, e.Client, "http://198.51.100.1:9002/")
			d := o.ask(t)
			nginx := named(d, "nginx")
			if nginx.Runtime != "podman" || nginx.Project != "shop" || len(nginx.ID) != 64 || !slices.Equal(nginx.Aliases, []string{"sidecar"}) ||
				len(nginx.Interfaces) != 1 || nginx.Interfaces[0].Bridge != tt.bridge {
				t.Errorf("nginx: %+v", nginx)
			}
			if b := d.Bridges; len(b) != 1 || b[0].Network == nil || b[0].Network.Name != "podman" {
				t.Errorf("bridges: %+v, want Podman's own network", b)
			}
			published(t, nginx, tt.chain, false)
			if hosted := named(d, "hosted"); !strings.HasPrefix(hosted.Means, "host mode") {
				t.Errorf("hosted: %+v", hosted)
			}
			ranged := way{
				e.Client, e.Client.IP4.String(), "198.51.100.1:9002", wiring.Delivered,
				"DNAT 198.51.100.1:9002 -> " + named(d, "ranged").Networks[0].IP4 + ":80", "ranged", true,
			}
			o.goes(ctx, t, append(o.published8080(nginx.Networks[0].IP4, "nginx"), ranged)...)
			if got := o.sees(ctx, t, "--container", nginx.ID[:12]); got.Name != "nginx" {
				t.Errorf("traced %q", got.Name)
			}
			if err := e.ListenAt(ctx, "/run/podman/podman.sock"); err != nil {
				t.Fatal(err)
			}
			foundByItself(t, e.Host, e.Inside(), "podman", "nginx")
			o.exports(t, `image="localhost/nginx:latest"`, `compose_project="shop"`)
			o.follows(t, "later", func() { podman(ctx, t, e, "run", "-d", "--name", "later", "tools") },
				func() { podman(ctx, t, e, "rm", "-f", "-t", "0", "later") })
		})
	}
}

// TestPodmanUserland: what a container without veth and bridge shows, as rootless ones are.
func TestPodmanUserland(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e := podmanWorld(ctx, t, engine.Netavark)
	podman(ctx, t, e, "run", "-d", "--network", "slirp4netns", "-p", "8080:80", "--name", "slirp", "nginx")
	podman(ctx, t, e, "run", "-d", "--network", "slirp4netns:port_handler=slirp4netns", "-p", "8081:80", "--name", "handled", "nginx")
	o := other{e.World, []string{"--runtime", "podman", "--docker-host", "unix://" + e.Socket}}
	o.load(ctx, t, e.Client, "http://198.51.100.1:8080/")
	d := o.ask(t)
	slirp := named(d, "slirp")
	if slirp.Mode != "slirp4netns" || len(slirp.Interfaces) != 1 || slirp.Interfaces[0].Device.Kind != "tun" || !strings.HasPrefix(slirp.Means, "userland network") {
		t.Errorf("slirp: %+v", slirp)
	}
	kinds := map[string]string{}
	for _, p := range d.Proxies {
		kinds[p.Kind] = p.Target + " " + p.To
	}
	if kinds["rootlessport"] != "slirp 10.0.2.100:80" || kinds["slirp4netns"] != "handled 10.0.2.100:80" {
		t.Errorf("proxies: %+v", d.Proxies)
	}
	client, host := e.Client.IP4.String(), e.Host.IP4.String()
	o.goes(ctx, t, way{e.Client, client, host + ":8080", wiring.Proxied, "", "slirp", true}, way{e.Host, "127.0.0.1", "127.0.0.1:8081", wiring.Proxied, "", "handled", true})
	v := startVethtrace(t, o.Host, slices.Concat(o.args, []string{"--container", "slirp"})...)
	if status, said := v.wait(t), v.messages(t); status != exitKernel && status != exitFailed || !strings.Contains(said, "slirp") {
		t.Errorf("tracing a container that no device of the host leads to: status %d, %s", status, said)
	}
}

// podmanWorld is a Podman with images.
func podmanWorld(ctx context.Context, t *testing.T, backend string) *engine.Podman {
	t.Helper()
	e, err := engine.StartPodman(ctx, backend, engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, img := range []engine.Image{engine.NginxImage(), engine.ToolsImage()} {
		if err := e.Import(ctx, img); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func podman(ctx context.Context, t *testing.T, e *engine.Podman, args ...string) {
	t.Helper()
	if out, err := e.Podman(ctx, args...); err != nil {
		t.Fatal(err, out)
	}
}

// TestContainerd is the same on containerd, where only the rules tell of ports.
func TestContainerd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := engine.StartContainerd(ctx, engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, space := range []string{"default", "k8s.io", "moby"} {
		if err := e.Import(ctx, space, engine.NginxImage()); err != nil {
			t.Fatal(err)
		}
	}
	addr, err := e.RunConnected(ctx, "default", "nginx", "nginx1", []engine.Forward{{Host: 8080, Container: 80, Protocol: "tcp"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.RunConnected(ctx, "k8s.io", "nginx", "pod1", nil, "--annotation", "io.kubernetes.cri.sandbox-id=pod1",
		"--annotation", "io.kubernetes.cri.sandbox-name=web", "--annotation", "io.kubernetes.cri.sandbox-namespace=shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(ctx, "moby", "nginx", "hosted", "--net-host"); err != nil {
		t.Fatal(err)
	}
	o := other{e.World, []string{"--runtime", "containerd", "--docker-host", "unix://" + e.Socket}}
	o.load(ctx, t, e.Client, "http://198.51.100.1:8080/")
	d := o.ask(t)
	nginx := named(d, "nginx1")
	if nginx.Runtime != "containerd" || nginx.Space != "default" || nginx.Image != "docker.io/library/nginx:latest" ||
		len(nginx.Interfaces) != 1 || nginx.Interfaces[0].Bridge != "cni0" {
		t.Errorf("nginx1: %+v", nginx)
	}
	published(t, nginx, "CNI-DN-", true)
	if pod := named(d, "web.shop"); pod.Space != "k8s.io" || pod.ID != "k8s.io/pod1" {
		t.Errorf("web.shop: %+v", pod)
	}
	if hosted := named(d, "hosted"); hosted.Space != "moby" || !strings.HasPrefix(hosted.Means, "host mode") {
		t.Errorf("hosted: %+v", hosted)
	}
	o.goes(ctx, t, o.published8080(addr, "nginx1")...)
	o.sees(ctx, t, "--container", "nginx1")
	if err := e.ListenAt(ctx, "/run/containerd/containerd.sock"); err != nil {
		t.Fatal(err)
	}
	foundByItself(t, e.Host, e.Inside(), "containerd", "nginx1")
	o.exports(t, `image="docker.io/library/nginx:latest"`, `container="web.shop"`)
	// Without an engine the rules tell the same.
	bare := other{e.World, []string{"--runtime", "none"}}
	pid := []string{"--pid", strconv.Itoa(nginx.PID)}
	published(t, bare.ask(t, pid...).Targets[0], "CNI-DN-", true)
	bare.sees(ctx, t, pid...)
	o.follows(t, "later", func() {
		if _, err := e.RunConnected(ctx, "default", "nginx", "later", nil); err != nil {
			t.Error(err)
		}
	}, func() {
		if out, err := e.Ctr(ctx, "default", "tasks", "kill", "-s", "KILL", "later"); err != nil {
			t.Error(err, out)
		}
	})
}
