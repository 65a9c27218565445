package prom

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
)

// The fleet of the goal: a scrape of it takes at most 50 ms of CPU.
const (
	benchContainers = 1000
	benchBusy       = 100
	scrapeGoal      = 50 * time.Millisecond
)

// fleet is a snapshot of many containers, some of them as busy as the sample's nginx.
func fleet(containers, busy int) tracer.Snapshot {
	s := sample.Snapshot()
	nginx := s.Targets[0]
	s.Targets = nil
	for i := range containers {
		t := tracer.Target{Name: fmt.Sprintf("c%d", i), ID: fmt.Sprintf("%064x", i), Mode: "bridge", PID: 1000 + i, Netns: uint64(i)}
		if i < busy {
			name, id := t.Name, t.ID
			t = nginx
			t.Name, t.ID, t.PID = name, id, 1000+i
			t.Paths = slices.Clone(t.Paths)
			for j := range t.Paths {
				t.Paths[j].Hops = slices.Clone(t.Paths[j].Hops)
			}
		}
		s.Targets = append(s.Targets, t)
	}
	return s
}

// BenchmarkScrape is a scrape of a thousand containers of which a hundred are
// busy, all of it but what the tracer itself does. cpu-ms/op is the process's own time.
func BenchmarkScrape(b *testing.B) {
	for _, form := range []struct {
		name, accept string
		form         Form
	}{
		{"text", acceptText, Form{Classic: true}},
		{"openmetrics", acceptOpenMetrics, Form{Classic: true}},
		{"protobuf-native", acceptProtobuf, Form{Native: true}},
		{"protobuf-both", acceptProtobuf, Form{Native: true, Classic: true}},
	} {
		b.Run(form.name, func(b *testing.B) {
			collector := New(Config{Source: &busy{snapshot: fleet(benchContainers, benchBusy)}, Form: form.form})
			all := &Joined{}
			all.Add(collector)
			handler := all.Handler(slog.New(slog.DiscardHandler))
			b.ReportAllocs()
			begin, size := cpu(b), 0
			for b.Loop() {
				request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				request.Header.Set("Accept", form.accept)
				answer := &counting{header: http.Header{}}
				handler.ServeHTTP(answer, request)
				if size = answer.size; size < 1<<20 {
					b.Fatalf("only %d bytes", size)
				}
			}
			took := (cpu(b) - begin) / time.Duration(b.N)
			b.ReportMetric(float64(took.Microseconds())/1000, "cpu-ms/op")
			b.ReportMetric(float64(size)/1000, "kB/op")
			if took > scrapeGoal && b.N > 1 {
				b.Errorf("a scrape takes %v of CPU, the goal is %v", took, scrapeGoal)
			}
		})
	}
}

// busy is a source whose containers have had a packet on each hop since the last time.
type busy struct{ snapshot tracer.Snapshot }

func (b *busy) Snapshot() (tracer.Snapshot, error) {
	for i := range b.snapshot.Targets {
		for j := range b.snapshot.Targets[i].Paths {
			path := &b.snapshot.Targets[i].Paths[j]
			path.Latency.Hist.Add(20_000)
			for k := range path.Hops {
				path.Hops[k].Latency.Hist.Add(1000)
			}
		}
	}
	return b.snapshot, nil
}

// counting takes an answer as a socket would: without keeping it.
type counting struct {
	header http.Header
	size   int
}

func (c *counting) Header() http.Header         { return c.header }
func (c *counting) WriteHeader(int)             {}
func (c *counting) Write(p []byte) (int, error) { c.size += len(p); return len(p), nil }

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
