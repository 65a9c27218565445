// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// How long peers waits for the engine, and how often it asks it at most.
const (
	peersTimeout = 2 * time.Second
	peersPause   = time.Second
)

// peers names the containers behind devices of the host. It asks the engine
// only when a device is new to it.
type peers struct {
	engine container.Engine
	host   *netns.NS

	mu      sync.Mutex
	byIndex map[int]string
	asked   time.Time
}

func newPeers(engine container.Engine, host *netns.NS) *peers {
	return &peers{engine: engine, host: host, byIndex: map[int]string{}}
}

// name of the container that has the other end of port; "" when unknown. An
// index is never given out twice before four billion devices were made.
func (p *peers) name(port topology.Link) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name, ok := p.byIndex[port.Index]; ok {
		return name
	}
	if time.Since(p.asked) < peersPause {
		return ""
	}
	p.asked = time.Now()
	p.look()
	return p.byIndex[port.Index]
}

// look asks which containers run, and how they are connected.
func (p *peers) look() {
	ctx, cancel := context.WithTimeout(context.Background(), peersTimeout)
	defer cancel()
	all, err := p.engine.List(ctx)
	if err != nil {
		return // a name less, and the device's instead
	}
	for _, c := range all {
		if c.Netns == p.host.Inode() {
			continue
		}
		ns, err := netns.Open(c.NetnsPath)
		if err != nil {
			continue // ended meanwhile
		}
		wiring, err := topology.ReadWiring(p.host, ns)
		_ = ns.Close() // nothing was written
		if err != nil {
			continue // ended meanwhile
		}
		for _, i := range wiring.Interfaces {
			if i.Peer != nil && c.Shares == "" {
				p.byIndex[i.Peer.Index] = c.Name
			}
		}
	}
}
