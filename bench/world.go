// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/machine"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
)

// The ways of the load, as numbers of the game's.
const (
	wayPublished    = iota // client to a container, through a published port
	wayHostMode            // client to a process of the host
	wayContainers          // one container to another, on one bridge
	wayUDP                 // as wayPublished
	wayFlood               // as wayPublished
	wayHTTP                // as wayPublished
	wayHTTPHostMode        // as wayHostMode
	wayConnections         // as wayPublished
)

// Ports at which nothing else of the lab listens.
const (
	publishedPort  = 8080 // and the next ones, a way each
	otherPort      = 8070
	containerPort  = 5200 // and the next ones, a way each
	measuredName   = "measured"
	bystandingName = "other"
)

// way is one way of the load.
type way struct {
	load string // what goes there
	name string // where it goes
	kind load.Kind
	from place
	to   place
}

// place is where an end of a way is.
type place int

const (
	client place = iota
	host
	measured
	other
)

// ways in the order of their numbers.
func ways() []way {
	return []way{
		wayPublished:    {"TCP ping-pong", "published port", load.KindTCP, client, measured},
		wayHostMode:     {"TCP ping-pong", "host mode", load.KindTCP, client, host},
		wayContainers:   {"TCP ping-pong", "container to container", load.KindTCP, other, measured},
		wayUDP:          {"UDP ping-pong", "published port", load.KindUDP, client, measured},
		wayFlood:        {"UDP flood", "published port", load.KindFlood, client, measured},
		wayHTTP:         {"HTTP keep-alive, 64 connections", "published port", load.KindHTTP, client, measured},
		wayHTTPHostMode: {"HTTP keep-alive, 64 connections", "host mode", load.KindHTTP, client, host},
		wayConnections:  {"new connections", "published port", load.KindConnections, client, measured},
	}
}

func (y way) protocol() string {
	if y.kind == load.KindUDP || y.kind == load.KindFlood {
		return "udp"
	}
	return "tcp"
}

// ports that are published for the measured container, as the lab wants them.
func ports() []lab.Port {
	var published []lab.Port
	for i, y := range ways() {
		if y.from == client && y.to == measured {
			published = append(published, lab.Port{Host: uint16(publishedPort + i), Container: uint16(containerPort + i), Proto: y.protocol()})
		}
	}
	return published
}

// world is the lab with the load in it.
type world struct {
	lab  *lab.World
	game *load.Game
	cpu  int // that the load is bound to
	home machine.Affinity
}

// newWorld makes a world whose client and host are connected by the wire of that name.
func newWorld(ctx context.Context, wire string) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.home, w.cpu, err = machine.LeaveLastCPU(); err != nil {
		return nil, err
	}
	kind := lab.WireVeth
	if wire == report.WireNIC {
		kind = lab.WireNIC
	}
	w.lab, err = lab.New(ctx, lab.Config{Wire: kind, Names: []string{measuredName}, Ports: ports()})
	if err != nil {
		return nil, err
	}
	_, err = w.lab.AddContainer(ctx, lab.ContainerConfig{
		Name: bystandingName, Ports: []lab.Port{{Host: otherPort, Container: containerPort, Proto: "tcp"}},
	})
	if err != nil {
		return nil, err
	}
	var all []load.Way
	for i, y := range ways() {
		all = append(all, w.way(i, y))
	}
	if w.game, err = load.Start(w.cpu, all...); err != nil {
		return nil, err
	}
	return w, nil
}

// way is the load's, number i.
func (w *world) way(i int, y way) load.Way {
	spaces := map[place]*netns.NS{
		client: w.lab.Client.NS, host: w.lab.Host.NS,
		measured: w.lab.Container(measuredName).NS, other: w.lab.Container(bystandingName).NS,
	}
	listen := uint16(containerPort + i)
	to := netip.AddrPortFrom(w.lab.Host.IP4, listen)
	switch {
	case y.to == measured && y.from == client:
		to = netip.AddrPortFrom(w.lab.Host.IP4, uint16(publishedPort+i))
	case y.to == measured:
		to = netip.AddrPortFrom(w.lab.Container(measuredName).IP4, listen)
	}
	return load.Way{Kind: y.kind, Client: spaces[y.from], Dial: to, Server: spaces[y.to], Listen: listen}
}

func (w *world) close() error {
	var errs []error
	if w.game != nil {
		errs = append(errs, w.game.Close())
	}
	if w.lab != nil {
		errs = append(errs, w.lab.Close())
	}
	return errors.Join(append(errs, w.home.Restore())...)
}

// container is the target that a container of the world makes.
func (w *world) container(name string) tracer.TargetSpec {
	c := w.lab.Container(name)
	spec := tracer.TargetSpec{Name: name, Mode: "bridge", PID: c.PID, Netns: c.NS}
	for _, port := range c.Ports {
		spec.Ports = append(spec.Ports, tracer.Port{
			Host: netip.AddrPortFrom(netip.Addr{}, port.Host), Container: port.Container, Protocol: port.Proto,
		})
	}
	return spec
}

// measured is the container that the load goes to.
func (w *world) measured() tracer.TargetSpec { return w.container(measuredName) }

// bystanding is a container without traffic: when it is the target, the load is a bystander.
func (w *world) bystanding() tracer.TargetSpec { return w.container(bystandingName) }

// hostMode is the load's servers in the host's own network.
func (w *world) hostMode() tracer.TargetSpec {
	spec := tracer.TargetSpec{Name: "host-mode", Mode: "host", PID: w.game.PID(), Netns: w.lab.Host.NS}
	for i, y := range ways() {
		if y.to == host {
			spec.Listeners = append(spec.Listeners, tracer.Listener{Protocol: y.protocol(), Port: uint16(containerPort + i)})
		}
	}
	return spec
}
