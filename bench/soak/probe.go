// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/vethtrace/vethtrace/exporter/serve"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// How much more the exporter may hold at the end than after a fifth of the time.
const (
	memoryShare = 1.15
	memoryMore  = 12 << 20 // bytes: what scrapes since the last collection have left
	countMore   = 2        // descriptors and goroutines: a scrape's own
)

// sample is what an exporter holds at one moment.
type sample struct {
	rss, heap             uint64 // bytes
	fds, goroutines       int
	programs, maps, links int // of the kernel, held by a descriptor
	targets               int
	detached              bool // the budget's hooks are not attached
}

// least has of each what is less.
func (s sample) least(o sample) sample {
	return sample{
		rss: min(s.rss, o.rss), heap: min(s.heap, o.heap), fds: min(s.fds, o.fds), goroutines: min(s.goroutines, o.goroutines),
		programs: min(s.programs, o.programs), maps: min(s.maps, o.maps), links: min(s.links, o.links),
		targets: min(s.targets, o.targets), detached: s.detached || o.detached,
	}
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// level tells what has grown since another sample at rest.
func (s sample) level(first sample) error {
	var errs []error
	memory := func(what string, was, is uint64) {
		if float64(is) > memoryShare*float64(was)+memoryMore {
			errs = append(errs, fmt.Errorf("%s grew from %.1f to %.1f MiB", what, mib(was), mib(is)))
		}
	}
	count := func(what string, was, is, more int) {
		if is > was+more {
			errs = append(errs, fmt.Errorf("%s grew from %d to %d", what, was, is))
		}
	}
	memory("resident memory", first.rss, s.rss)
	memory("heap", first.heap, s.heap)
	count("file descriptors", first.fds, s.fds, countMore)
	count("goroutines", first.goroutines, s.goroutines, countMore)
	count("kernel programs", first.programs, s.programs, 0)
	count("kernel maps", first.maps, s.maps, 0)
	count("kernel links", first.links, s.links, 0)
	count("targets", first.targets, s.targets, 0)
	return errors.Join(errs...)
}

// probe looks at an exporter from outside.
type probe struct {
	pid      int
	client   *http.Client
	counters map[string]float64 // as last seen
}

func newProbe(host *lab.Node, pid int) *probe {
	return &probe{
		pid: pid, counters: map[string]float64{},
		client: &http.Client{Transport: &http.Transport{DialContext: host.Dial}, Timeout: 10 * time.Second},
	}
}

// ready waits until the exporter is attached.
func (p *probe) ready(ctx context.Context) error {
	for deadline := time.Now().Add(startupTime); ; pause(ctx, 50*time.Millisecond) {
		response, err := p.client.Get("http://" + serve.DefaultAddress + "/-/ready")
		if err == nil {
			_ = response.Body.Close() // nothing was written
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the exporter is not ready: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// sample scrapes and reads /proc. A counter that has gone back is an error.
func (p *probe) sample() (sample, error) {
	families, err := p.scrape()
	if err != nil {
		return sample{}, fmt.Errorf("scrape: %w", err)
	}
	if err := p.forward(families); err != nil {
		return sample{}, err
	}
	value := func(name string) float64 {
		all := families[name].GetMetric()
		if len(all) != 1 {
			return 0
		}
		return all[0].GetGauge().GetValue()
	}
	s := sample{
		rss: uint64(value("process_resident_memory_bytes")), heap: uint64(value("go_memstats_heap_inuse_bytes")),
		goroutines: int(value("go_goroutines")), targets: int(value("vethtrace_targets")),
	}
	for _, m := range families["vethtrace_budget_state"].GetMetric() {
		s.detached = s.detached || m.GetLabel()[0].GetValue() == string(tracer.BudgetDetached) && m.GetGauge().GetValue() == 1
	}
	return s, p.descriptors(&s)
}

// collected waits for the next two collections of the exporter's garbage: one
// may be under way. Scrapes make garbage, so that they come soon.
func (p *probe) collected(ctx context.Context) error {
	var last float64
	left := 3 // ends to see: that of the one before, to begin with
	for deadline := time.Now().Add(gcLimit); ; pause(ctx, 10*time.Millisecond) {
		families, err := p.scrape()
		if err != nil {
			return fmt.Errorf("scrape: %w", err)
		}
		for _, m := range families["go_memstats_last_gc_time_seconds"].GetMetric() {
			if end := m.GetGauge().GetValue(); end != last {
				last = end
				left--
			}
		}
		switch {
		case left == 0:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(deadline):
			return fmt.Errorf("the exporter has not collected its garbage for %v", gcLimit)
		}
	}
}

func (p *probe) scrape() (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+serve.DefaultAddress+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header))
	families := map[string]*dto.MetricFamily{}
	for {
		var one dto.MetricFamily
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return families, nil
		}
		if err != nil {
			return nil, err
		}
		families[one.GetName()] = &one
	}
}

// forward tells of a counter that has gone back. One that went with its
// container begins anew.
func (p *probe) forward(families map[string]*dto.MetricFamily) error {
	now := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			key := name
			for _, pair := range m.GetLabel() {
				key += "," + pair.GetName() + "=" + pair.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				now[key] = m.GetCounter().GetValue()
			case m.GetHistogram() != nil:
				now[key] = float64(m.GetHistogram().GetSampleCount())
			}
			if now[key] < p.counters[key] {
				return fmt.Errorf("%s went from %v back to %v", key, p.counters[key], now[key])
			}
		}
	}
	p.counters = now
	return nil
}

// descriptors counts what the process holds open.
func (p *probe) descriptors(s *sample) error {
	dir := fmt.Sprintf("/proc/%d/fdinfo", p.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read what the exporter holds: %w", err)
	}
	s.fds = len(entries)
	for _, entry := range entries {
		info, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		switch text := string(info); {
		case has(text, "link_id:"):
			s.links++
		case has(text, "map_id:"):
			s.maps++
		case has(text, "prog_id:"):
			s.programs++
		}
	}
	return nil
}

// has tells whether a line begins so, with a number other than 0 behind it.
func has(fdinfo, name string) bool {
	for line := range strings.Lines(fdinfo) {
		value, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		return err == nil && n != 0
	}
	return false
}
