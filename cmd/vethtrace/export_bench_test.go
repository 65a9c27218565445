// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/exporter/prom"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// The goal: a scrape of so many containers, of which so many are busy, takes at
// most 50 ms of CPU.
const (
	benchContainers = 1000
	benchBusy       = 100
	scrapeGoal      = 50 * time.Millisecond
	// of such a budget the hooks are attached all the time, and yet devices' totals are read
	benchBudget = 0.9
)

// BenchmarkScrape is a whole scrape, the tracer's part and all, of a thousand
// traced containers of which a hundred have had packets both ways since the last
// one, with a budget as the exporter has it; snapshot is the tracer's part alone.
// The time is the process's own.
func BenchmarkScrape(b *testing.B) {
	w, err := lab.New(b.Context(), lab.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	}()
	crowd, err := w.AddCrowd(b.Context(), "c", benchContainers)
	if err != nil {
		b.Fatal(err)
	}
	specs := make([]tracer.TargetSpec, 0, len(crowd))
	for _, c := range crowd {
		specs = append(specs, tracer.TargetSpec{Name: c.Name, ID: c.Name, Mode: "bridge", Netns: c.NS})
	}
	t, err := tracer.Open(b.Context(), tracer.Config{Host: w.Host.NS, NoRounds: true, Interval: readPause, MaxOverhead: benchBudget}, specs...)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := t.Close(); err != nil {
			b.Error(err)
		}
	}()
	busy := func() {
		for _, c := range crowd[:benchBusy] {
			talk(b, w, c)
		}
	}
	b.Run("snapshot", func(b *testing.B) {
		measure(b, busy, func() {
			if _, err := t.Snapshot(); err != nil {
				b.Fatal(err)
			}
		})
	})
	for _, form := range []struct {
		name, accept string
		form         prom.Form
	}{
		{"text", acceptText, prom.Form{Classic: true}},
		{"openmetrics", acceptOpenMetrics, prom.Form{Classic: true}},
		{"protobuf", acceptProtobuf, prom.Form{Native: true, Classic: true}},
	} {
		b.Run(form.name, func(b *testing.B) {
			collector := prom.New(prom.Config{Source: t, Form: form.form})
			all := &prom.Joined{}
			all.Add(collector)
			handler := all.Handler(slog.New(slog.DiscardHandler))
			size := 0
			measure(b, busy, func() {
				request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				request.Header.Set("Accept", form.accept)
				answer := &discarding{header: http.Header{}}
				handler.ServeHTTP(answer, request)
				if size = answer.size; size < 1<<20 {
					b.Fatalf("only %d bytes", size)
				}
			})
			b.ReportMetric(float64(size)/1000, "kB/op")
		})
	}
}

// talk sends a container packets that it answers (port unreachable, by ICMP).
func talk(b *testing.B, w *lab.World, c *lab.Container) {
	b.Helper()
	conn, err := w.Host.Dial(b.Context(), "udp", fmt.Sprintf("%s:9", c.IP4))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for range 3 {
		_, _ = conn.Write([]byte("x")) // refused, which is the answer
	}
}

// measure reports the CPU time of one, before each of which before runs, and holds it to the goal.
func measure(b *testing.B, before, one func()) {
	b.Helper()
	before()
	one() // the first one makes what later ones keep
	var took time.Duration
	for b.Loop() {
		before()
		begin := cpuTime(b)
		one()
		took += cpuTime(b) - begin
	}
	took /= time.Duration(b.N)
	b.ReportMetric(float64(took.Microseconds())/1000, "cpu-ms/op")
	if took > scrapeGoal && b.N > 1 {
		b.Errorf("takes %v of CPU, the goal is %v", took, scrapeGoal)
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// discarding takes an answer as a socket would: without keeping it.
type discarding struct {
	header http.Header
	size   int
}

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) WriteHeader(int)             {}
func (d *discarding) Write(p []byte) (int, error) { d.size += len(p); return len(p), nil }
