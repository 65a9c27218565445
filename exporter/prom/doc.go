// Package prom shows what the tracer has seen as Prometheus metrics.
//
// A [Collector] asks the tracer for a snapshot when it is scraped; nothing is
// counted twice and nothing runs between scrapes. Latencies are histograms in
// seconds, as measured (what a stamp costs is a gauge of its own: a correction
// that changes with time would make counters go backwards), in native and in
// classic form.
//
// Series belong to a container's name. A container that restarts, or another
// one of that name, goes on where the last one ended, so that no counter goes
// backwards; some time after the last one of a name has ended its series go.
package prom
