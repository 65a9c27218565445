package prom

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
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

// Gather implements prometheus.Gatherer: what there is, by name, and all errors.
func (j *Joined) Gather() ([]*dto.MetricFamily, error) {
	j.mu.Lock()
	all := slices.Clone(j.all)
	j.mu.Unlock()
	var families []*dto.MetricFamily
	var errs []error
	for _, g := range all {
		some, err := g.Gather()
		families, errs = append(families, some...), append(errs, err)
	}
	slices.SortStableFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, errors.Join(errs...)
}

// Without leaves out the families whose names begin with prefix.
func Without(of prometheus.Gatherer, prefix string) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := of.Gather()
		return slices.DeleteFunc(all, func(one *dto.MetricFamily) bool { return strings.HasPrefix(one.GetName(), prefix) }), err
	})
}
