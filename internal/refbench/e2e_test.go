// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	tracejson "github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

func TestMain(m *testing.M) {
	if err := favour(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lab.MaybeChild()
	loadgen.MaybeChild()
	os.Exit(m.Run())
}

// favour takes the CPU from other tenants of the machine, for clients and servers
// as well: where they wait for it, what a client waits is a multiple of what its
// packets take, and nothing is explained.
func favour() error {
	const mostOfAll = -20
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("favour this test: %w", err)
	}
	for _, task := range tasks { // threads to come inherit it
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return fmt.Errorf("favour this test: %w", err)
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, mostOfAll); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("favour this test: %w", err)
		}
	}
	return nil
}

func reference(t *testing.T) *Reference { return referenceBy(t, false) }

func referenceBy(t *testing.T, six bool) *Reference {
	t.Helper()
	w, err := NewReference(t.Context(), ReferenceConfig{Wire: lab.WireVeth, Six: six, CPU: runtime.NumCPU() - 1})
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

// patience is for a machine that is slow or has other tenants: a run that does
// not end by itself takes longer.
const patience = 30 * time.Second

func run(t *testing.T, cfg Config) result.Document {
	t.Helper()
	cfg.Detail, cfg.Seed, cfg.Version = tracer.DetailHooks, 1, "test"
	begin := time.Now()
	d, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > cfg.Duration+patience {
		t.Errorf("it took %v, and may take %v", took, cfg.Duration)
	}
	return d
}

// Every load by every way: all rounds are there, requests are answered, packets
// are seen, and cells' traces are documents with the bench's rounds.
// Packets that are forwarded wait a while, which host mode's are not: a
// difference that no machine hides, so that its share must be told.
func TestAllWaysAndLoads(t *testing.T) {
	const wait = 50 * time.Microsecond
	w := reference(t)
	injector := forward(t, w)
	if err := injector.Set(wait); err != nil {
		t.Fatal(err)
	}
	var d result.Document
	for _, duration := range []time.Duration{50 * time.Second, 2 * time.Minute} { // the latter where attaching is slow
		shown := 0
		d = run(t, Config{World: w, Duration: duration, Progress: func(p Progress) {
			if shown++; p.Done != shown || p.Done > p.Total {
				t.Errorf("progress %+v is the %d-th", p, shown)
			}
		}})
		if len(d.Bench.Loads) == len(Loads()) {
			break
		}
	}
	if len(d.Bench.Loads) != len(Loads()) || len(d.Bench.Ways) != 7 || len(d.Bench.Cells) != 7*len(Loads()) {
		t.Fatalf("%d loads, %d ways, %d cells; left out: %v", len(d.Bench.Loads), len(d.Bench.Ways), len(d.Bench.Cells), d.Bench.LeftOut)
	}
	for _, c := range d.Bench.Cells {
		checkCell(t, d, c)
	}
	if len(d.Comparisons) != 5*len(Loads()) {
		t.Errorf("%d comparisons", len(d.Comparisons))
	}
	for _, c := range d.Comparisons {
		load, _ := loadNamed(c.Load)
		if (c.ExplainedShare == nil) != (c.ExplainedReason != "") || !load.OnePacket && c.ExplainedShare != nil {
			t.Errorf("%s %s: share %v, reason %q", c.Load, c.Of, c.ExplainedShare, c.ExplainedReason)
		}
		checkInjected(t, d, c, wait)
		checkParts(t, d, c)
	}
	var b bytes.Buffer
	if err := result.Encode(&b, d); err != nil {
		t.Fatal(err)
	}
	if _, err := result.Decode(&b); err != nil {
		t.Error(err)
	}
}

// checkParts wants the socket and the application of request-response, of which
// each request has one, to be told however short rounds are; and docker-proxy. A
// run that was cut may have had too few of the rounds for the first two.
func checkParts(t *testing.T, d result.Document, c result.Comparison) {
	t.Helper()
	load, _ := loadNamed(c.Load)
	if !load.OnePacket {
		return
	}
	behind := 0
	for _, cell := range d.Bench.Cells {
		if cell.Load != c.Load || cell.Way != c.Of {
			continue
		}
		for i := range cell.Traced.Latency.Rounds {
			if (plan{rounds: d.Bench.Rounds}).behind(i) {
				behind++
			}
		}
	}
	var want []string
	if behind >= enoughFilled {
		want = append(want, "socket", "application")
	}
	if c.Of == WayProxy {
		want = append(want, "docker-proxy")
	}
	for _, name := range want {
		if !slices.ContainsFunc(c.Explained.Parts, func(p result.Part) bool { return strings.HasPrefix(p.Name, name) }) {
			t.Errorf("%s %s: no %s among %+v", c.Load, c.Of, name, c.Explained.Parts)
		}
	}
}

func checkCell(t *testing.T, d result.Document, c result.Cell) {
	t.Helper()
	where := c.Load + " by " + c.Way
	if c.Traced.Errors+c.Untraced.Errors > 0 || c.Traced.Requests == 0 || c.Untraced.Requests == 0 {
		t.Errorf("%s: %d and %d requests, %d errors: %s", where, c.Traced.Requests, c.Untraced.Requests, c.Traced.Errors+c.Untraced.Errors, c.Traced.LastError)
	}
	if n := len(c.Traced.Latency.Rounds); n != d.Bench.Rounds && !d.Bench.Cut {
		t.Errorf("%s: %d rounds, want %d", where, n, d.Bench.Rounds)
	}
	if c.PerRequest.PacketsIn < 0.98 || c.PerRequest.PacketsOut < 0.5 {
		t.Errorf("%s: %+v", where, c.PerRequest)
	}
	s, err := tracejson.DecodeLine(c.Trace)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if len(s.Targets) != 1 || !slices.ContainsFunc(s.Targets[0].Paths, func(p tracer.Path) bool { return p.ID == c.Ingress }) {
		t.Errorf("%s: path %q is not in its trace", where, c.Ingress)
	}
}

// A run that is told to end ends, and its world goes.
func TestRunEndsWithItsContext(t *testing.T) {
	w := reference(t)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := Config{World: w, Duration: time.Minute, Detail: tracer.DetailHooks, Progress: func(p Progress) {
		if p.Done == 3 {
			cancel()
		}
	}}
	begin := time.Now()
	if _, err := Run(ctx, cfg); err == nil || time.Since(begin) > patience {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
