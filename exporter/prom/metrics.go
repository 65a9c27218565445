package prom

//go:generate go run ../../internal/tools/metricsdoc ../../docs/metrics.md

import (
	"slices"
	"strings"
)

// Metric says what a metric is.
type Metric struct {
	Name   string
	Type   string // counter, gauge, histogram
	Labels []string
	Help   string
}

// Metrics are all that a [Collector] exposes, by name: for documentation, and
// for tests of what names them.
func Metrics() []Metric {
	var all []Metric
	for _, d := range New(Config{}).definitions() {
		all = append(all, Metric{Name: d.name, Type: strings.ToLower(d.kind.String()), Labels: d.labels, Help: d.help})
	}
	slices.SortFunc(all, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return all
}
