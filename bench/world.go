// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vethtrace/vethtrace/bench/pingpong"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// The ways of the traffic, as numbers of the game's connections.
const (
	wayPublished = iota // client to a container, through a published port
	wayHostMode         // client to a process of the host
	ways
)

// Ports of the ping-pong: the containers' servers of the lab have others.
const (
	publishedPort  = 8080
	otherPort      = 8081
	containerPort  = 5201
	hostModePort   = 9000
	measuredName   = "measured"
	bystandingName = "other"
)

// world is the lab with the ping-pong in it.
type world struct {
	lab  *lab.World
	game *pingpong.Game
	cpu  int // that the ping-pong is bound to
	home affinity
}

// newWorld makes a world whose client and host are connected by the wire of that name.
func newWorld(ctx context.Context, wire string) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.home, w.cpu, err = leaveLastCPU(); err != nil {
		return nil, err
	}
	kind := lab.WireVeth
	if wire == report.WireNIC {
		kind = lab.WireNIC
	}
	w.lab, err = lab.New(ctx, lab.Config{
		Wire: kind, Names: []string{measuredName}, Ports: []lab.Port{{Host: publishedPort, Container: containerPort, Proto: "tcp"}},
	})
	if err != nil {
		return nil, err
	}
	_, err = w.lab.AddContainer(ctx, lab.ContainerConfig{
		Name: bystandingName, Ports: []lab.Port{{Host: otherPort, Container: containerPort, Proto: "tcp"}},
	})
	if err != nil {
		return nil, err
	}
	w.game, err = pingpong.Start(w.cpu,
		pingpong.Way{
			Client: w.lab.Client.NS, Dial: netip.AddrPortFrom(w.lab.Host.IP4, publishedPort),
			Server: w.lab.Container(measuredName).NS, Listen: containerPort,
		},
		pingpong.Way{
			Client: w.lab.Client.NS, Dial: netip.AddrPortFrom(w.lab.Host.IP4, hostModePort),
			Server: w.lab.Host.NS, Listen: hostModePort,
		})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (w *world) close() error {
	var errs []error
	if w.game != nil {
		errs = append(errs, w.game.Close())
	}
	if w.lab != nil {
		errs = append(errs, w.lab.Close())
	}
	return errors.Join(append(errs, w.home.restore())...)
}

// container is the target that a container of the world makes.
func (w *world) container(name string, port uint16) tracer.TargetSpec {
	c := w.lab.Container(name)
	return tracer.TargetSpec{
		Name: name, Mode: "bridge", PID: c.PID, Netns: c.NS,
		Ports: []tracer.Port{{Host: netip.AddrPortFrom(netip.Addr{}, port), Container: containerPort, Protocol: "tcp"}},
	}
}

// measured is the container that the ping-pong goes to.
func (w *world) measured() tracer.TargetSpec { return w.container(measuredName, publishedPort) }

// bystanding is a container without traffic: when it is the target, the ping-pong is a bystander.
func (w *world) bystanding() tracer.TargetSpec { return w.container(bystandingName, otherPort) }

// hostMode is the ping-pong's server in the host's own network.
func (w *world) hostMode() tracer.TargetSpec {
	return tracer.TargetSpec{
		Name: "host-mode", Mode: "host", PID: w.game.PID(), Netns: w.lab.Host.NS,
		Listeners: []tracer.Listener{{Protocol: "tcp", Port: hostModePort}},
	}
}

// arm is what is switched on and off.
type arm struct {
	name     string
	kind     report.Kind
	way      int
	detail   tracer.Detail
	target   func(*world) tracer.TargetSpec // nil: nothing is traced
	goal     float64
	runsGoal float64
}

// arms of a run, with the goals of the project.
func arms() []arm {
	traced := func(name string, way int, detail tracer.Detail, target func(*world) tracer.TargetSpec, goal, runs float64) arm {
		return arm{fmt.Sprintf("%s, %s", name, detail), report.KindTraced, way, detail, target, goal, runs}
	}
	bystander := func(detail tracer.Detail) arm {
		a := traced("bystander", wayPublished, detail, (*world).bystanding, 0, 12)
		a.kind = report.KindBystander
		return a
	}
	published, host := "published port", "host mode"
	return []arm{
		{name: published + ", A/A", kind: report.KindSame, way: wayPublished},
		traced(published, wayPublished, tracer.DetailDevices, (*world).measured, 1.05, 0),
		traced(published, wayPublished, tracer.DetailHooks, (*world).measured, 1.12, 22),
		traced(published, wayPublished, tracer.DetailTables, (*world).measured, 1.30, 0),
		bystander(tracer.DetailDevices),
		bystander(tracer.DetailHooks),
		{name: host + ", A/A", kind: report.KindSame, way: wayHostMode},
		traced(host, wayHostMode, tracer.DetailHooks, (*world).hostMode, 1.06, 0),
	}
}

// row is the arm's row, still without figures.
func (a arm) row() report.Row {
	row := report.Row{Name: a.name, Kind: a.kind, Goal: a.goal, RunsGoal: a.runsGoal}
	if a.kind == report.KindTraced {
		row.Completed = 1 // lowered by each run
	}
	return row
}
