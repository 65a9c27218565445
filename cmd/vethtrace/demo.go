// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
)

// The demo's ports on the host: published by the container, and listened on by
// the server in host mode.
const (
	publishedPort = 8080
	hostModePort  = 8081
)

const demoHelp = `Shows vethtrace at work without Docker: in throw-away network namespaces it makes a client, a host
with docker0 and Docker's rules, a container with a web server, and the same server in host mode; sends
bounded load to both, and traces both at once. The machine's own network is not touched.`

func newDemo(s streams) *cobra.Command {
	var view viewOptions
	var wire string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Bridge mode and host mode side by side, without Docker",
		Long:  demoHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := view.check(cmd); err != nil {
				return err
			}
			kind, err := wireKind(wire)
			if err != nil {
				return err
			}
			if err := checkRights(); err != nil { // it says which, no need to explain
				return err
			}
			return explainRights(demo(cmd.Context(), s, &view, kind))
		},
	}
	view.register(cmd, 10*time.Second)
	cmd.Flags().StringVar(&wire, "wire", "veth", "`KIND` of connection between client and host: veth, or tap (packets come in as from a NIC)")
	complete(cmd, "wire", "veth", "tap")
	return cmd
}

func wireKind(name string) (lab.WireKind, error) {
	for _, kind := range []lab.WireKind{lab.WireVeth, lab.WireTap} {
		if kind.String() == name {
			return kind, nil
		}
	}
	return 0, usagef("--wire %q: want veth or tap", name)
}

func demo(ctx context.Context, s streams, view *viewOptions, wire lab.WireKind) (err error) {
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		return errors.New("the demo needs iptables for Docker's rules: install it (apt-get install iptables)")
	}
	run := newSession(s, view, nil)
	run.after = compareModes
	world, err := lab.New(ctx, lab.Config{Wire: wire, Log: run.log})
	if err != nil {
		return fmt.Errorf("make the demo's world: %w", err)
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	d, err := newDemoWorld(ctx, world)
	if err != nil {
		return err
	}
	defer d.close()
	cfg := view.config(run.log)
	cfg.Host = world.Host.NS
	if view.output == outputJSON {
		cfg.Environment = surroundings(ctx, world.Host.NS, nil)
	}
	return run.trace(ctx, cfg, d.specs, d)
}

// demoWorld is the demo's world with its targets and its load.
type demoWorld struct {
	world *lab.World
	specs []tracer.TargetSpec
	ns    *netns.NS // of the container
}

func newDemoWorld(ctx context.Context, world *lab.World) (*demoWorld, error) {
	web, err := world.StartHostMode(ctx, hostModePort)
	if err != nil {
		return nil, fmt.Errorf("start the server in host mode: %w", err)
	}
	nginx := world.Container("nginx")
	ns, err := netns.FromPID(nginx.PID)
	if err != nil {
		return nil, fmt.Errorf("open the container's namespace: %w", err)
	}
	return &demoWorld{world: world, ns: ns, specs: []tracer.TargetSpec{
		{
			Name: "bridge-mode", Mode: "bridge", PID: nginx.PID, Netns: ns,
			Ports: []tracer.Port{{Host: netip.AddrPortFrom(netip.IPv4Unspecified(), publishedPort), Container: lab.PortHTTP, Protocol: "tcp"}},
		},
		{
			Name: "host-mode", Mode: "host", PID: web.PID, Netns: world.Host.NS,
			Listeners: []tracer.Listener{{Protocol: "tcp", Port: web.HTTP}},
		},
	}}, nil
}

func (d *demoWorld) close() { _ = d.ns.Close() }

// attend begins the load. Nothing of this world ends before the demo.
func (d *demoWorld) attend(ctx context.Context, _ adder) <-chan struct{} {
	for _, port := range []int{publishedPort, hostModePort} {
		go d.load(ctx, fmt.Sprintf("http://%s:%d/", d.world.Host.IP4, port))
	}
	return nil
}

func (d *demoWorld) described() string {
	return "bridge-mode (a container behind docker0), host-mode (the same server without)"
}

// The load on each server: so many requests over one connection, so often.
const (
	burst      = 25
	burstPause = 50 * time.Millisecond
)

// load sends requests at a bounded rate until ctx ends.
func (d *demoWorld) load(ctx context.Context, url string) {
	tick := time.NewTicker(burstPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		// A failed request shows in the figures, as it would in life.
		_, _ = d.world.Client.HTTP(ctx, url, burst, lab.LoadConfig{KeepAlive: true})
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
