package otlp

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/exporter/prom"
	"github.com/vethtrace/vethtrace/tracer"
)

// source is the sample as a tracer.
type source struct{ of tracer.Snapshot }

func (s source) Snapshot() (tracer.Snapshot, error) { return s.of, nil }

// sink is a collector that keeps what it gets.
type sink struct {
	mu   sync.Mutex
	last *collector.ExportMetricsServiceRequest
	n    int
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	data, err := io.ReadAll(body)
	request := &collector.ExportMetricsServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(data, request)
	}
	if err != nil || r.URL.Path != "/v1/metrics" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = request
	s.n++
}

func (s *sink) metric(t *testing.T, name string) *metrics.Metric {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.last.GetResourceMetrics() {
		for _, scope := range of.GetScopeMetrics() {
			for _, one := range scope.GetMetrics() {
				if one.GetName() == name {
					return one
				}
			}
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func pusher(t *testing.T, to string) *Pusher {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.New(prom.Config{Source: source{sample.Snapshot()}, Form: prom.Form{Native: true}}))
	p, err := New(t.Context(), Config{Endpoint: to, Metrics: registry, Interval: time.Hour, Version: "1.2.3", Host: "here"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLatenciesArriveAsExponentialHistograms(t *testing.T) {
	s := &sink{}
	server := httptest.NewServer(s)
	defer server.Close()
	p := pusher(t, server.URL)
	if err := p.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	points := s.metric(t, "vethtrace_path_latency_seconds").GetExponentialHistogram().GetDataPoints()
	if len(points) == 0 {
		t.Fatal("no exponential histogram")
	}
	var want tracer.Path
	for _, path := range sample.Snapshot().Targets[0].Paths {
		if path.Direction == tracer.Ingress && path.Peer == "uplink" && path.Flow == "established" {
			want = path
		}
	}
	for _, point := range points {
		labels := map[string]string{}
		for _, a := range point.GetAttributes() {
			labels[a.GetKey()] = a.GetValue().GetStringValue()
		}
		if labels["container"] != "nginx" || labels["direction"] != "ingress" || labels["peer"] != "uplink" || labels["flow"] != "established" {
			continue
		}
		if point.GetCount() != want.Packets || math.Abs(point.GetSum()/(float64(want.Latency.Hist.Sum)*1e-9)-1) > 1e-9 {
			t.Errorf("%d of %v s, want %d", point.GetCount(), point.GetSum(), want.Packets)
		}
		p50, _ := want.Latency.Hist.Quantile(0.5)
		if got := median(point); math.Abs(got/(p50*1e-9)-1) > 0.12 {
			t.Errorf("median %v s, want %v within a bucket", got, p50*1e-9)
		}
		return
	}
	t.Error("the path is not there")
}

// median of an exponential histogram: the upper bound of the bucket that holds it.
func median(p *metrics.ExponentialHistogramDataPoint) float64 {
	base := math.Exp2(math.Exp2(-float64(p.GetScale())))
	seen := p.GetZeroCount()
	for i, n := range p.GetPositive().GetBucketCounts() {
		if seen += n; seen*2 >= p.GetCount() {
			return math.Pow(base, float64(int(p.GetPositive().GetOffset())+i)+1)
		}
	}
	return math.Inf(1)
}

func TestStopPushesOnceMore(t *testing.T) {
	s := &sink{}
	server := httptest.NewServer(s)
	defer server.Close()
	if err := pusher(t, server.URL).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.n != 1 {
		t.Errorf("%d pushes", s.n)
	}
	if v := s.metric(t, "vethtrace_drops_total").GetSum().GetDataPoints(); len(v) == 0 {
		t.Error("no drops")
	}
}

// remote is a collector that is asked by gRPC.
type remote struct {
	collector.UnimplementedMetricsServiceServer
	sink
}

// Export implements the service.
func (r *remote) Export(_ context.Context, request *collector.ExportMetricsServiceRequest) (*collector.ExportMetricsServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = request
	r.n++
	return &collector.ExportMetricsServiceResponse{}, nil
}

func TestPushByGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, server := &remote{}, grpc.NewServer()
	collector.RegisterMetricsServiceServer(server, r)
	go server.Serve(listener)
	defer server.Stop()
	if err := pusher(t, "grpc://"+listener.Addr().String()).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if points := r.metric(t, "vethtrace_hop_latency_seconds").GetExponentialHistogram().GetDataPoints(); r.n != 1 || len(points) == 0 {
		t.Errorf("%d pushes, %d histograms", r.n, len(points))
	}
}

func TestCollectorThatHangsDoesNotKeepTheEnd(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer close(hold)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := pusher(t, server.URL).Stop(ctx); err == nil {
		t.Error("no error")
	}
	if took := time.Since(begin); took >= pushTime {
		t.Errorf("took %v, as if nobody had told it to end sooner", took)
	}
}

func TestWrongEndpoints(t *testing.T) {
	for _, endpoint := range []string{"", "127.0.0.1:4318", "ftp://x:1", "http://", "::"} {
		_, err := New(t.Context(), Config{Endpoint: endpoint, Metrics: prometheus.NewRegistry()})
		var wrong *EndpointError
		if !errors.As(err, &wrong) || !errors.As(Check(endpoint), &wrong) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
