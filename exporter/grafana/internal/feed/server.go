package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/exporter/prom"
)

// Config says what a server does.
type Config struct {
	Dir    string // for its files; somebody else removes it
	Native bool   // keep native histograms, else classic ones
	Rules  string // text of a rule file; may be empty
	Source prom.Source
}

// Server is a Prometheus on loopback and the exporter that it scrapes every second.
type Server struct {
	URL string

	cmd      *exec.Cmd
	log      bytes.Buffer
	exporter *http.Server
}

// Start starts a server and waits until it is ready; Close ends it.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{}
	up, err := s.export(cfg.Source)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx, cfg, up); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) export(source prom.Source) (address string, err error) {
	var all prom.Joined
	all.Add(Collector(source))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for scrapes: %w", err)
	}
	s.exporter = &http.Server{Handler: all.Handler(slog.New(slog.DiscardHandler)), ReadHeaderTimeout: 30 * time.Second}
	go func() { _ = s.exporter.Serve(listener) }() // it ends when it is closed
	return listener.Addr().String(), nil
}

// Collector is one that has all metrics.
func Collector(source prom.Source) *prom.Collector {
	return prom.New(prom.Config{Source: source, EngineUp: func() bool { return true }})
}

func (s *Server) start(ctx context.Context, cfg Config, up string) error {
	address, err := free()
	if err != nil {
		return err
	}
	down, err := free() // nobody listens there: an exporter that is down
	if err != nil {
		return err
	}
	text := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"+
		"rule_files: [rules.yml]\nscrape_configs:\n- {job_name: vethtrace, static_configs: [{targets: [%q, %q]}]}\n", up, down)
	file := filepath.Join(cfg.Dir, "prometheus.yml")
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600),
		os.WriteFile(filepath.Join(cfg.Dir, "rules.yml"), []byte(cfg.Rules), 0o600)); err != nil {
		return fmt.Errorf("configure prometheus: %w", err)
	}
	args := []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(cfg.Dir, "data"), "--web.listen-address=" + address}
	if cfg.Native {
		args = append(args, "--enable-feature=native-histograms")
	}
	s.cmd = exec.CommandContext(ctx, "prometheus", args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start prometheus: %w", err)
	}
	s.URL = "http://" + address
	return s.ready(ctx)
}

func (s *Server) ready(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/-/ready", nil)
		if err != nil {
			return fmt.Errorf("ask whether prometheus is ready: %w", err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("prometheus is not ready within 30 s")
}

func free() (address string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// Close ends the server and the exporter.
func (s *Server) Close() error {
	if s.cmd != nil {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err == nil {
			_ = s.cmd.Wait() // says only that it was ended
		}
		s.cmd = nil
	}
	return s.exporter.Close()
}

// Log is what the server has said; to be read after Close.
func (s *Server) Log() string { return s.log.String() }

// Line is a series of an answer. Values of native histograms are their counts.
type Line struct {
	Labels map[string]string
	Times  []float64 // s
	Values []float64
	Bars   []map[float64]float64 // native histograms: count by upper bound
}

// Query asks for a range; with from equal to to for one moment.
func (s *Server) Query(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Line, error) {
	at := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1e3, 'f', 3, 64) }
	form := url.Values{"query": {expr}, "start": {at(from)}, "end": {at(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/query_range?"+form.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric     map[string]string
				Values     [][2]any
				Histograms [][2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("query %s: %w", expr, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("query %s: %s", expr, answer.Error)
	}
	var lines []Line
	for _, r := range answer.Data.Result {
		l := Line{Labels: r.Metric}
		for _, v := range r.Values {
			l.add(v[0], number(v[1]))
		}
		for _, v := range r.Histograms {
			h, _ := v[1].(map[string]any)
			l.add(v[0], number(h["count"]))
			l.Bars = append(l.Bars, bars(h["buckets"]))
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func (l *Line) add(at any, value float64) {
	t, _ := at.(float64)
	l.Times, l.Values = append(l.Times, t), append(l.Values, value)
}

// bars reads buckets: boundary rule, lower, upper, count.
func bars(buckets any) map[float64]float64 {
	all := map[float64]float64{}
	list, _ := buckets.([]any)
	for _, one := range list {
		if b, ok := one.([]any); ok && len(b) == 4 {
			all[number(b[2])] += number(b[3])
		}
	}
	return all
}

// number reads one that the API has put into a string; 0 for what is none.
func number(v any) float64 {
	text, _ := v.(string)
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return n
}
