// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/bench/peers"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/tracer"
)

// subject is what an arm switches on.
type subject interface {
	attach(ctx context.Context, w *world) (attached, error)
}

// attached is a subject that is on.
type attached interface {
	// finish switches it off and notes in the row what it saw of so many units.
	finish(units uint64, row *report.Row) error
	// close switches it off, if that is still to be done.
	close() error
}

// tracing is vethtrace itself.
type tracing struct {
	detail tracer.Detail
	target func(*world) tracer.TargetSpec
	change func(*tracer.Config) // nil: only the detail is not the default
}

func (s tracing) attach(ctx context.Context, w *world) (attached, error) {
	config := tracer.Config{Host: w.lab.Host.NS, Detail: s.detail}
	if s.change != nil {
		s.change(&config)
	}
	t, err := tracer.Open(ctx, config, s.target(w))
	if err != nil {
		return nil, err
	}
	return tracedNow{t}, nil
}

type tracedNow struct{ tracer *tracer.Tracer }

func (s tracedNow) finish(units uint64, row *report.Row) error {
	if err := s.tracer.Stop(); err != nil {
		return err
	}
	snapshot, err := s.tracer.Snapshot()
	if err != nil {
		return err
	}
	followed(snapshot, units, row)
	return nil
}

func (s tracedNow) close() error { return s.tracer.Close() }

// startPeer attaches a peer to the world.
type startPeer func(ctx context.Context, w *world) (peers.Peer, error)

// peering is a peer, and how many events it must see of each unit.
type peering struct {
	start startPeer
	least float64
}

func (s peering) attach(ctx context.Context, w *world) (attached, error) {
	peer, err := s.start(ctx, w)
	if err != nil {
		return nil, err
	}
	return &peerNow{peer: peer, least: s.least}, nil
}

type peerNow struct {
	peer  peers.Peer
	least float64
}

func (s *peerNow) finish(units uint64, row *report.Row) error {
	peer := s.peer
	s.peer = nil
	seen, err := peer.Stop()
	if err != nil {
		return err
	}
	// what the machine does besides may add a few
	row.Events = float64(seen.Events) / float64(units)
	if row.Events < s.least*leastFollowed {
		row.AddVoid(fmt.Sprintf("it saw %.2f events per %s, not %.0f", row.Events, row.Unit, s.least))
	}
	if seen.Events > 0 {
		row.Lost = max(row.Lost, float64(seen.Lost)/float64(seen.Events))
	}
	return nil
}

func (s *peerNow) close() error {
	if s.peer == nil {
		return nil
	}
	_, err := s.peer.Stop()
	return err
}

func startBpftrace(ctx context.Context, _ *world) (peers.Peer, error) {
	return peers.StartBpftrace(ctx)
}

func startTcpdumps(ctx context.Context, w *world) (peers.Peer, error) {
	return peers.StartTcpdumps(ctx, w.lab.Host.NS, "", w.lab.Host.Dev, w.lab.Container(measuredName).Bridge, w.lab.Container(measuredName).HostDev)
}

// startRing stamps where vethtrace does at detail hooks: 9 places on the way
// in and 9 on the way out, netif_rx twice among them.
func startRing(_ context.Context, w *world) (peers.Peer, error) {
	c := w.lab.Container(measuredName)
	host, target := w.lab.Host.NS, c.NS
	var places []peers.Place
	for _, egress := range []bool{false, true} {
		places = append(places,
			peers.Place{NS: host, Device: w.lab.Host.Dev, Egress: egress},
			peers.Place{NS: host, Device: c.Bridge, Egress: egress},
			peers.Place{NS: host, Device: c.HostDev, Egress: egress},
			peers.Place{NS: target, Device: c.Dev, Egress: egress},
		)
	}
	return peers.StartRing(append(places,
		peers.Place{NS: host, Hook: link.NetfilterInetPreRouting},
		peers.Place{NS: host, Hook: link.NetfilterInetForward, First: true},
		peers.Place{NS: host, Hook: link.NetfilterInetForward},
		peers.Place{NS: target, Hook: link.NetfilterInetLocalIn},
		peers.Place{NS: target, Hook: link.NetfilterInetLocalOut, First: true},
	))
}

// off switches a subject off after an error, and adds what that says.
func off(on attached, err error) error { return errors.Join(err, on.close()) }
