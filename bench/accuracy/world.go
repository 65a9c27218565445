// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/machine"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

const (
	containerName = "web"
	hostModeName  = "host-mode"
	firstPort     = 5200 // of the players, one per way: in the container and on the host
	publishedBy   = 3000 // a port of the container is published on the host under so much more
)

// way is what packets of a block have in common.
type way struct{ mode, family, protocol string }

func ways() []way {
	var all []way
	for _, mode := range []string{"bridge", "host"} {
		for _, family := range []string{"ipv4", "ipv6"} {
			for _, protocol := range []string{"tcp", "udp"} {
				all = append(all, way{mode, family, protocol})
			}
		}
	}
	return all
}

func wayOf(b matrix.Block) way { return way{b.Mode, b.Family, b.Protocol} }

// world is the lab with one packet in flight, on a CPU that nothing of this
// process runs on. Packets from the client carry no birth stamp, as from
// another machine, and the uplink has a queue, as a NIC has one.
type world struct {
	lab    *lab.World
	game   *load.Game
	number map[way]int
	home   machine.Affinity
	cpu    int
	fewest int // rounds of a try
}

func newWorld(ctx context.Context) (_ *world, err error) {
	w := &world{number: map[way]int{}, fewest: fewestRounds}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.home, w.cpu, err = machine.LeaveLastCPU(); err != nil {
		return nil, err
	}
	var ports []lab.Port
	for i, way := range ways() {
		w.number[way] = i
		if way.mode == "bridge" {
			port := uint16(firstPort + i)
			ports = append(ports, lab.Port{Host: port + publishedBy, Container: port, Proto: way.protocol})
		}
	}
	w.lab, err = lab.New(ctx, lab.Config{Wire: lab.WireVethCleared, IPv6: true, Names: []string{containerName}, Ports: ports})
	if err != nil {
		return nil, err
	}
	if err := addQueue(w.lab.Host); err != nil {
		return nil, err
	}
	var played []load.Way
	for i, way := range ways() {
		played = append(played, w.played(way, uint16(firstPort+i)))
	}
	if w.game, err = load.Start(w.cpu, played...); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *world) played(of way, port uint16) load.Way {
	to := w.lab.Host.IP4
	if of.family == "ipv6" {
		to = w.lab.Host.IP6
	}
	p := load.Way{
		Kind: load.Kind(of.protocol), Client: w.lab.Client.NS, Server: w.lab.Host.NS, Listen: port,
		Dial: netip.AddrPortFrom(to, port),
	}
	if of.mode == "bridge" {
		p.Server = w.lab.Container(containerName).NS
		p.Dial = netip.AddrPortFrom(to, port+publishedBy)
	}
	return p
}

// addQueue gives the node's uplink a queueing discipline: a veth has none.
func addQueue(node *lab.Node) error {
	return node.NS.Do(func() error {
		uplink, err := netlink.LinkByName(node.Dev)
		if err == nil {
			err = netlink.QdiscAdd(&netlink.GenericQdisc{
				QdiscType: "pfifo", QdiscAttrs: netlink.QdiscAttrs{
					LinkIndex: uplink.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0),
				},
			})
		}
		if err != nil {
			return fmt.Errorf("add a queue to %s of %s: %w", node.Dev, node.Name, err)
		}
		return nil
	})
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

// targets are the container and the players' own process, which serves in host mode.
func (w *world) targets() []tracer.TargetSpec {
	c := w.lab.Container(containerName)
	bridge := tracer.TargetSpec{Name: containerName, Mode: "bridge", PID: c.PID, Netns: c.NS}
	for _, p := range c.Ports {
		bridge.Ports = append(bridge.Ports, tracer.Port{
			Host: netip.AddrPortFrom(netip.Addr{}, p.Host), Container: p.Container, Protocol: p.Proto,
		})
	}
	host := tracer.TargetSpec{Name: hostModeName, Mode: "host", PID: w.game.PID(), Netns: w.lab.Host.NS}
	for i, way := range ways() {
		if way.mode == "host" {
			host.Listeners = append(host.Listeners, tracer.Listener{Protocol: way.protocol, Port: uint16(firstPort + i)})
		}
	}
	return []tracer.TargetSpec{bridge, host}
}

func targetName(mode string) string {
	if mode == "bridge" {
		return containerName
	}
	return hostModeName
}
