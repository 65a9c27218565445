package prom

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
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
		{"text", "text/plain; version=0.0.4", Form{Classic: true}},
		{"openmetrics", "application/openmetrics-text; version=1.0.0", Form{Classic: true}},
		{"protobuf-native", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", Form{Native: true}},
		{"protobuf-both", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", Form{Native: true, Classic: true}},
	} {
		b.Run(form.name, func(b *testing.B) {
			collector := New(Config{Source: &fixed{snapshot: fleet(benchContainers, benchBusy)}, Form: form.form})
			handler := promhttp.HandlerFor(collector, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true})
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
