// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

func TestLevelTellsWhatGrew(t *testing.T) {
	first := sample{rss: 60 << 20, heap: 20 << 20, fds: 100, goroutines: 20, programs: 30, maps: 20, links: 60, targets: 1}
	if err := first.level(first); err != nil {
		t.Errorf("the same: %v", err)
	}
	for want, grow := range map[string]func(*sample){
		"resident memory":  func(s *sample) { s.rss *= 2 },
		"heap":             func(s *sample) { s.heap *= 3 },
		"file descriptors": func(s *sample) { s.fds += 3 },
		"goroutines":       func(s *sample) { s.goroutines += 3 },
		"kernel programs":  func(s *sample) { s.programs++ },
		"kernel maps":      func(s *sample) { s.maps++ },
		"kernel links":     func(s *sample) { s.links++ },
		"targets":          func(s *sample) { s.targets++ },
	} {
		last := first
		grow(&last)
		if err := last.level(first); err == nil || !strings.HasPrefix(err.Error(), want+" grew from ") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestLeastIsOfEachAlone(t *testing.T) {
	a := sample{rss: 1, heap: 9, fds: 85, goroutines: 20, programs: 20, maps: 14, links: 2, targets: 1, detached: true}
	b := sample{rss: 5, heap: 2, fds: 118, goroutines: 19, programs: 21, maps: 14, links: 35, targets: 1}
	want := sample{rss: 1, heap: 2, fds: 85, goroutines: 19, programs: 20, maps: 14, links: 2, targets: 1, detached: true}
	if got := a.least(b); got != want || b.least(a) != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestForwardTellsOfACounterThatGoesBack(t *testing.T) {
	p := &probe{counters: map[string]float64{}}
	scrape := func(value float64) map[string]*dto.MetricFamily {
		return map[string]*dto.MetricFamily{"packets": {Metric: []*dto.Metric{{Counter: &dto.Counter{Value: proto.Float64(value)}}}}}
	}
	for _, value := range []float64{1, 1, 5} {
		if err := p.forward(scrape(value)); err != nil {
			t.Error(err)
		}
	}
	if err := p.forward(nil); err != nil { // its container has gone
		t.Error(err)
	}
	if err := p.forward(scrape(3)); err != nil { // and begins anew
		t.Error(err)
	}
	if err := p.forward(scrape(2)); err == nil {
		t.Error("2 after 3 is no error")
	}
}

func TestDescriptorsOfThisProcess(t *testing.T) {
	p := &probe{pid: os.Getpid()}
	var s sample
	if err := p.descriptors(&s); err != nil || s.fds < 3 || s.links != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if !has("pos:\t0\nlink_id:\t7\n", "link_id:") || has("link_id:\t0\n", "link_id:") || has("prog_id:\t7\n", "link_id:") {
		t.Error("has")
	}
}
