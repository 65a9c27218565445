package prom

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
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

// Collector exposes what a tracer has seen. Safe for concurrent use: scrapes
// take turns.
type Collector struct {
	cfg    Config
	layout *layout
	descs  [families]*prometheus.Desc
	gauges gauges

	mu         sync.Mutex
	ledger     *ledger
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
		cfg: cfg, layout: newLayout(cfg.Form), descs: descriptions(), gauges: newGauges(), ledger: newLedger(cfg.Grace),
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
	for _, d := range c.descs {
		ch <- d
	}
	c.gauges.describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := c.cfg.Now()
	s, err := c.cfg.Source.Snapshot()
	if err != nil {
		c.cfg.Log.Error("the tracer's figures cannot be read", "error", err)
		ch <- prometheus.NewInvalidMetric(c.gauges.scrapeTime, fmt.Errorf("read what the tracer has seen: %w", err))
		return
	}
	lives := make([]life, 0, len(s.Targets))
	for i := range s.Targets {
		lives = append(lives, c.life(&s.Targets[i], s.Duration))
	}
	c.ledger.enter(begin, lives)
	c.containers.keep(func(name string) bool { return c.ledger.names[name] != nil })
	exemplars := c.cfg.Journeys.take(s, begin, c.containers)
	for _, of := range c.ledger.names {
		c.expose(ch, of, exemplars)
	}
	c.exposeTargets(ch, s.Targets)
	c.exposeObserver(ch, s)
	ch <- gauge(c.gauges.scrapeTime, c.cfg.Now().Sub(begin).Seconds())
}

// expose sends what the containers of one name have had.
func (c *Collector) expose(ch chan<- prometheus.Metric, of *lives, exemplars exemplars) {
	for key, s := range of.total() {
		desc := c.descs[s.family]
		if s.hist == nil {
			ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(desc, prometheus.CounterValue, s.value, of.since, s.labels...)
			continue
		}
		h := c.layout.write(s.hist)
		h.CreatedTimestamp = timestamppb.New(of.since)
		c.layout.annotate(h, exemplars[key])
		ch <- latency{desc: desc, labels: prometheus.MakeLabelPairs(desc, s.labels), histogram: h}
	}
}

func (c *Collector) exposeTargets(ch chan<- prometheus.Metric, targets []tracer.Target) {
	flying := map[[2]string]float64{}
	running := 0
	for i := range targets {
		t := &targets[i]
		name := c.containers.of(t.Name)
		for direction, account := range t.Accounting {
			flying[[2]string{name, tracer.Direction(direction).String()}] += float64(account.InFlight)
		}
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
		ch <- gauge(c.gauges.target, 1, name, t.ID, info.Image, info.ComposeProject, info.ComposeService, t.Mode,
			strings.Join(info.Networks, ","))
	}
	for key, n := range flying {
		ch <- gauge(c.gauges.inFlight, n, key[0], key[1])
	}
	ch <- gauge(c.gauges.targets, float64(running))
}

func (c *Collector) exposeObserver(ch chan<- prometheus.Metric, s tracer.Snapshot) {
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, prometheus.CounterValue, float64(v), s.Start)
	}
	for kind, ns := range s.Observer.StampNs {
		ch <- gauge(c.gauges.stampCost, ns*secondsPerNs, kind)
	}
	ch <- gauge(c.gauges.share, s.Observer.CPUShare)
	counter(c.gauges.stamps, s.Observer.Stamps)
	counter(c.gauges.missed, s.Observer.RecursionMisses)
	counter(c.gauges.ringLost, s.Observer.RingLost)
	counter(c.gauges.unpathed, s.Observer.Unpathed)
	for _, h := range s.Hooks {
		attached := 0.0
		if h.Links > 0 {
			attached = 1
		}
		ch <- gauge(c.gauges.hook, attached, h.Hook, string(h.Provider))
		ch <- gauge(c.gauges.hookLinks, float64(h.Links), h.Hook, string(h.Provider))
	}
	if c.cfg.EngineUp != nil {
		up := 0.0
		if c.cfg.EngineUp() {
			up = 1
		}
		ch <- gauge(c.gauges.engineUp, up)
	}
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// latency is a histogram in both forms, which no constructor of the client makes.
type latency struct {
	desc      *prometheus.Desc
	labels    []*dto.LabelPair
	histogram *dto.Histogram
}

// Desc implements prometheus.Metric.
func (l latency) Desc() *prometheus.Desc { return l.desc }

// Write implements prometheus.Metric.
func (l latency) Write(out *dto.Metric) error {
	out.Label, out.Histogram = l.labels, l.histogram
	return nil
}
