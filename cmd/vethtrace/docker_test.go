// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/lab/engine"
	"github.com/vethtrace/vethtrace/tracer"
)

// TestDocker is the product's main job on a real engine: by name, followed over
// a restart and a removal, whose namespace is not held.
func TestDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), dockerTime)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	docker := dockerOf(ctx, t, e)
	docker("run", "-d", "-p", "8080:80", "--name", "nginx", "nginx")
	docker("run", "-d", "--network", "container:nginx", "--name", "sidecar", "tools")
	docker("run", "-d", "--name", "other", "tools")
	page := fmt.Sprintf("http://%s:8080/", e.Host.IP4)
	visit(ctx, t, e, page)

	v := startVethtrace(t, e.Host, "--container", "nginx", "--container", "sidecar", "--docker-host", "unix://"+e.Socket, "-o", "json", "--log-level", "debug")
	v.await(t, "attached to nginx (bridge) in")
	visit(ctx, t, e, page)
	docker("exec", "other", "curl", "-sf", "-o", "/dev/null", "http://172.17.0.2/")
	docker("restart", "-t", "0", "nginx")
	v.await(t, "waiting for it to start again")
	v.await(t, "container is traced")
	visit(ctx, t, e, page)
	docker("rm", "-f", "sidecar")
	docker("rm", "-f", "nginx")
	begin := time.Now()
	for noVeths(t, e) > 1 { // other's
		if time.Since(begin) > goneLimit {
			t.Fatalf("the host's end of nginx's veth is still there %v after docker rm", goneLimit)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("the host's end of nginx's veth was gone %v after docker rm, of 1.5 s that are the goal", time.Since(begin))
	s := v.end(t, syscall.SIGINT)
	if len(s.Targets) != 2 {
		t.Fatalf("%d targets, want nginx before and after its restart: %s", len(s.Targets), v.messages(t))
	}
	for i, target := range s.Targets {
		in := target.Accounting[tracer.Ingress]
		if target.Name != "nginx" || target.Mode != "bridge" || in.Completed < visits || in.Balance() != 0 || !target.Gone {
			t.Errorf("target %d: %s (%s) gone %v: %+v", i, target.Name, target.Mode, target.Gone, in)
		}
	}
	if !slices.ContainsFunc(s.Targets[0].Paths, func(p tracer.Path) bool { return p.Peer == "container:other" }) {
		t.Errorf("no path with container:other among %d", len(s.Targets[0].Paths))
	}
	if aliases := s.Targets[0].Aliases; len(aliases) != 1 || aliases[0] != "sidecar" {
		t.Errorf("aliases %q, want sidecar", aliases)
	}
}

// TestDockerAll: what comes under --all is traced, host mode too, by its
// control group; what cannot be traced is no error.
func TestDockerAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), dockerTime)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	docker := dockerOf(ctx, t, e)
	docker("run", "-d", "--network", "none", "--name", "nowhere", "tools")
	v := startVethtrace(t, e.Host, "--all", "--docker-host", "unix://"+e.Socket, "-o", "json", "--log-level", "debug")
	v.await(t, "attached to no target yet")
	docker("run", "-d", "-p", "8080:80", "--name", "nginx", "nginx")
	v.await(t, "container is traced\" name=nginx")
	docker("run", "-d", "--network", "host", "--name", "hosted", "nginx")
	v.await(t, "container is traced\" name=hosted")
	visit(ctx, t, e, fmt.Sprintf("http://%s:8080/", e.Host.IP4))
	visit(ctx, t, e, fmt.Sprintf("http://%s:80/", e.Host.IP4))
	s := v.end(t, syscall.SIGTERM)
	if len(s.Targets) != 2 {
		t.Fatalf("%d targets, want nginx and hosted: %s", len(s.Targets), v.messages(t))
	}
	for _, target := range s.Targets {
		for _, direction := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
			if a := target.Accounting[direction]; a.Completed < visits || a.Balance() != 0 {
				t.Errorf("%s (%s) %s: %+v", target.Name, target.Mode, direction, a)
			}
		}
	}

	none := startVethtrace(t, e.Host, "--container", "nowhere", "--docker-host", "unix://"+e.Socket)
	if status := none.wait(t); status != exitFailed || !strings.Contains(none.messages(t), "network mode none") {
		t.Errorf("status %d: %s", status, none.messages(t))
	}
}

func startEngine(ctx context.Context, t *testing.T, wire lab.WireKind) *engine.Engine {
	t.Helper()
	return startEngineWith(ctx, t, engine.Config{Wire: wire})
}

// dockerOf returns the engine's client, whose commands have to succeed.
func dockerOf(ctx context.Context, t *testing.T, e *engine.Engine) func(args ...string) {
	return func(args ...string) {
		t.Helper()
		if out, err := e.Docker(ctx, args...); err != nil {
			t.Fatal(err, out)
		}
	}
}

func startEngineWith(ctx context.Context, t *testing.T, cfg engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, load := range []func(context.Context) error{e.ImportNginx, e.ImportTools} {
		if err := load(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// visits is how many requests visit makes.
const visits = 50

// goneLimit is for a slow and busy machine; without vethtrace letting go, what is waited for never comes.
const goneLimit = 30 * time.Second

// awaitTime is how long a test waits for what is bound to happen: attaching takes half a minute in a guest that is emulated.
const awaitTime = 90 * time.Second

// dockerTime is more than the tests of an engine take in a guest by emulation on a busy machine.
const dockerTime = 5 * time.Minute

// visit waits for the server and asks it for pages.
func visit(ctx context.Context, t *testing.T, e *engine.Engine, url string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status, _, err := e.Client.Get(ctx, url)
		if err == nil && status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %d, %v", url, status, err)
		}
	}
	if r, err := e.Client.HTTP(ctx, url, visits, lab.LoadConfig{KeepAlive: true}); err != nil || r.Done != visits {
		t.Fatal(r.Done, r.Last, err)
	}
}

// noVeths counts the veth ends of the host's bridge.
func noVeths(t *testing.T, e *engine.Engine) int {
	t.Helper()
	out, err := e.Host.Output(t.Context(), "ip", "-o", "link", "show", "type", "veth", "master", "docker0")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(out, "\n")
}

// running is a vethtrace in the host's namespace of an engine's world.
type running struct {
	cmd   *exec.Cmd
	err   string // file with its messages
	out   bytes.Buffer
	ended chan error
}

func startVethtrace(t *testing.T, host *lab.Node, args ...string) *running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &running{err: filepath.Join(t.TempDir(), "err.txt"), ended: make(chan error, 1)}
	file, err := os.Create(v.err)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	v.cmd = &exec.Cmd{Path: exe, Args: append([]string{"vethtrace"}, args...), Stdout: &v.out, Stderr: file}
	if err := host.NS.Do(v.cmd.Start); err != nil {
		t.Fatal(err)
	}
	go func() { v.ended <- v.cmd.Wait() }()
	t.Cleanup(func() { v.cmd.Process.Kill() })
	return v
}

func (v *running) messages(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(v.err)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (v *running) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(awaitTime); !strings.Contains(v.messages(t), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q: %s", text, v.messages(t))
		}
	}
}

// wait returns the exit status.
func (v *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-v.ended:
		return v.cmd.ProcessState.ExitCode()
	case <-time.After(awaitTime):
		t.Fatal("vethtrace does not end")
		return 0
	}
}

// end sends a signal and reads the document.
func (v *running) end(t *testing.T, sig os.Signal) tracer.Snapshot {
	t.Helper()
	if err := v.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if status := v.wait(t); status != exitDone {
		t.Fatalf("exit status %d: %s", status, v.messages(t))
	}
	s, err := json.Decode(&v.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range unforeseen(s) {
		t.Error(problem)
	}
	return s
}

// unforeseen are the differences between what was seen and what was predicted: in ordinary worlds there are none.
func unforeseen(s tracer.Snapshot) []string {
	var all []string
	for _, target := range s.Targets {
		for _, u := range target.Unpredicted {
			all = append(all, fmt.Sprintf("%s: a path that was not predicted: %+v", target.Name, u))
		}
		for _, u := range target.Unseen {
			all = append(all, fmt.Sprintf("%s: a way that nobody was seen on: %+v", target.Name, u))
		}
	}
	return all
}
