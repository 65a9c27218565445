// SPDX-License-Identifier: Apache-2.0

// Package peers runs beside the benchmark's load what people use today to see
// where packets spend their time: a bpftrace script, an event-printing tracer
// (our own re-creation), tcpdump. Each is attached, sees packets, and is
// stopped; what it costs is measured by the benchmark, not here.
//
//	StartBpftrace, StartRing, StartTcpdumps ──> Peer ──Stop──> Seen
package peers

// Peer is attached and sees packets.
type Peer interface {
	// Stop detaches it, waits until it is gone, and says what it saw. It is called once.
	Stop() (Seen, error)
}

// Seen is what a peer saw while it was attached.
type Seen struct {
	Events uint64 // stamps or packets
	Lost   uint64 // of which it tells that it did not record them
}
