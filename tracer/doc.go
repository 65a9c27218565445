// Package tracer turns what the kernel programs of package bpf saw into what
// it means: targets, paths, hops, latencies.
//
//	bpf (stamps, journeys, histograms) -> tracer (targets, paths, hops) -> exporter -> cmd
package tracer

// Detail is how many hops a path is divided into.
type Detail string

// The details.
const (
	DetailDevices Detail = "devices" // device borders only (tcx)
	DetailHooks   Detail = "hooks"   // and the borders of netfilter hooks, and the softirq wait
	DetailTables  Detail = "tables"  // and each registered netfilter chain
	// DetailFunctions is tables, and what functions of the kernel take inside of hops.
	DetailFunctions Detail = "functions"
)
