// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/lab/engine"
	"github.com/vethtrace/vethtrace/internal/result"
)

// TestBenchDocker: two containers of a real engine, by all ways, and nothing
// of it stays.
func TestBenchDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	before := engineState(ctx, t, e)
	v := startVethtrace(t, e, "bench", "--docker", "nginx", "--client", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), e.Client.NS.FD()), "--docker-host", "unix://"+e.Socket,
		"--loads", "tcp_rr,http", "--duration", "25s", "-o", "json", "--log-level", "debug")
	d := v.result(t)
	if d.Bench == nil || d.Bench.World != "docker" || d.Bench.Image != "nginx" || len(d.Bench.LeftOut) > 0 {
		t.Fatalf("bench: %+v", d.Bench)
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
	if published.ExplainedShare == nil || published.ExplainedShare.Share < 0.5 || !published.Distinct || published.Whole.Mean.Ns <= 0 {
		t.Errorf("published against host: %s: %+v (%s)", published.Verdict, published.ExplainedShare, published.ExplainedReason)
	}
	if env := d.Environment; env == nil || env.Docker == nil || env.Docker.Version == "" || env.Docker.UserlandProxy == nil || !*env.Docker.UserlandProxy ||
		env.Netfilter.Rules == 0 || env.Sysctls["net.ipv4.ip_forward"] != "1" {
		t.Errorf("environment: %+v", env)
	}
	if after := engineState(ctx, t, e); after != before {
		t.Errorf("the engine has\n%s\nand had\n%s", after, before)
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
	case <-time.After(time.Minute):
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
