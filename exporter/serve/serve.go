// Package serve answers scrapers: metrics, health, slow journeys and a landing
// page, with TLS and authentication as the exporter toolkit has them.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// DefaultAddress is where an exporter listens: for this machine only.
const DefaultAddress = "127.0.0.1:19787"

// Bounds of what a client may take: one that is slow or hangs holds nothing.
const (
	headerTime   = 5 * time.Second
	readTime     = 10 * time.Second
	writeTime    = 30 * time.Second
	idleTime     = 2 * time.Minute
	maxHeader    = 64 << 10
	shutdownTime = 5 * time.Second
	// mostAnswers are under way at a time: one of a thousand containers takes
	// megabytes, which a client that does not read holds until writeTime is over.
	mostAnswers = 128
)

// The paths beside that of the metrics.
const (
	healthyPath  = "/-/healthy"
	readyPath    = "/-/ready"
	journeysPath = "/journeys"
)

// Config says what is served, and where.
type Config struct {
	Addresses     []string // host:port; default DefaultAddress
	ConfigFile    string   // of the exporter toolkit: TLS and users; "": plain
	Insecure      bool     // addresses of other machines are allowed without ConfigFile
	TelemetryPath string   // default /metrics
	Version       string
	Metrics       http.Handler
	Journeys      http.Handler // nil: none
	Ready         func() bool  // attached
	Log           *slog.Logger
}

// PublicError tells of an address that other machines reach, without TLS or users.
type PublicError struct{ Address string }

// Error implements error.
func (e *PublicError) Error() string {
	return fmt.Sprintf("listen on %s: other machines reach that address, and nothing asks who they are", e.Address)
}

// Server is one that has been checked and not started.
type Server struct {
	cfg  Config
	http *http.Server
}

// New checks where to listen and makes the pages. Its errors are those of
// addresses (among them a [PublicError]), of the path, and of the file.
func New(cfg Config) (*Server, error) {
	if len(cfg.Addresses) == 0 {
		cfg.Addresses = []string{DefaultAddress}
	}
	if cfg.TelemetryPath == "" {
		cfg.TelemetryPath = "/metrics"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	guarded, err := guards(cfg.ConfigFile)
	if err != nil {
		return nil, err
	}
	for _, address := range cfg.Addresses {
		if err := check(address, guarded || cfg.Insecure); err != nil {
			return nil, err
		}
	}
	pages, err := pages(cfg)
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, http: &http.Server{
		Handler: pages, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}}, nil
}

// guards tells whether a file of the exporter toolkit has TLS or users: an empty
// one is valid, and keeps nobody out.
func guards(file string) (bool, error) {
	if file == "" {
		return false, nil
	}
	if err := web.Validate(file); err != nil {
		return false, fmt.Errorf("read %s: %w", file, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", file, err)
	}
	var has struct {
		TLS   map[string]any `yaml:"tls_server_config"`
		Users map[string]any `yaml:"basic_auth_users"`
	}
	if err := yaml.Unmarshal(text, &has); err != nil {
		return false, fmt.Errorf("read %s: %w", file, err)
	}
	return len(has.TLS)+len(has.Users) > 0, nil
}

// check reads an address; one that other machines reach needs leave.
func check(address string, public bool) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("listen on %q: want HOST:PORT: %w", address, err)
	}
	if public || host == "localhost" {
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return nil
	}
	return &PublicError{Address: address}
}

func pages(cfg Config) (http.Handler, error) {
	taken := []string{"/", healthyPath, readyPath, journeysPath}
	if slices.Contains(taken, cfg.TelemetryPath) || !plainPath(cfg.TelemetryPath) {
		return nil, fmt.Errorf("serve metrics under %q: want a path such as /metrics that is not %s", cfg.TelemetryPath,
			strings.Join(taken, ", "))
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+cfg.TelemetryPath, atMost(mostAnswers, cfg.Metrics))
	mux.HandleFunc("GET "+healthyPath, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "healthy") })
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) {
		if cfg.Ready != nil && !cfg.Ready() {
			answer(w, http.StatusServiceUnavailable, "not attached")
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	links := []web.LandingLinks{
		{Address: cfg.TelemetryPath, Text: "Metrics"},
		{Address: healthyPath, Text: "Healthy"},
		{Address: readyPath, Text: "Ready", Description: "once everything is attached"},
	}
	if cfg.Journeys != nil {
		mux.Handle("GET "+journeysPath, cfg.Journeys)
		links = append(links, web.LandingLinks{Address: journeysPath, Text: "Slow journeys", Description: "the last 256, stamp by stamp"})
	}
	landing, err := web.NewLandingPage(web.LandingConfig{
		Name: "vethtrace", Description: "Per-hop latency of containers' packets", Version: cfg.Version, Links: links,
		Profiling: "false",
	})
	if err != nil {
		return nil, fmt.Errorf("make the landing page: %w", err)
	}
	mux.Handle("GET /{$}", landing)
	return mux, nil
}

// plainPath tells whether a path is one that a client asks for just so: the
// router takes { for a pattern, and sends who asks for a path that is not clean to another one.
func plainPath(text string) bool {
	const more = "/-._~" // besides letters and digits
	return strings.HasPrefix(text, "/") && path.Clean(text) == text && !strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(more, c)
	})
}

// atMost refuses what is asked while so many answers are under way.
func atMost(most int, of http.Handler) http.Handler {
	free := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case free <- struct{}{}:
			defer func() { <-free }()
			of.ServeHTTP(w, r)
		default:
			answer(w, http.StatusServiceUnavailable, fmt.Sprintf("%d answers are under way already: try again later", most))
		}
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// Run serves until ctx ends; then requests under way have five seconds.
func (s *Server) Run(ctx context.Context) error {
	socket := false
	flags := &web.FlagConfig{
		WebListenAddresses: &s.cfg.Addresses, WebSystemdSocket: &socket, WebConfigFile: &s.cfg.ConfigFile,
	}
	served := make(chan error, 1)
	go func() { served <- web.ListenAndServe(s.http, flags, s.cfg.Log) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := s.http.Shutdown(ending)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // a scraper that hangs does not keep us
	}
	<-served //nolint:errcheck // that it was told to end
	if err != nil {
		return fmt.Errorf("stop serving metrics: %w", err)
	}
	return nil
}
