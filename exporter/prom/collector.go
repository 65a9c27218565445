package prom

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/vethtrace/vethtrace/tracer"
)

// Source gives what the tracer has seen since it was opened.
type Source interface {
	Snapshot() (tracer.Snapshot, error)
}

// Info is what an engine knows of a target.
type Info struct {
	Image          string
	ComposeProject string
	ComposeService string
	Networks       []string
}

// Config says what to expose. Source is needed; the zero value of all else does.
type Config struct {
	Source Source
	Form   Form // default: both
	// Describe tells what the engine knows of a target; nil: nothing is known.
	Describe func(id string) Info
	// EngineUp tells whether the engine answers; nil: there is none, and no metric of it.
	EngineUp func() bool
	Grace    time.Duration // how long the series of a container stay after its end; default 5 min
	Ceiling  Ceiling
	Journeys *Journeys // where slow journeys are kept for /journeys and exemplars; nil: nowhere
	Now      func() time.Time
	Log      *slog.Logger
}

// Ceiling bounds the values of labels; those that come later share "other".
type Ceiling struct {
	Containers int // default 1000
	Hops       int // default 200, over all containers
	Reasons    int // default 100: of drops and skips
}

// Collector exposes what a tracer has seen, as a prometheus.Collector and, for
// many containers, as a prometheus.Gatherer: a registry would check and sort
// each series at each scrape. Safe for concurrent use: scrapes take turns.
type Collector struct {
	cfg      Config
	layout   *layout
	families [families]*definition
	gauges   gauges
	pages    sync.Pool // of *page: answers of megabytes, again and again

	mu       sync.Mutex
	ledger   *ledger
	spans    spans
	overhead float64 // s, the most that was told
	hops     *bound
	reasons  *bound
}

// New makes a collector.
func New(cfg Config) *Collector {
	if cfg.Form == (Form{}) {
		cfg.Form = Form{Native: true, Classic: true}
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 5 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Ceiling = cfg.Ceiling.withDefaults()
	c := &Collector{
		cfg: cfg, layout: newLayout(cfg.Form), families: definitions(), gauges: newGauges(), ledger: newLedger(cfg.Grace),
		spans: spans{known: map[lifeID]*span{}, names: newBound(cfg.Ceiling.Containers)}, hops: newBound(cfg.Ceiling.Hops), reasons: newBound(cfg.Ceiling.Reasons),
	}
	for i, d := range c.definitions() {
		d.index = i
	}
	return c
}

func (c Ceiling) withDefaults() Ceiling {
	if c.Containers <= 0 {
		c.Containers = 1000
	}
	if c.Hops <= 0 {
		c.Hops = 200
	}
	if c.Reasons <= 0 {
		c.Reasons = 100
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.definitions() {
		ch <- d.desc
	}
}

func (c *Collector) definitions() []*definition {
	return append(c.families[:len(c.families):len(c.families)], c.gauges.all()...)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	err := c.collect(func(r *row) { ch <- ready{desc: r.of.desc, metric: c.layout.metric(r)} })
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.gauges.scrapeTime.desc, err)
	}
}

// Gather implements prometheus.Gatherer. Its errors are the tracer's.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	byDefinition := map[*definition]*dto.MetricFamily{}
	err := c.collect(func(r *row) {
		of := byDefinition[r.of]
		if of == nil {
			of = &dto.MetricFamily{Name: &r.of.name, Help: &r.of.help, Type: r.of.kind.Enum()}
			byDefinition[r.of] = of
		}
		of.Metric = append(of.Metric, c.layout.metric(r))
	})
	return slices.SortedFunc(maps.Values(byDefinition), func(a, b *dto.MetricFamily) int {
		return strings.Compare(a.GetName(), b.GetName())
	}), err
}

func (c *Collector) collect(to emit) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := c.cfg.Now()
	s, err := c.cfg.Source.Snapshot()
	if err != nil {
		c.cfg.Log.Error("the tracer's figures cannot be read", "error", err)
		return fmt.Errorf("read what the tracer has seen: %w", err)
	}
	told := make([]life, 0, len(s.Targets))
	traced := s.Duration
	if s.Observer.Budget != nil {
		traced = s.Observer.Observed
	}
	for i := range s.Targets {
		told = append(told, c.life(&s.Targets[i], traced))
	}
	c.spans.keep(told)
	c.ledger.enter(begin, told)
	c.spans.names.keep(func(name string) bool { return c.ledger.names[name] != nil })
	exemplars := c.cfg.Journeys.take(s, begin, told)
	c.ledger.each(func(of *lives) { c.expose(to, of, exemplars) })
	c.exposeTargets(to, s.Targets, told)
	c.exposeObserver(to, s)
	to.gauge(c.gauges.scrapeTime, c.cfg.Now().Sub(begin).Seconds())
	return nil
}

// expose sends what the containers of one name have had.
func (c *Collector) expose(to emit, of *lives, exemplars exemplars) {
	of.each(func(s *series, value float64) {
		to(&row{
			of: c.families[s.key.family], labels: &s.shown.labels, value: value, hist: s.hist, since: of.since,
			marks: exemplars.of(s.key),
		})
	})
}

func (c *Collector) exposeTargets(to emit, targets []tracer.Target, told []life) {
	var flying, unpredicted, unseen byDirection
	running := 0
	for i := range targets {
		t := &targets[i]
		name := told[i].name
		for direction, account := range t.Accounting {
			if account.Started+account.Cloned > 0 {
				flying.add(name, tracer.Direction(direction).String(), account.InFlight)
			}
		}
		differing(t, name, &unpredicted, &unseen)
		if t.Gone {
			continue
		}
		running++
		if told[i].shared {
			continue // one line for many would be a line for none
		}
		var info Info
		if c.cfg.Describe != nil {
			info = c.cfg.Describe(t.ID)
		}
		to.gauge(c.gauges.target, 1, name, valid(t.ID), valid(info.Image), valid(info.ComposeProject), valid(info.ComposeService),
			valid(t.Mode), valid(strings.Join(info.Networks, ",")))
	}
	for _, one := range []struct {
		of     *definition
		counts byDirection
	}{{c.gauges.inFlight, flying}, {c.gauges.unpredicted, unpredicted}, {c.gauges.unseen, unseen}} {
		for _, line := range one.counts.all {
			to.gauge(one.of, float64(line.n), line.container, line.direction)
		}
	}
	to.gauge(c.gauges.targets, float64(running))
}

// ready is a metric that needs no constructor of the client's: none makes a
// histogram in both forms.
type ready struct {
	desc   *prometheus.Desc
	metric *dto.Metric
}

// Desc implements prometheus.Metric.
func (r ready) Desc() *prometheus.Desc { return r.desc }

// Write implements prometheus.Metric.
func (r ready) Write(out *dto.Metric) error {
	out.Label, out.Counter, out.Gauge, out.Histogram = r.metric.Label, r.metric.Counter, r.metric.Gauge, r.metric.Histogram
	return nil
}
