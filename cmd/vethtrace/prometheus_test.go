// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/exporter/prom"
	"github.com/vethtrace/vethtrace/exporter/serve"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// The width of the buckets that a quantile is interpolated in, and of ours.
const (
	classicWidth = 2.0 + 0.07 // a power of two
	nativeWidth  = 1.0905 * 1.07
	// slowEnough is a time that some journeys take on any machine.
	slowEnough = 2 * time.Microsecond
)

// TestPrometheusAgrees: a real Prometheus server scrapes a tracer of a lab under
// load as text, as OpenMetrics and as protobuf. What it makes of the figures is
// what the tracer itself has.
func TestPrometheusAgrees(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w, err := lab.New(ctx, lab.Config{Names: []string{"nginx"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	tracing := openLab(ctx, t, w)
	address := exposeOn(t, tracing)
	text := asText(t, address)
	classic := startPrometheus(t, map[string]string{"openmetrics": address, "text": text}, "--enable-feature=exemplar-storage")
	native := startPrometheus(t, map[string]string{"protobuf": address}, "--enable-feature=native-histograms,exemplar-storage")

	page := fmt.Sprintf("http://%s:%d/", w.Host.IP4, publishedPort)
	if r, err := w.Client.HTTP(ctx, page, 3000, lab.LoadConfig{KeepAlive: true}); err != nil || r.Done != 3000 {
		t.Fatal(r.Done, r.Last, err)
	}
	s := settled(t, tracing)
	paths, hops := latencies(s.Targets[0])
	for _, server := range []struct {
		*promServer
		job, bucket string
		width       float64
	}{
		{classic, "openmetrics", "_bucket", classicWidth},
		{classic, "text", "_bucket", classicWidth},
		{native, "protobuf", "", nativeWidth},
	} {
		count := `sum(vethtrace_packets_total{outcome="completed",direction="ingress",job="` + server.job + `"})`
		want := float64(s.Targets[0].Accounting[tracer.Ingress].Completed)
		server.await(t, server.job+" has all packets", count, func(got float64) bool { return got == want })
		for selector, h := range paths {
			server.agrees(t, server.job, "vethtrace_path_latency_seconds"+server.bucket, selector, h, server.width)
		}
		for selector, h := range hops {
			server.agrees(t, server.job, "vethtrace_hop_latency_seconds"+server.bucket, selector, h, server.width)
		}
	}
	if got := native.value(t, `histogram_count(vethtrace_path_latency_seconds{direction="ingress",flow="established"})`); got == 0 {
		t.Error("protobuf gives no native histogram")
	}
	checkExemplars(t, address, classic, "openmetrics")
	checkExemplars(t, address, native, "protobuf")
	checkMetrics(t, address)
}

// openLab traces the world's container.
func openLab(ctx context.Context, t *testing.T, w *lab.World) *tracer.Tracer {
	t.Helper()
	c := w.Container("nginx")
	tracing, err := tracer.Open(ctx, tracer.Config{Host: w.Host.NS, NoRounds: true, Slow: slowEnough},
		tracer.TargetSpec{
			Name: "nginx", ID: "aa", Mode: "bridge", PID: c.PID, Netns: c.NS,
			Ports: []tracer.Port{{Container: 80, Protocol: "tcp", Host: netip.AddrPortFrom(netip.IPv4Unspecified(), publishedPort)}},
		})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tracing.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracing
}

// settled waits until nothing moves any more: connections end a little after their last answer.
func settled(t *testing.T, tracing *tracer.Tracer) tracer.Snapshot {
	t.Helper()
	var before tracer.Snapshot
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		s, err := tracing.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if len(before.Targets) > 0 && s.Targets[0].Accounting == before.Targets[0].Accounting {
			return s
		}
		before = s
	}
	t.Fatal("packets go on for a minute after the load")
	return before
}

// exposeOn serves the tracer's metrics on this machine's loopback.
func exposeOn(t *testing.T, tracing *tracer.Tracer) (address string) {
	t.Helper()
	var all prom.Joined
	journeys := prom.NewJourneys()
	all.Add(prom.New(prom.Config{Source: tracing, Journeys: journeys}))
	address = freeAddress(t)
	server, err := serve.New(serve.Config{Addresses: []string{address}, Metrics: all.Handler(slog.New(slog.NewTextHandler(t.Output(), nil))), Journeys: journeys})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return address
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// asText stands before an exporter and asks it for text only, as scrapers of old did.
func asText(t *testing.T, address string) string {
	t.Helper()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
		r.Out.Header.Set("Accept", acceptText)
	}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 30 * time.Second}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

// latencies are the histograms of paths and hops by the labels that select
// them: paths that differ in what is no label are one.
func latencies(target tracer.Target) (paths, hops map[string]*histogram.Histogram) {
	paths, hops = map[string]*histogram.Histogram{}, map[string]*histogram.Histogram{}
	add := func(to map[string]*histogram.Histogram, selector string, h *histogram.Histogram) {
		if to[selector] == nil {
			to[selector] = &histogram.Histogram{}
		}
		to[selector].Merge(h)
	}
	for _, p := range target.Paths {
		add(paths, fmt.Sprintf(`direction="%s",peer="%s",flow="%s"`, p.Direction, p.Peer, p.Flow), &p.Latency.Hist)
		for _, h := range p.Hops {
			add(hops, fmt.Sprintf(`direction="%s",side="%s",hop="%s"`, p.Direction, h.Side, h.Name), &h.Latency.Hist)
		}
	}
	return paths, hops
}

// promServer is a Prometheus of the test.
type promServer struct{ address string }

// startPrometheus starts a real server that scrapes each job's address twice a second.
func startPrometheus(t *testing.T, jobs map[string]string, args ...string) *promServer {
	t.Helper()
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n")
	for job, address := range jobs {
		fmt.Fprintf(&config, "- {job_name: %s, static_configs: [{targets: [%q]}]}\n", job, address)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &promServer{address: freeAddress(t)}
	var log bytes.Buffer
	cmd := exec.Command("prometheus", append([]string{
		"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + p.address,
	}, args...)...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "level=warn") && strings.Contains(line, "component=\"scrape manager\"") {
				t.Errorf("not all is taken: %s", line)
			}
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Get("http://" + p.address + "/-/ready")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return p
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("prometheus is not ready: %v: %s", err, log.String())
		}
	}
}

// value of a query that gives one; NaN where it gives none.
func (p *promServer) value(t *testing.T, query string) float64 {
	t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := stdjson.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", query, err, answer.Error)
	}
	if len(answer.Data.Result) == 0 {
		return math.NaN()
	}
	if len(answer.Data.Result) > 1 {
		t.Fatalf("%s: %d results", query, len(answer.Data.Result))
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("%s: %q", query, text)
	}
	return value
}

func (p *promServer) await(t *testing.T, what, query string, wanted func(float64) bool) {
	t.Helper()
	var got float64
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = p.value(t, query); wanted(got) {
			return
		}
	}
	t.Fatalf("%s: not within a minute: %s is %v", what, query, got)
}

// agrees compares quantiles: the server knows only in which bucket a value lies.
func (p *promServer) agrees(t *testing.T, job, metric, selector string, h *histogram.Histogram, width float64) {
	t.Helper()
	for _, q := range []float64{0.5, 0.99} {
		own, ok := h.Quantile(q)
		if !ok {
			continue
		}
		by := ""
		if strings.HasSuffix(metric, "_bucket") {
			by = " by (le)"
		}
		got := 1e9 * p.value(t, fmt.Sprintf(`histogram_quantile(%v, sum%s (%s{job="%s",%s}))`, q, by, metric, job, selector))
		// below the first classic bound there is one bucket, beyond the last one none
		if low := by != "" && own < 64 && got <= 64; low {
			continue
		}
		if math.IsNaN(got) || got > own*width || got < own/width {
			t.Errorf("%s: %s{%s}: p%v is %.0f ns, the tracer has %.0f of %d", job, metric, selector, 100*q, got, own, h.Count())
		}
	}
}

// checkMetrics is promtool's opinion on names, types and help.
func checkMetrics(t *testing.T, address string) {
	t.Helper()
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = response.Body
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v: %s", err, out)
	}
}
