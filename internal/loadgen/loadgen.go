// SPDX-License-Identifier: Apache-2.0

// Package loadgen puts a load on a server and tells what its client saw. Client
// and server are processes of their own (this executable run again), each born
// in the network namespace that it belongs to, so that neither shares a runtime
// with the tracer.
//
//	Serve ─> child with sockets         Open ─> child with connections
//	                 ^────────── load ──────────┘  Run: what one round saw
//
// Request-response is own code: blocking system calls that the Go runtime does
// not know of, on threads bound to one CPU, so that nothing but the packets' way
// lies between two round trips. HTTP is vegeta's.
//
// Every load is bounded: a round in time, an exchange by exchangeTimeout.
package loadgen

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// Kind is a kind of load.
type Kind string

// The kinds.
const (
	TCPRR Kind = "tcp_rr" // one byte there, one byte back
	UDPRR Kind = "udp_rr" // the same in datagrams
	Bulk  Kind = "bulk"   // BulkBytes there, one byte back
	HTTP  Kind = "http"   // GET /
)

// BulkBytes are sent by each request of a bulk load.
const BulkBytes = 256 << 10

// exchangeTimeout bounds one exchange; what takes longer is an error.
const exchangeTimeout = time.Second

// Load is what a client does.
type Load struct {
	Kind        Kind          `json:"kind"`
	Connections int           `json:"connections"`  // at once; 0 means 1
	NewEach     bool          `json:"new_each"`     // HTTP: each request has a connection of its own
	Rate        float64       `json:"rate"`         // HTTP: an open loop of so many requests a second; 0: closed
	ClientDelay time.Duration `json:"client_delay"` // request-response: spent by the client in each exchange, for tests of what explains it
}

// check returns the first thing wrong with a load.
func (l *Load) check() error {
	if l.Connections <= 0 {
		l.Connections = 1
	}
	const mostConnections = 256
	switch {
	case l.Kind != TCPRR && l.Kind != UDPRR && l.Kind != Bulk && l.Kind != HTTP:
		return fmt.Errorf("load %q is none that there is", l.Kind)
	case l.Connections > mostConnections:
		return fmt.Errorf("load %s: %d connections are more than %d", l.Kind, l.Connections, mostConnections)
	case l.Kind != HTTP && (l.NewEach || l.Rate != 0):
		return fmt.Errorf("load %s: only HTTP has an open loop, or a connection for each request", l.Kind)
	case l.Rate < 0 || l.ClientDelay < 0:
		return fmt.Errorf("load %s: rate and delay are not negative", l.Kind)
	}
	return nil
}

// Round is what a client saw in a round.
type Round struct {
	Hist   histogram.Histogram // from request to the end of its answer; in an open loop from when it was due
	Errors uint64
	Last   string        // error of the last one that failed
	Bytes  uint64        // sent and received, without headers of IP and TCP
	Busy   time.Duration // that the round took
	// CPU is the processor time of the threads that play it; 0 of HTTP, whose threads are not known.
	CPU time.Duration
	// Probes are how many nanoseconds the same piece of work took right before the
	// round and right behind it, on the CPU of a client with one connection; 0 of others.
	Probes [2]uint64
}

// Add adds another round; probes are those of a single one.
func (r *Round) Add(o Round) {
	r.Hist.Merge(&o.Hist)
	r.Errors += o.Errors
	if o.Last != "" {
		r.Last = o.Last
	}
	r.Bytes += o.Bytes
	r.Busy += o.Busy
	r.CPU += o.CPU
}

// clientOrders tell a child what to be.
type clientOrders struct {
	Load Load           `json:"load"`
	To   netip.AddrPort `json:"to"`
	CPU  int            `json:"cpu"` // of request-response, -1 any
}

// serverOrders tell a child what to be.
type serverOrders struct {
	RR   uint16 `json:"rr"`   // TCP and UDP: answers each byte with one
	Bulk uint16 `json:"bulk"` // TCP: answers BulkBytes with one byte; 0 for none
	CPU  int    `json:"cpu"`
	Six  bool   `json:"six"` // by IPv6
}

// request is a line from the parent.
type request struct {
	Ns int64 `json:"ns"`
}

// reply is a line to the parent.
type reply struct {
	Ready   bool        `json:"ready,omitempty"`
	Error   string      `json:"error,omitempty"`
	Buckets [][2]uint64 `json:"buckets,omitempty"`
	Sum     uint64      `json:"sum"`
	Max     uint64      `json:"max"`
	Errors  uint64      `json:"errors"`
	Last    string      `json:"last,omitempty"`
	Bytes   uint64      `json:"bytes"`
	BusyNs  int64       `json:"busy_ns"`
	CPUNs   int64       `json:"cpu_ns"`
	Probes  [2]uint64   `json:"probes"`
}

func replyOf(r Round) reply {
	p := reply{
		Sum: r.Hist.Sum, Max: r.Hist.Max, Errors: r.Errors, Last: r.Last, Bytes: r.Bytes, BusyNs: r.Busy.Nanoseconds(),
		CPUNs: r.CPU.Nanoseconds(), Probes: r.Probes,
	}
	r.Hist.Each(func(lower, count uint64) { p.Buckets = append(p.Buckets, [2]uint64{lower, count}) })
	return p
}

func (p reply) round() Round {
	r := Round{
		Errors: p.Errors, Last: p.Last, Bytes: p.Bytes, Busy: time.Duration(p.BusyNs), CPU: time.Duration(p.CPUNs), Probes: p.Probes,
	}
	for _, b := range p.Buckets {
		if i := histogram.Index(b[0]); i < histogram.Buckets {
			r.Hist.Counts[i] = b[1]
		} else {
			r.Hist.Overflow = b[1]
		}
	}
	r.Hist.Sum, r.Hist.Max = p.Sum, p.Max
	return r
}
