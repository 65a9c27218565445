// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/result"
)

// openRate of the open loop, a second: far below what any way can do, so that
// what is measured is latency, not a queue.
const openRate = 1000

// many connections at once.
const many = 16

// Loads are all loads, in the order that they are run.
func Loads() []result.Load {
	return []result.Load{
		{Name: "tcp_rr", Title: "TCP request-response, 1 byte, one connection", Protocol: "tcp", Loop: "closed", Connections: 1, Bytes: 1, OnePacket: true},
		{Name: "udp_rr", Title: "UDP request-response, 1 byte", Protocol: "udp", Loop: "closed", Connections: 1, Bytes: 1, OnePacket: true},
		{Name: "http", Title: "HTTP, keep-alive, one connection", Protocol: "http", Loop: "closed", Connections: 1},
		{Name: "http_new", Title: "HTTP, a new connection for each request", Protocol: "http", Loop: "closed", Connections: 1, NewEach: true},
		{Name: "http_open", Title: "HTTP, keep-alive, open loop of 1000 requests a second", Protocol: "http", Loop: "open", Connections: many, RatePerS: openRate},
		{Name: "tcp_rr_16", Title: "TCP request-response, 1 byte, 16 connections", Protocol: "tcp", Loop: "closed", Connections: many, Bytes: 1},
		{Name: "http_16", Title: "HTTP, keep-alive, 16 connections", Protocol: "http", Loop: "closed", Connections: many},
		{Name: "bulk", Title: "bulk TCP, 256 KiB and one byte back, one connection", Protocol: "tcp", Loop: "closed", Connections: 1, Bytes: loadgen.BulkBytes},
	}
}

// LoadNames are the names of Loads.
func LoadNames() []string {
	var names []string
	for _, l := range Loads() {
		names = append(names, l.Name)
	}
	return names
}

func loadNamed(name string) (result.Load, bool) {
	for _, l := range Loads() {
		if l.Name == name {
			return l, true
		}
	}
	return result.Load{}, false
}

// generated is what the load generator is told.
func generated(l result.Load) loadgen.Load {
	load := loadgen.Load{Connections: l.Connections, NewEach: l.NewEach, Rate: l.RatePerS}
	switch {
	case l.Protocol == "http":
		load.Kind = loadgen.HTTP
	case l.Protocol == "udp":
		load.Kind = loadgen.UDPRR
	case l.Bytes > 1:
		load.Kind = loadgen.Bulk
	default:
		load.Kind = loadgen.TCPRR
	}
	return load
}
