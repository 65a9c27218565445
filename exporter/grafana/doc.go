// Package grafana has the dashboards for what vethtrace exports, as code: Go
// makes the JSON files beside it, which Grafana 11 and later import. Recording
// rules and alerts are in rules/.
//
//	queries.go     what is asked, once for native and once for classic histograms
//	panels.go      what a panel is, and how it is laid out
//	dashboard.go   what all dashboards share: variables and links
//	bridge.go, container.go, fleet.go   one dashboard each
//
// A Prometheus holds a latency as a native or as a classic histogram. Panels of
// latencies have a query for each, and the variable "histograms" lets one of
// them answer; so a dashboard works with both.
package grafana

//go:generate go run ./generate .
