// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/vethtrace/vethtrace/exporter/serve"
	"github.com/vethtrace/vethtrace/internal/lab"
)

// What scrapers accept.
const (
	acceptText        = "text/plain; version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text; version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// scraper reads an exporter's metrics from within a namespace.
type scraper struct {
	host   *lab.Node
	client *http.Client
}

func newScraper(t *testing.T, host *lab.Node) *scraper {
	transport := &http.Transport{DialContext: host.Dial, MaxIdleConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &scraper{host: host, client: &http.Client{Transport: transport, Timeout: time.Minute}}
}

// get returns a page's status and text.
func (s *scraper) get(path, accept string) (int, http.Header, []byte, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+serve.DefaultAddress+path, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header.Set("Accept", accept)
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, body, err
}

type families map[string]*dto.MetricFamily

func (s *scraper) scrape(accept string) (families, error) {
	status, header, body, err := s.get("/metrics", accept)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %w: %s", status, err, body)
	}
	decoder := expfmt.NewDecoder(strings.NewReader(string(body)), expfmt.ResponseFormat(header))
	all := families{}
	for {
		var one dto.MetricFamily
		switch err := decoder.Decode(&one); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all[one.GetName()] = &one
	}
}

// must scrapes by protobuf.
func (s *scraper) must(t *testing.T) families {
	t.Helper()
	all, err := s.scrape(acceptProtobuf)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// until scrapes until what is wanted is there.
func (s *scraper) until(t *testing.T, what string, wanted func(families) bool) families {
	t.Helper()
	var last families
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		all, err := s.scrape(acceptProtobuf)
		if err == nil && wanted(all) {
			return all
		}
		last = all
	}
	t.Fatalf("%s: not within a minute; last: targets %v, engine up %v", what, last.sum("vethtrace_targets"), last.sum("vethtrace_engine_up"))
	return nil
}

// with are the metrics of a family that have these labels: name, value, ...
func (f families) with(name string, labels ...string) []*dto.Metric {
	var found []*dto.Metric
	for _, m := range f[name].GetMetric() {
		have := map[string]string{}
		for _, pair := range m.GetLabel() {
			have[pair.GetName()] = pair.GetValue()
		}
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && have[labels[i]] == labels[i+1]
		}
		if fits {
			found = append(found, m)
		}
	}
	return found
}

// sum of counters, gauges and histograms' counts.
func (f families) sum(name string, labels ...string) float64 {
	var sum float64
	for _, m := range f.with(name, labels...) {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return sum
}

// counters are all that must never go back, by name and labels.
func (f families) counters() map[string]float64 {
	all := map[string]float64{}
	for name, family := range f {
		for _, m := range family.GetMetric() {
			key := name
			for _, pair := range m.GetLabel() {
				key += " " + pair.GetName() + "=" + pair.GetValue()
			}
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				all[key] = m.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				all[key] = float64(m.GetHistogram().GetSampleCount())
				for _, b := range m.GetHistogram().GetBucket() {
					all[fmt.Sprintf("%s le=%v", key, b.GetUpperBound())] = float64(b.GetCumulativeCount())
				}
			}
		}
	}
	return all
}

// watchCounters scrapes until its end is called, which tells what has gone back.
func watchCounters(t *testing.T, s *scraper) (end func() (scrapes int)) {
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var scrapes atomic.Int64
	wait.Go(func() {
		before := map[string]float64{}
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			all, err := s.scrape(acceptProtobuf)
			if err != nil {
				t.Error(err)
				return
			}
			scrapes.Add(1)
			now := all.counters()
			for key, value := range now {
				if value < before[key] {
					t.Errorf("%s went from %v to %v", key, before[key], value)
				}
			}
			before = now
		}
	})
	return sync.OnceValue(func() int {
		close(stop)
		wait.Wait()
		return int(scrapes.Load())
	})
}

// hang makes scrapers that do not read, and ones that never finish asking.
func hang(t *testing.T, host *lab.Node, count int) {
	t.Helper()
	for i := range count {
		conn, err := host.Dial(t.Context(), "tcp", serve.DefaultAddress)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(1024) // so that the answer does not fit into the socket
		}
		text := "GET /metrics HTTP/1.1\r\nHost: x\r\n"
		if i%2 == 0 {
			text += "\r\n" // asks, and does not read
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}
