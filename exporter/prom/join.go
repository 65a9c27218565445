package prom

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Joined gathers from several sources that have no metric in common, without
// looking at each series as prometheus.Gatherers does. Its zero value has none.
// Safe for concurrent use.
type Joined struct {
	mu  sync.Mutex
	all []prometheus.Gatherer
}

// Add adds a source.
func (j *Joined) Add(g prometheus.Gatherer) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, g)
}

// sources are all of them, those of joined ones too.
func (j *Joined) sources() []prometheus.Gatherer {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []prometheus.Gatherer
	for _, g := range j.all {
		if more, ok := g.(*Joined); ok {
			all = append(all, more.sources()...)
		} else {
			all = append(all, g)
		}
	}
	return all
}

// Gather implements prometheus.Gatherer: what there is, by name, and all errors.
func (j *Joined) Gather() ([]*dto.MetricFamily, error) {
	var families []*dto.MetricFamily
	var errs []error
	for _, g := range j.sources() {
		some, err := g.Gather()
		families, errs = append(families, some...), append(errs, err)
	}
	slices.SortStableFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, errors.Join(errs...)
}

// encodeOthers has the client library encode what a source that cannot do it itself has.
func encodeOthers(g prometheus.Gatherer, format expfmt.Format) ([]block, error) {
	families, err := g.Gather()
	if err != nil {
		return nil, err
	}
	var blocks []block
	for _, family := range families {
		var body strings.Builder
		// without Close, which writes what stands at the end of all
		if err := expfmt.NewEncoder(&body, format).Encode(family); err != nil {
			return nil, fmt.Errorf("encode %s: %w", family.GetName(), err)
		}
		blocks = append(blocks, block{name: family.GetName(), body: []byte(body.String())})
	}
	return blocks, nil
}

// Without leaves out the families whose names begin with prefix.
func Without(of prometheus.Gatherer, prefix string) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := of.Gather()
		return slices.DeleteFunc(all, func(one *dto.MetricFamily) bool { return strings.HasPrefix(one.GetName(), prefix) }), err
	})
}
