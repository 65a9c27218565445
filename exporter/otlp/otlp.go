// Package otlp pushes metrics to an OpenTelemetry collector: those of the
// Prometheus registry, native histograms as exponential ones.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// DefaultInterval is how often metrics are pushed.
const DefaultInterval = 30 * time.Second

// pushTime bounds one push: a collector that hangs delays the next one, not the end.
const pushTime = 10 * time.Second

// lastTime bounds the last one: who ends a process waits ten seconds, often, and then kills it.
const lastTime = 5 * time.Second

// Config says what is pushed, and where to. Headers and certificates are those
// of the standard's variables (OTEL_EXPORTER_OTLP_HEADERS, ..._CERTIFICATE).
type Config struct {
	// Endpoint is a URL: http:// or https:// for OTLP over HTTP (its path is
	// /v1/metrics unless given), grpc:// or grpcs:// for gRPC.
	Endpoint string
	Metrics  prometheus.Gatherer
	Interval time.Duration // default DefaultInterval
	Version  string
	Host     string // host.name
}

// EndpointError tells of an endpoint that cannot be one.
type EndpointError struct{ Endpoint string }

// Error implements error.
func (e *EndpointError) Error() string {
	return fmt.Sprintf("push to %q: want a URL such as http://127.0.0.1:4318 or grpc://127.0.0.1:4317", e.Endpoint)
}

// Pusher pushes until it is stopped.
type Pusher struct{ provider *metric.MeterProvider }

// New begins to push each interval.
func New(ctx context.Context, cfg Config) (*Pusher, error) {
	exporter, err := newExporter(ctx, cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	reader := metric.NewPeriodicReader(exporter,
		metric.WithInterval(cfg.Interval), metric.WithTimeout(pushTime),
		metric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(cfg.Metrics))))
	about := resource.NewSchemaless(
		attribute.String("service.name", "vethtrace"),
		attribute.String("service.version", cfg.Version),
		attribute.String("host.name", cfg.Host),
	)
	return &Pusher{metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(about))}, nil
}

// Check tells of an endpoint that cannot be one, by an [EndpointError].
func Check(endpoint string) error {
	_, err := parse(endpoint)
	return err
}

func parse(endpoint string) (*url.URL, error) {
	to, err := url.Parse(endpoint)
	if err != nil || to.Host == "" || !slices.Contains([]string{"http", "https", "grpc", "grpcs"}, to.Scheme) {
		return nil, &EndpointError{endpoint}
	}
	return to, nil
}

func newExporter(ctx context.Context, endpoint string) (metric.Exporter, error) {
	to, err := parse(endpoint)
	if err != nil {
		return nil, err
	}
	var exporter metric.Exporter
	switch to.Scheme {
	case "http", "https":
		if to.Path == "" || to.Path == "/" {
			to.Path = "/v1/metrics"
		}
		exporter, err = otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(to.String()))
	case "grpc":
		exporter, err = otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(to.Host), otlpmetricgrpc.WithInsecure())
	default: // grpcs
		exporter, err = otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(to.Host))
	}
	if err != nil {
		return nil, fmt.Errorf("push to %s: %w", endpoint, err)
	}
	return exporter, nil
}

// Push sends what there is now.
func (p *Pusher) Push(ctx context.Context) error {
	if err := p.provider.ForceFlush(ctx); err != nil {
		return fmt.Errorf("push metrics: %w", err)
	}
	return nil
}

// Stop pushes once more and ends, within five seconds.
func (p *Pusher) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastTime)
	defer cancel()
	err := p.provider.Shutdown(ctx)
	if err != nil && !errors.Is(err, metric.ErrReaderShutdown) {
		return fmt.Errorf("push metrics for the last time: %w", err)
	}
	return nil
}
