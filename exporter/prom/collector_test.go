package prom

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
)

// fixed is a source that always tells the same.
type fixed struct {
	snapshot tracer.Snapshot
	err      error
}

func (f *fixed) Snapshot() (tracer.Snapshot, error) { return f.snapshot, f.err }

func gather(t *testing.T, c *Collector) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, one := range all {
		byName[one.GetName()] = one
	}
	return byName
}

// pick returns the metric of a family with these labels.
func pick(t *testing.T, of *dto.MetricFamily, labels ...string) *dto.Metric {
	t.Helper()
	for _, m := range of.GetMetric() {
		have := 0
		for _, pair := range m.GetLabel() {
			for i := 0; i < len(labels); i += 2 {
				if pair.GetName() == labels[i] && pair.GetValue() == labels[i+1] {
					have++
				}
			}
		}
		if have == len(labels)/2 {
			return m
		}
	}
	t.Fatalf("%s has nothing with %v", of.GetName(), labels)
	return nil
}

func TestCollectorShowsTheSnapshot(t *testing.T) {
	s := sample.Snapshot()
	all := gather(t, New(Config{Source: &fixed{snapshot: s}}))
	nginx := s.Targets[0]
	var packets, sum uint64
	for _, p := range nginx.Paths {
		if p.Direction == tracer.Ingress && p.Peer == "uplink" && p.Flow == "established" {
			packets, sum = p.Latency.Hist.Count(), p.Latency.Hist.Sum
		}
	}
	got := pick(t, all["vethtrace_path_latency_seconds"],
		"container", "nginx", "direction", "ingress", "peer", "uplink", "flow", "established").GetHistogram()
	if got.GetSampleCount() != packets || !near(got.GetSampleSum(), float64(sum)*1e-9) {
		t.Errorf("%d samples of %v s, want %d of %v", got.GetSampleCount(), got.GetSampleSum(), packets, float64(sum)*1e-9)
	}
	if got.GetSchema() != nativeSchema || len(got.GetBucket()) != classicCount {
		t.Errorf("schema %d and %d classic buckets", got.GetSchema(), len(got.GetBucket()))
	}
	if v := pick(t, all["vethtrace_drops_total"], "hop", "netfilter/forward", "reason", "NETFILTER_DROP").GetCounter().GetValue(); v != 37 {
		t.Errorf("%v drops", v)
	}
	if v := pick(t, all["vethtrace_path_latency_seconds"], "container", "nginx", "peer", "container"); v == nil {
		t.Error("the peer's name is in a label")
	}
	if v := pick(t, all["vethtrace_stamp_cost_seconds"], "type", "netfilter").GetGauge().GetValue(); !near(v, 95e-9) {
		t.Errorf("a stamp costs %v s", v)
	}
	if v := pick(t, all["vethtrace_targets"]).GetGauge().GetValue(); v != 4 {
		t.Errorf("%v targets", v)
	}
}

func near(a, b float64) bool { return a > b*(1-1e-9) && a < b*(1+1e-9) }

func TestMetricsAreNamedByTheConventions(t *testing.T) {
	problems, err := testutil.CollectAndLint(New(Config{
		Source: &fixed{snapshot: sample.Snapshot()}, EngineUp: func() bool { return true }, Journeys: NewJourneys(),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Which provider each hook has, and which hooks are missing.
func TestHooksOfOlderKernels(t *testing.T) {
	s := sample.Snapshot()
	s.Hooks = []tracer.Attachment{{Hook: "port/egress", Provider: tracer.ProviderClsact, Links: 2}}
	s.Missing = []tracer.Missing{{Hook: "recv_length", Why: "no such tracepoint"}}
	all := gather(t, New(Config{Source: &fixed{snapshot: s}}))
	if v := pick(t, all["vethtrace_hook_links"], "hook", "port/egress", "provider", "clsact").GetGauge().GetValue(); v != 2 {
		t.Errorf("%v links", v)
	}
	if v := pick(t, all["vethtrace_hook_missing"], "hook", "recv_length").GetGauge().GetValue(); v != 1 {
		t.Errorf("missing: %v", v)
	}
}

func TestFormsAreWhatWasAskedFor(t *testing.T) {
	for _, form := range []Form{{Native: true}, {Classic: true}} {
		all := gather(t, New(Config{Source: &fixed{snapshot: sample.Snapshot()}, Form: form}))
		h := pick(t, all["vethtrace_hop_latency_seconds"], "container", "nginx", "hop", "bridge").GetHistogram()
		if (len(h.GetPositiveSpan()) > 0) != form.Native || (len(h.GetBucket()) > 0) != form.Classic {
			t.Errorf("%+v: %d spans, %d buckets", form, len(h.GetPositiveSpan()), len(h.GetBucket()))
		}
	}
}

func TestBeyondTheCeilingContainersShareOneName(t *testing.T) {
	s := sample.Snapshot()
	all := gather(t, New(Config{Source: &fixed{snapshot: s}, Ceiling: Ceiling{Containers: 1}}))
	names := map[string]bool{}
	for _, m := range all["vethtrace_journeys_started_total"].GetMetric() {
		for _, pair := range m.GetLabel() {
			if pair.GetName() == "container" {
				names[pair.GetValue()] = true
			}
		}
	}
	if len(names) != 2 || !names["nginx"] || !names[other] {
		t.Errorf("names %v", names)
	}
	var want float64
	for _, target := range s.Targets[1:] {
		want += float64(target.Accounting[tracer.Ingress].Started)
	}
	got := pick(t, all["vethtrace_journeys_started_total"], "container", other, "direction", "ingress").GetCounter().GetValue()
	if got != want {
		t.Errorf("others have started %v, want %v", got, want)
	}
}

func TestFailureOfTheSourceFailsTheScrape(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(Config{Source: &fixed{err: errors.New("closed")}}))
	if _, err := registry.Gather(); err == nil || !strings.Contains(err.Error(), "read what the tracer has seen: closed") {
		t.Errorf("error %v", err)
	}
}

func TestSlowJourneysAreExemplars(t *testing.T) {
	s := sample.Snapshot()
	kept := NewJourneys()
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(Config{Source: &fixed{snapshot: s}, Journeys: kept}))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	get := func(handler http.Handler, path, accept string) string {
		request := httptest.NewRequest(http.MethodGet, path, nil)
		request.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		body, err := io.ReadAll(answer.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	var slow *tracer.Journey
	for i := range s.Journeys {
		if s.Journeys[i].Slow && s.Journeys[i].Outcome == "completed" {
			slow = &s.Journeys[i]
		}
	}
	if slow == nil {
		t.Fatal("the sample has no slow journey")
	}
	id := journeyID(slow.ID)
	text := get(handler, "/metrics", "application/openmetrics-text; version=1.0.0")
	if !strings.Contains(text, `# {journey_id="`+id+`"}`) {
		t.Errorf("no exemplar of %s", id)
	}
	if got := get(kept, "/journeys?id="+id, ""); !strings.Contains(got, `"id": `+id) || strings.Count(got, `"target"`) != 1 {
		t.Errorf("journeys: %s", got)
	}
	if got := get(kept, "/journeys?id=1234567", ""); !strings.Contains(got, `"journeys": []`) {
		t.Errorf("unknown: %s", got)
	}
}

func TestJourneysKeepTheLast(t *testing.T) {
	kept := NewJourneys()
	var s tracer.Snapshot
	for i := range 3 * mostJourneys {
		s.Journeys = append(s.Journeys, tracer.Journey{ID: uint64(i), Slow: i%2 == 0})
	}
	kept.take(s, time.Now(), nil)
	kept.take(s, time.Now(), nil) // told again
	all := kept.list("")
	if len(all) != mostJourneys || all[0].ID != 3*mostJourneys-2 {
		t.Errorf("%d kept, the latest is %d", len(all), all[0].ID)
	}
}

func TestScrapesTakeTurns(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(New(Config{Source: &fixed{snapshot: sample.Snapshot()}}))
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := registry.Gather(); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// What is gathered without a registry is what a registry would give.
func TestGatherIsWhatARegistryGives(t *testing.T) {
	s := sample.Snapshot()
	now := func() time.Time { return s.Start.Add(time.Minute) }
	c := New(Config{Source: &fixed{snapshot: s}, Journeys: NewJourneys(), EngineUp: func() bool { return true }, Now: now})
	var joined Joined
	joined.Add(c)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	text := func(g prometheus.Gatherer) string {
		answer := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(answer, request)
		lines := strings.Split(answer.Body.String(), "\n")
		slices.Sort(lines) // series have no order
		return strings.Join(lines, "\n")
	}
	if own, want := text(&joined), text(registry); own != want || len(own) < 10000 {
		t.Errorf("%d bytes, a registry gives %d", len(own), len(want))
	}
}

// Containers that have had no packet are most of many: they have few series.
func TestIdleContainersHaveFewSeries(t *testing.T) {
	count := func(containers int) (n int) {
		for _, family := range gather(t, New(Config{Source: &fixed{snapshot: fleet(containers, 0)}})) {
			n += len(family.GetMetric())
		}
		return n
	}
	if each := (count(110) - count(10)) / 100; each > 4 {
		t.Errorf("%d series for each", each)
	}
}

func TestWithoutLeavesFamiliesOut(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, name := range []string{"process_cpu_seconds_total", "process_network_receive_bytes_total"} {
		registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: "of a test"}))
	}
	left, err := Without(registry, "process_network_").Gather()
	if err != nil || len(left) != 1 || left[0].GetName() != "process_cpu_seconds_total" {
		t.Errorf("left %v, %v", left, err)
	}
}

// What a budget is and does is told where there is one, and its cost never goes back.
func TestBudgetIsTold(t *testing.T) {
	s := sample.Snapshot()
	source := &fixed{snapshot: s}
	c := New(Config{Source: source})
	value := func(all map[string]*dto.MetricFamily, name string, labels ...string) float64 {
		m := pick(t, all[name], labels...)
		return m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	all := gather(t, c)
	spent := s.Observer.CPUShare * s.Duration.Seconds()
	for _, w := range []struct {
		name  string
		label []string
		want  float64
	}{
		{"vethtrace_budget_ratio", nil, 0.01},
		{"vethtrace_budget_windows_total", nil, 4},
		{"vethtrace_budget_state", []string{"state", "ended"}, 1},
		{"vethtrace_budget_state", []string{"state", "over"}, 0},
		{"vethtrace_attached_seconds_total", nil, s.Observer.Observed.Seconds()},
		{"vethtrace_overhead_seconds_total", nil, spent},
	} {
		if got := value(all, w.name, w.label...); got != w.want {
			t.Errorf("%s %v: %v, want %v", w.name, w.label, got, w.want)
		}
	}
	source.snapshot.Observer.CPUShare /= 2
	source.snapshot.Observer.Budget = nil
	all = gather(t, c)
	if got := value(all, "vethtrace_overhead_seconds_total"); got != spent {
		t.Errorf("the cost has gone from %v to %v", spent, got)
	}
	for name := range all {
		if strings.Contains(name, "budget") {
			t.Errorf("%s without a budget", name)
		}
	}
}
