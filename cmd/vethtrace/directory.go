// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"

	"github.com/vethtrace/vethtrace/exporter/prom"
)

// directory is what the engine has told of the containers that are traced, and
// whether it answers. The follower writes it, scrapes read it. A nil one keeps
// nothing.
type directory struct {
	mu    sync.Mutex
	known map[string]prom.Info // by the target's key
	down  bool                 // the engine does not answer
}

func newDirectory() *directory { return &directory{known: map[string]prom.Info{}} }

func (d *directory) put(m member) {
	if d == nil {
		return
	}
	info := prom.Info{Image: m.Image, ComposeProject: m.Project(), ComposeService: m.Service()}
	for _, network := range m.Networks {
		info.Networks = append(info.Networks, network.Name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[m.key()] = info
}

func (d *directory) drop(m member) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, m.key())
}

func (d *directory) reached(up bool) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = !up
}

// info of a container; the zero value where nothing is known.
func (d *directory) info(id string) prom.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[id]
}

func (d *directory) up() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.down
}
