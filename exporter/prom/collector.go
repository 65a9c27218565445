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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

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

	mu         sync.Mutex
	ledger     *ledger
	spans      spans
	containers *bound
	hops       *bound
	reasons    *bound
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
	return &Collector{
		cfg: cfg, layout: newLayout(cfg.Form), families: definitions(), gauges: newGauges(), ledger: newLedger(cfg.Grace), spans: spans{known: map[lifeID]*span{}},
		containers: newBound(cfg.Ceiling.Containers), hops: newBound(cfg.Ceiling.Hops), reasons: newBound(cfg.Ceiling.Reasons),
	}
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
	err := c.collect(func(d *definition, m *dto.Metric) { ch <- ready{desc: d.desc, metric: m} })
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.gauges.scrapeTime.desc, err)
	}
}

// Gather implements prometheus.Gatherer. Its errors are the tracer's.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	byDefinition := map[*definition]*dto.MetricFamily{}
	err := c.collect(func(d *definition, m *dto.Metric) {
		of := byDefinition[d]
		if of == nil {
			of = &dto.MetricFamily{Name: &d.name, Help: &d.help, Type: d.kind.Enum()}
			byDefinition[d] = of
		}
		of.Metric = append(of.Metric, m)
	})
	return slices.SortedFunc(maps.Values(byDefinition), func(a, b *dto.MetricFamily) int {
		return strings.Compare(a.GetName(), b.GetName())
	}), err
}

// emit takes one series.
type emit func(d *definition, m *dto.Metric)

func (c *Collector) collect(to emit) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := c.cfg.Now()
	s, err := c.cfg.Source.Snapshot()
	if err != nil {
		c.cfg.Log.Error("the tracer's figures cannot be read", "error", err)
		return fmt.Errorf("read what the tracer has seen: %w", err)
	}
	lives := make([]life, 0, len(s.Targets))
	traced := s.Duration
	if s.Observer.Budget != nil {
		traced = s.Observer.Observed
	}
	for i := range s.Targets {
		lives = append(lives, c.life(&s.Targets[i], traced))
	}
	c.spans.keep(lives)
	c.ledger.enter(begin, lives)
	c.containers.keep(func(name string) bool { return c.ledger.names[name] != nil })
	exemplars := c.cfg.Journeys.take(s, begin, c.containers)
	for _, of := range c.ledger.names {
		c.expose(to, of, exemplars)
	}
	c.exposeTargets(to, s.Targets)
	c.exposeObserver(to, s)
	to.gauge(c.gauges.scrapeTime, c.cfg.Now().Sub(begin).Seconds())
	return nil
}

// expose sends what the containers of one name have had.
func (c *Collector) expose(to emit, of *lives, exemplars exemplars) {
	since := timestamppb.New(of.since)
	of.each(func(key seriesKey, s series, seen *shown) {
		d := c.families[key.family]
		if seen.pairs == nil {
			seen.pairs = d.pairs(key.labels[:]...)
		}
		m := &dto.Metric{Label: seen.pairs}
		if s.hist == nil {
			m.Counter = &dto.Counter{Value: &s.value, CreatedTimestamp: since}
		} else {
			m.Histogram = c.layout.write(s.hist)
			m.Histogram.CreatedTimestamp = since
			c.layout.annotate(m.Histogram, exemplars[key])
		}
		to(d, m)
	})
}

func (c *Collector) exposeTargets(to emit, targets []tracer.Target) {
	flying, unpredicted, unseen := map[[2]string]float64{}, map[[2]string]float64{}, map[[2]string]float64{}
	running := 0
	for i := range targets {
		t := &targets[i]
		name := c.containers.of(t.Name)
		for direction, account := range t.Accounting {
			if account.Started+account.Cloned > 0 {
				flying[[2]string{name, tracer.Direction(direction).String()}] += float64(account.InFlight)
			}
		}
		differing(t, name, unpredicted, unseen)
		if t.Gone {
			continue
		}
		running++
		if name == other {
			continue // one line for many would be a line for none
		}
		var info Info
		if c.cfg.Describe != nil {
			info = c.cfg.Describe(t.ID)
		}
		to.gauge(c.gauges.target, 1, name, t.ID, info.Image, info.ComposeProject, info.ComposeService, t.Mode,
			strings.Join(info.Networks, ","))
	}
	for d, counts := range map[*definition]map[[2]string]float64{
		c.gauges.inFlight: flying, c.gauges.unpredicted: unpredicted, c.gauges.unseen: unseen,
	} {
		for key, n := range counts {
			to.gauge(d, n, key[0], key[1])
		}
	}
	to.gauge(c.gauges.targets, float64(running))
}

// differing counts a target's paths that were not predicted, and ways that nobody was seen on.
func differing(t *tracer.Target, name string, unpredicted, unseen map[[2]string]float64) {
	if len(t.Unpredicted)+len(t.Unseen) == 0 {
		return // no directions are looked up for a thousand ordinary containers
	}
	directions := make(map[string]string, len(t.Paths))
	for i := range t.Paths {
		directions[t.Paths[i].ID] = t.Paths[i].Direction.String()
	}
	for _, u := range t.Unpredicted {
		unpredicted[[2]string{name, directions[u.Path]}]++
	}
	for _, u := range t.Unseen {
		unseen[[2]string{name, u.Direction.String()}]++
	}
}

func (c *Collector) exposeObserver(to emit, s tracer.Snapshot) {
	counter := func(d *definition, v uint64) {
		to(d, &dto.Metric{Counter: &dto.Counter{Value: proto.Float64(float64(v)), CreatedTimestamp: timestamppb.New(s.Start)}})
	}
	for kind, ns := range s.Observer.StampNs {
		to.gauge(c.gauges.stampCost, ns*secondsPerNs, kind)
	}
	to.gauge(c.gauges.share, s.Observer.CPUShare)
	counter(c.gauges.stamps, s.Observer.Stamps)
	counter(c.gauges.missed, s.Observer.RecursionMisses)
	counter(c.gauges.ringLost, s.Observer.RingLost)
	counter(c.gauges.unpathed, s.Observer.Unpathed)
	for _, h := range s.Hooks {
		attached := 0.0
		if h.Links > 0 {
			attached = 1
		}
		to.gauge(c.gauges.hook, attached, h.Hook, string(h.Provider))
		to.gauge(c.gauges.hookLinks, float64(h.Links), h.Hook, string(h.Provider))
	}
	for _, m := range s.Missing {
		to.gauge(c.gauges.hookMissing, 1, m.Hook)
	}
	if c.cfg.EngineUp != nil {
		up := 0.0
		if c.cfg.EngineUp() {
			up = 1
		}
		to.gauge(c.gauges.engineUp, up)
	}
}

func (to emit) gauge(d *definition, v float64, labels ...string) {
	to(d, &dto.Metric{Label: d.pairs(labels...), Gauge: &dto.Gauge{Value: &v}})
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
