// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	stdjson "encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer/wiring/change"
)

// watching is a vethtrace topology --watch in the host's namespace of a world.
type watching struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

func startWatching(t *testing.T, host *lab.Node, args ...string) *watching {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	v := &watching{ended: make(chan struct{})}
	v.cmd = &exec.Cmd{Path: exe, Args: append([]string{"vethtrace", "topology", "--watch"}, args...), Stderr: os.Stderr}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.NS.Do(v.cmd.Start); err != nil {
		t.Fatal(err)
	}
	go v.follow(out)
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill()
		<-v.ended
	})
	v.await(t, "=", `"does":"begins"`)
	return v
}

func (v *watching) follow(out io.Reader) {
	defer close(v.ended)
	for s := bufio.NewScanner(out); s.Scan(); {
		v.mu.Lock()
		v.lines = append(v.lines, s.Text())
		v.mu.Unlock()
	}
	_ = v.cmd.Wait()
}

// said is all that was printed, a change each line.
func (v *watching) said() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.lines, "\n")
}

// await waits for a line that contains all words of one of the choices.
func (v *watching) await(t *testing.T, choices ...string) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		for line := range strings.SplitSeq(v.said(), "\n") {
			for _, c := range choices {
				if containsAll(line, strings.Split(c, "|")) {
					return
				}
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q:\n%s", choices, v.said())
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// end sends Ctrl-C and tells the exit status.
func (v *watching) end(t *testing.T) {
	t.Helper()
	if err := v.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-v.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	if status := v.cmd.ProcessState.ExitCode(); status != exitDone {
		t.Errorf("exit status %d", status)
	}
}

// TestTopologyWatch: what happens to a host and a container is told as it does.
func TestTopologyWatch(t *testing.T) {
	w, err := lab.New(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	nginx := w.Container("nginx")
	run := func(n *lab.Node, name string, args ...string) {
		t.Helper()
		if out, err := n.Output(t.Context(), name, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	v := startWatching(t, w.Host, "--pid", strconv.Itoa(nginx.PID))
	target := "pid " + strconv.Itoa(nginx.PID)
	run(w.Host, "iptables", "-I", "DOCKER-USER", "-p", "udp", "--dport", "9", "-j", "DROP")
	v.await(t, "+ rule ip filter/DOCKER-USER rule 1|-p udp|--dport 9 -j DROP")
	run(w.Host, "iptables", "-D", "DOCKER-USER", "-p", "udp", "--dport", "9", "-j", "DROP")
	v.await(t, "- rule ip filter/DOCKER-USER rule 1")
	run(w.Host, "iptables", "-P", "FORWARD", "ACCEPT")
	v.await(t, "~ chain ip filter/FORWARD|policy drop -> accept")
	run(w.Host, "ip", "link", "set", nginx.HostDev, "mtu", "1400")
	v.await(t, "~ port "+nginx.HostDev+"|mtu 1500 -> 1400")
	run(w.Host, "ip", "link", "set", nginx.HostDev, "down")
	v.await(t, "~ port "+nginx.HostDev+"|switched up -> down")
	// in the container's own namespace, which is not held for it
	run(nginx.Node, "ip", "addr", "add", "172.17.0.99/16", "dev", "eth0")
	v.await(t, "+ ", target+": address 172.17.0.99/16")
	v.await(t, "address 172.17.0.99/16  of eth0@if")
	if err := w.AddBridge(t.Context(), "br-app", netip.MustParsePrefix("172.18.0.0/16")); err != nil {
		t.Fatal(err)
	}
	v.await(t, "+ bridge br-app")
	if _, err := w.AddContainer(t.Context(), lab.ContainerConfig{Name: "app", Bridge: "br-app"}); err != nil {
		t.Fatal(err)
	}
	v.await(t, "+ port veth|of bridge br-app")
	if err := w.Host.Sysctl("net/ipv4/conf/all/route_localnet", "1"); err != nil {
		t.Fatal(err)
	}
	v.await(t, "~ host host|route_localnet off -> on")
	if err := w.RemoveContainer(t.Context(), "nginx"); err != nil {
		t.Fatal(err)
	}
	v.await(t, "- container ")
	v.await(t, "- port "+nginx.HostDev)
	v.end(t)
}

// TestTopologyWatchDocker is the same with a real engine, as lines of JSON that
// follow their schema.
func TestTopologyWatchDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	docker := dockerOf(ctx, t, e)
	v := startWatching(t, e.Host, "-o", "ndjson", "--docker-host", "unix://"+e.Socket)
	docker("run", "-d", "-p", "8080:80", "--name", "nginx", "nginx")
	for _, want := range []string{
		`"does":"added"|"kind":"port"|of bridge docker0`, `"does":"added"|"kind":"container"|"name":"nginx"`,
		`"does":"added"|"kind":"interface"|"place":"nginx"|172.17.0.2/16|on bridge docker0`,
		`"does":"added"|"kind":"published"|"name":"0.0.0.0:8080 -> 80/tcp"`, `"does":"added"|"kind":"rule"|nat/DOCKER rule|--to-destination 172.17.0.2:80`,
		`"does":"added"|"kind":"rule"|filter/DOCKER rule|-j ACCEPT`, `"does":"added"|"kind":"proxy"|docker-proxy`, `"does":"added"|"kind":"listener"|"place":"nginx"|tcp [::]:80`,
	} {
		v.await(t, want)
	}
	docker("network", "create", "appnet")
	v.await(t, `"does":"added"|"kind":"bridge"|network appnet`, `"does":"added"|"kind":"network"|"name":"appnet"`)
	docker("network", "connect", "appnet", "nginx")
	v.await(t, `"does":"added"|"kind":"interface"|"place":"nginx"|eth1@if`)
	docker("run", "-d", "--network", "none", "--name", "alone", "tools") // no link tells of it
	v.await(t, `"does":"added"|"kind":"container"|"name":"alone"`)
	docker("rename", "alone", "single")
	v.await(t, `"does":"changed"|"kind":"container"|"name":"single"|"before":"alone"`)
	docker("restart", "-t", "0", "nginx")
	docker("stop", "-t", "0", "nginx")
	v.await(t, `"does":"removed"|"kind":"container"|"name":"nginx"`)
	v.await(t, `"does":"removed"|"kind":"rule"|nat/DOCKER rule|--to-destination 172.17.0.2:80`)
	v.await(t, `"does":"removed"|"kind":"proxy"`)
	v.end(t)
	validChanges(t, v.said())
}

func validChanges(t *testing.T, said string) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "topology-change-schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(said, "\n") {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err, line)
		}
		if err := schema.Validate(doc); err != nil {
			t.Error(err, line)
		}
		var c change.Change
		if err := stdjson.Unmarshal([]byte(line), &c); err != nil {
			t.Error(err)
		}
		if _, err := time.Parse(time.RFC3339Nano, c.Time); err != nil {
			t.Error(err)
		}
	}
}
