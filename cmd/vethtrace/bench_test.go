// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/lab/engine"
	"github.com/vethtrace/vethtrace/internal/result"
)

// TestBenchDocker: two containers of a real engine, by all ways, and nothing
// of it stays.
func TestBenchDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	before := engineState(ctx, t, e)
	var d result.Document
	for _, duration := range []string{"25s", "75s"} { // the latter where attaching is slow
		d = benchDocker(t, e, duration)
		if len(d.Bench.Loads) == 2 {
			break
		}
	}
	if d.Bench.World != "docker" || d.Bench.Image != "nginx" || len(d.Bench.LeftOut) > 0 {
		t.Fatalf("bench of %q in world %s left out %q", d.Bench.Image, d.Bench.World, d.Bench.LeftOut)
	}
	var ways []string
	for _, w := range d.Bench.Ways {
		ways = append(ways, w.Name)
	}
	slices.Sort(ways)
	if want := "address container host host-local network proxy published"; strings.Join(ways, " ") != want {
		t.Errorf("ways %q, want %s", ways, want)
	}
	for _, c := range d.Bench.Cells {
		if c.Traced.Requests < 100 || c.Untraced.Requests < 100 || c.Traced.Errors+c.Untraced.Errors > 0 {
			t.Errorf("%s by %s: %d traced, %d untraced, %s", c.Load, c.Way, c.Traced.Requests, c.Untraced.Requests, c.Traced.LastError)
		}
		if c.PerRequest.PacketsIn < 0.99 || c.PerRequest.PacketsOut < 0.99 {
			t.Errorf("%s by %s: a request has %.3f packets in and %.3f out", c.Load, c.Way, c.PerRequest.PacketsIn, c.PerRequest.PacketsOut)
		}
		if c.Ingress == "" || c.Egress == "" {
			t.Errorf("%s by %s: no paths", c.Load, c.Way)
		}
	}
	published := comparison(t, d, "tcp_rr", "published")
	if !published.Distinct || published.Whole.Mean.Ns <= 0 || (published.ExplainedShare == nil) != (published.ExplainedReason != "") {
		t.Errorf("published against host: %s: %+v (%s)", published.Verdict, published.ExplainedShare, published.ExplainedReason)
	}
	// how much is explained depends on who else wants the CPU; that it adds up does not
	if e := published.Explained; e == nil || e.Client == nil || e.Hops == nil || e.NotSeen == nil {
		t.Errorf("explained: %+v", e)
	} else {
		sum := e.Hops.Ns + e.NotSeen.Mean.Ns
		for _, p := range e.Parts {
			sum += p.Mean.Ns
		}
		if math.Abs(sum-e.Client.Ns) > 1 || e.Hops.Lo <= 0 {
			t.Errorf("hops %+v, parts and what is not seen add up to %f, the client waits %+v longer", e.Hops, sum, e.Client)
		}
	}
	if env := d.Environment; env == nil || env.Docker == nil || env.Docker.Version == "" || env.Docker.UserlandProxy == nil || !*env.Docker.UserlandProxy ||
		env.Netfilter.Rules == 0 || env.Sysctls["net.ipv4.ip_forward"] != "1" {
		t.Errorf("environment: %+v", env)
	}
	if after := engineState(ctx, t, e); after != before {
		t.Errorf("the engine has\n%s\nand had\n%s", after, before)
	}
}

func benchDocker(t *testing.T, e *engine.Engine, duration string, more ...string) result.Document {
	t.Helper()
	v := startVethtrace(t, e.Host, append([]string{
		"bench", "--docker", "nginx", "--client", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), e.Client.NS.FD()), "--docker-host", "unix://" + e.Socket,
		"--loads", "tcp_rr,http", "--duration", duration, "-o", "json", "--log-level", "debug",
	}, more...)...)
	d := v.result(t)
	if d.Bench == nil {
		t.Fatalf("not the result of a bench: %+v", d)
	}
	return d
}

// TestBenchDockerIPv6: by IPv6 the containers are on a network of the bench's own;
// where the engine keeps rules for IPv6 its published ports are translated, else
// docker-proxy answers them and the way is left out.
func TestBenchDockerIPv6(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for name, tt := range map[string]struct {
		args []string
		ways string
	}{
		"rules":    {[]string{"--experimental", "--ip6tables"}, "address container host host-local proxy published"},
		"no rules": {nil, "address container host host-local proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngineWith(ctx, t, engine.Config{Wire: lab.WireVeth, IPv6: true, Args: tt.args})
			before := engineState(ctx, t, e)
			d := benchDocker(t, e, "25s", "--family", "6")
			var ways []string
			for _, w := range d.Bench.Ways {
				if !strings.Contains(w.Address, ":") || !strings.Contains(w.Title, "IPv6") {
					t.Errorf("way %s goes to %s: %s", w.Name, w.Address, w.Title)
				}
				ways = append(ways, w.Name)
			}
			slices.Sort(ways)
			if strings.Join(ways, " ") != tt.ways {
				t.Errorf("ways %q, want %s; left out: %q", ways, tt.ways, d.Bench.LeftOut)
			}
			for _, c := range d.Bench.Cells {
				if c.Traced.Requests < 100 || c.Untraced.Requests < 100 || c.Traced.Errors+c.Untraced.Errors > 0 || c.Ingress == "" || c.Egress == "" {
					t.Errorf("%s by %s: %d traced, %d untraced, %s", c.Load, c.Way, c.Traced.Requests, c.Untraced.Requests, c.Traced.LastError)
				}
			}
			for _, c := range d.Comparisons {
				if !strings.HasPrefix(c.Class, "ipv6, ") {
					t.Errorf("%s %s: %s", c.Load, c.Of, c.Class)
				}
			}
			if after := engineState(ctx, t, e); after != before {
				t.Errorf("the engine has\n%s\nand had\n%s", after, before)
			}
		})
	}
}

// TestBenchDockerInterrupted: whenever it is interrupted, in the middle of a request
// to the engine as well as under load, nothing of it stays.
func TestBenchDockerInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	before := engineState(ctx, t, e)
	containers := func() int {
		out, err := e.Docker(ctx, "ps", "-aq")
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.Fields(out))
	}
	const attached = 5
	for moment := 1; moment <= attached; moment++ { // when so many containers are there
		v := startVethtrace(t, e.Host, "bench", "--docker", "nginx", "--docker-host", "unix://"+e.Socket,
			"--loads", "tcp_rr", "--duration", "20s", "-o", "json", "--log-level", "debug")
		there := func() bool { return containers() >= moment }
		if moment == attached {
			there = func() bool { return hasLinks(t, v.cmd.Process.Pid) }
		}
		for deadline := time.Now().Add(30 * time.Second); !there(); {
			if time.Now().After(deadline) {
				t.Fatalf("moment %d does not come: %s", moment, v.messages(t))
			}
		}
		if err := v.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if status := v.wait(t); status != exitFailed || v.out.Len() > 0 {
			t.Errorf("at %d: exit status %d, %d bytes of output: %s", moment, status, v.out.Len(), v.messages(t))
		}
		for range 2 {
			if after := engineState(ctx, t, e); after != before {
				t.Fatalf("at %d: the engine has\n%s\nand had\n%s", moment, after, before)
			}
			time.Sleep(300 * time.Millisecond) // an engine goes on with a request that was given up
		}
	}
}

// hasLinks tells whether a process has attached BPF programs.
func hasLinks(t *testing.T, pid int) bool {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		what, err := os.Readlink(filepath.Join(dir, e.Name()))
		return err == nil && strings.Contains(what, "bpf_link") // else closed meanwhile
	})
}

// TestCompareDocker: two containers of a real engine at the same time.
func TestCompareDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	for _, args := range [][]string{
		{"run", "-d", "-p", "8080:80", "--name", "nginx", "nginx"},
		{"run", "-d", "--network", "host", "--name", "nginx-host-mode", "nginx"},
	} {
		if _, err := e.Docker(ctx, args...); err != nil {
			t.Fatal(err)
		}
	}
	pages := []string{fmt.Sprintf("http://%s:8080/", e.Host.IP4), fmt.Sprintf("http://%s:80/", e.Host.IP4)}
	for _, page := range pages {
		visit(ctx, t, e, page)
	}
	v := startVethtrace(t, e.Host, "compare", "nginx", "nginx-host-mode", "--docker-host", "unix://"+e.Socket, "--duration", "3s", "-o", "json")
	v.await(t, "attached to nginx (bridge), nginx-host-mode (host) in")
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		for _, page := range pages {
			visit(ctx, t, e, page)
		}
	}
	d := v.result(t)
	c := d.Comparisons[0]
	if c.Of != "nginx" || c.Against != "nginx-host-mode" || !c.Distinct || c.Whole.Mean == nil || c.Whole.Mean.Lo <= 0 || !c.Paired {
		t.Fatalf("%s", c.Verdict)
	}
	layers, share := map[string]bool{}, 0.0
	for _, l := range c.Layers {
		layers[l.Layer] = true
		share += l.Share.Share
	}
	for _, want := range []string{"netfilter/prerouting", "netfilter/forward", "netfilter/postrouting", "routing", "bridge", "veth", "softirq", "container"} {
		if !layers[want] {
			t.Errorf("no layer %s among %v", want, layers)
		}
	}
	if share < 0.999999 || share > 1.000001 {
		t.Errorf("shares add up to %f", share)
	}
	for _, r := range c.Rows {
		if r.Hop == "netfilter/forward" && (r.Of == nil || r.Against != nil) {
			t.Errorf("host mode has a FORWARD: %+v", r)
		}
	}
	if d.Environment == nil || d.Environment.Docker == nil || len(d.Sides) != 2 {
		t.Errorf("environment %+v, %d sides", d.Environment, len(d.Sides))
	}
}

// TestCompareEnded: a target that stops meanwhile is compared by what it had, and
// that is said; one that was never asked is named.
func TestCompareEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	docker := dockerOf(ctx, t, e)
	docker("run", "-d", "-p", "8080:80", "--name", "nginx", "nginx")
	docker("run", "-d", "--network", "host", "--name", "nginx-host-mode", "nginx")
	bridge, host := fmt.Sprintf("http://%s:8080/", e.Host.IP4), fmt.Sprintf("http://%s:80/", e.Host.IP4)
	visit(ctx, t, e, bridge)
	visit(ctx, t, e, host)
	idle := startVethtrace(t, e.Host, "compare", "nginx", "nginx-host-mode", "--docker-host", "unix://"+e.Socket, "--duration", "1s")
	if status := idle.wait(t); status != exitFailed || !strings.Contains(idle.messages(t), "nginx and nginx-host-mode had no packets: send the same load to both") {
		t.Errorf("without a load: exit status %d: %s", status, idle.messages(t))
	}
	twice := startVethtrace(t, e.Host, "compare", "nginx", "nginx", "--docker-host", "unix://"+e.Socket, "--duration", "1s")
	if status := twice.wait(t); status != exitUsage || !strings.Contains(twice.messages(t), "the two are one target") {
		t.Errorf("one container twice: exit status %d: %s", status, twice.messages(t))
	}
	v := startVethtrace(t, e.Host, "compare", "nginx", "nginx-host-mode", "--docker-host", "unix://"+e.Socket, "--duration", "0", "-o", "json")
	v.await(t, "attached to nginx (bridge), nginx-host-mode (host) in")
	for range 10 {
		visit(ctx, t, e, bridge)
		visit(ctx, t, e, host)
	}
	docker("stop", "-t", "0", "nginx")
	v.await(t, "target has ended")
	if err := v.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d := v.result(t)
	const said = "nginx ended meanwhile"
	if !strings.HasPrefix(d.Caution, said) || !strings.HasSuffix(d.Answer, d.Caution) || len(d.Comparisons) != 1 {
		t.Errorf("caution %q, answer %q", d.Caution, d.Answer)
	}
}

// engineState is what a bench may leave behind: containers, networks, links.
func engineState(ctx context.Context, t *testing.T, e *engine.Engine) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"ps", "-aq"}, {"network", "ls", "--format", "{{.Name}}"}} {
		out, err := e.Docker(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(out + "\n")
	}
	return b.String()
}

// result waits for the end of a command that writes a result, and reads it.
func (v *running) result(t *testing.T) result.Document {
	t.Helper()
	select {
	case <-v.ended:
	case <-time.After(2 * time.Minute):
		t.Fatalf("vethtrace does not end: %s", v.messages(t))
	}
	if status := v.cmd.ProcessState.ExitCode(); status != exitDone {
		t.Fatalf("exit status %d: %s", status, v.messages(t))
	}
	d, err := result.Decode(&v.out)
	if err != nil {
		t.Fatalf("%v: %s", err, v.messages(t))
	}
	return d
}

func comparison(t *testing.T, d result.Document, load, of string) result.Comparison {
	t.Helper()
	i := slices.IndexFunc(d.Comparisons, func(c result.Comparison) bool { return c.Load == load && c.Of == of })
	if i < 0 {
		t.Fatalf("no comparison of %s under %q among %d", of, load, len(d.Comparisons))
	}
	return d.Comparisons[i]
}

// cmdValidResult checks that a file is one result that follows its schema, and
// is read back: validresult stdout.
func cmdValidResult(ts *testscript.TestScript, _ bool, args []string) {
	compiler := jsonschema.NewCompiler()
	for _, name := range []string{"schema.json", "result-schema.json"} {
		file, err := os.Open(filepath.Join(repository(ts), "docs", name))
		ts.Check(err)
		doc, err := jsonschema.UnmarshalJSON(file)
		file.Close()
		ts.Check(err)
		ts.Check(compiler.AddResource("https://github.com/vethtrace/vethtrace/docs/"+name, doc))
	}
	schema, err := compiler.Compile("https://github.com/vethtrace/vethtrace/docs/result-schema.json")
	ts.Check(err)
	text := ts.ReadFile(args[0])
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	ts.Check(err)
	ts.Check(schema.Validate(value))
	_, err = result.Decode(strings.NewReader(text))
	ts.Check(err)
}
