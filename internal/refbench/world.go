// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// The names of the ways.
const (
	WayHost      = "host"
	WayPublished = "published"
	WayAddress   = "address"
	WayContainer = "container"
	WayNetwork   = "network"
	WayProxy     = "proxy"
	WayHostLocal = "host-local"
)

// Way is a way with all that is needed to go it.
type Way struct {
	result.Way
	Client *netns.NS // where the client is
	To     Ports
	Server served // that answers; nil where another process has a part in each request, as docker-proxy
}

// Ports is where a server answers, as seen by a way's client.
type Ports struct {
	Addr                netip.Addr
	HTTP, RR, UDP, Bulk uint16
}

func (p Ports) of(kind loadgen.Kind) netip.AddrPort {
	port := p.RR
	switch kind {
	case loadgen.HTTP:
		port = p.HTTP
	case loadgen.Bulk:
		port = p.Bulk
	case loadgen.UDPRR:
		port = p.UDP
	}
	return netip.AddrPortFrom(p.Addr, port)
}

// Info says what a world is.
type Info struct {
	Kind, Image, Wire string
	LeftOut           []string // ways that it does not have, and why
}

// World has servers, and ways to them.
type World interface {
	Info() Info
	// HostNS is where the bridges and the uplinks are.
	HostNS() *netns.NS
	Ways() []Way
	// Targets describes the servers to the tracer, by the names that ways have.
	Targets() []tracer.TargetSpec
	// Close ends everything that the world has started.
	Close() error
}

func wayNamed(ways []Way, name string) (Way, bool) {
	i := slices.IndexFunc(ways, func(w Way) bool { return w.Name == name })
	if i < 0 {
		return Way{}, false
	}
	return ways[i], true
}

func wayNames(ways []Way) []string {
	var names []string
	for _, w := range ways {
		names = append(names, w.Name)
	}
	return names
}

// titles of the ways.
func titles() map[string]string {
	return map[string]string{
		WayHost:      "host mode",
		WayPublished: "bridge mode, published port (DNAT)",
		WayAddress:   "bridge mode, the container's address",
		WayContainer: "container to container on one bridge",
		WayNetwork:   "user-defined bridge, published port (DNAT)",
		WayProxy:     "bridge mode, published port by docker-proxy, from 127.0.0.1",
		WayHostLocal: "host mode, from 127.0.0.1",
	}
}

// Ports of the reference world's servers.
const (
	portHTTP, portRR         = 80, 7001
	publishedHTTP            = 8080
	hostHTTP, hostRR         = 8081, 7021
	networkHTTP, networkRR   = 8090, 7011
	targetBridge, targetHost = "bridge-mode", "host-mode"
	targetNetwork            = "network-mode"
)

// Reference is the world of vethtrace demo with a server for every load.
type Reference struct {
	world   *lab.World
	wire    lab.WireKind
	six     bool
	thread  *netns.Thread
	servers map[string]*loadgen.Server // by target
	spaces  []*netns.NS
	ways    []Way
	targets []tracer.TargetSpec
}

// ReferenceConfig says what the reference world is like.
type ReferenceConfig struct {
	Wire lab.WireKind
	Six  bool // ways go by IPv6; else the world has none
	CPU  int  // that the request-response servers run on
	Log  *slog.Logger
}

// NewReference makes the world.
func NewReference(ctx context.Context, cfg ReferenceConfig) (_ *Reference, err error) {
	r := &Reference{wire: cfg.Wire, six: cfg.Six, thread: netns.NewThread(), servers: map[string]*loadgen.Server{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make the reference world: %w", err), r.Close())
		}
	}()
	r.world, err = lab.New(ctx, lab.Config{Wire: cfg.Wire, IPv6: cfg.Six, Log: cfg.Log, Names: []string{"nginx", "client"}, Containers: 2, Ports: published(publishedHTTP, portRR)})
	if err != nil {
		return nil, err
	}
	if err := r.world.AddBridge(ctx, "br-user", netip.MustParsePrefix("172.18.0.0/16")); err != nil {
		return nil, err
	}
	if _, err := r.world.AddContainer(ctx, lab.ContainerConfig{Name: "web", Bridge: "br-user", Ports: published(networkHTTP, networkRR)}); err != nil {
		return nil, err
	}
	if err := r.serve(ctx, cfg.CPU); err != nil {
		return nil, err
	}
	r.wayList()
	return r, nil
}

// published are the ports of a container that the host publishes.
func published(http, rr uint16) []lab.Port {
	return []lab.Port{
		{Host: http, Container: portHTTP},
		{Host: rr, Container: portRR},
		{Host: rr, Container: portRR, Proto: "udp"},
		{Host: rr + 1, Container: portRR + 1},
	}
}

// serve starts the servers and describes them as targets.
func (r *Reference) serve(ctx context.Context, cpu int) error {
	w := r.world
	web, err := w.StartHostMode(ctx, hostHTTP)
	if err != nil {
		return fmt.Errorf("start the server in host mode: %w", err)
	}
	for _, s := range []struct {
		target string
		ns     *netns.NS
		rr     uint16
	}{{targetBridge, w.Container("nginx").NS, portRR}, {targetNetwork, w.Container("web").NS, portRR}, {targetHost, w.Host.NS, hostRR}} {
		server, err := loadgen.Serve(r.thread, s.ns, s.rr, cpu, r.six)
		if err != nil {
			return err
		}
		r.servers[s.target] = server
	}
	proxies, err := w.StartProxy(ctx)
	if err != nil {
		return fmt.Errorf("start docker-proxy: %w", err)
	}
	for _, c := range []struct{ container, target string }{{"nginx", targetBridge}, {"web", targetNetwork}} {
		container := w.Container(c.container)
		ns, err := netns.FromPID(container.PID)
		if err != nil {
			return fmt.Errorf("open the container's namespace: %w", err)
		}
		r.spaces = append(r.spaces, ns)
		spec := tracer.TargetSpec{Name: c.target, Mode: "bridge", PID: container.PID, Netns: ns}
		for _, p := range container.Ports {
			spec.Ports = append(spec.Ports, tracer.Port{Host: netip.AddrPortFrom(r.address(netip.IPv4Unspecified(), netip.IPv6Unspecified()), p.Host), Container: p.Container, Protocol: p.Proto})
			for _, proxy := range proxies {
				if proxy.Port == p {
					spec.Proxies = append(spec.Proxies, proxy.PID)
				}
			}
		}
		if c.target == targetNetwork {
			spec.Mode = "user"
		}
		r.targets = append(r.targets, spec)
	}
	r.targets = append(r.targets, tracer.TargetSpec{
		Name: targetHost, Mode: "host", PID: web.PID, Netns: w.Host.NS, Listeners: listeners(hostHTTP, hostRR),
	})
	return nil
}

func listeners(http, rr uint16) []tracer.Listener {
	return []tracer.Listener{
		{Protocol: "tcp", Port: http},
		{Protocol: "tcp", Port: rr},
		{Protocol: "udp", Port: rr},
		{Protocol: "tcp", Port: rr + 1},
	}
}

// wayList makes the ways, those first that others are compared with.
func (r *Reference) wayList() {
	w := r.world
	nginx, web := w.Container("nginx"), w.Container("client")
	outside := r.address(w.Host.IP4, w.Host.IP6)
	local := r.address(netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	direct := Ports{r.address(nginx.IP4, nginx.IP6), portHTTP, portRR, portRR, portRR + 1}
	host := func(at netip.Addr) Ports { return Ports{at, hostHTTP, hostRR, hostRR, hostRR + 1} }
	bridge := func(at netip.Addr) Ports { return Ports{at, publishedHTTP, portRR, portRR, portRR + 1} }
	network := Ports{outside, networkHTTP, networkRR, networkRR, networkRR + 1}
	r.ways = []Way{
		newWay(WayHost, "host", targetHost, "outside", "", w.Client.NS, host(outside)),
		newWay(WayPublished, "bridge", targetBridge, "outside", WayHost, w.Client.NS, bridge(outside)),
		newWay(WayAddress, "bridge", targetBridge, "outside", WayHost, w.Client.NS, direct),
		newWay(WayNetwork, "user", targetNetwork, "outside", WayHost, w.Client.NS, network),
		newWay(WayContainer, "bridge", targetBridge, "container", WayHost, web.NS, direct),
		newWay(WayHostLocal, "host", targetHost, "host", "", w.Host.NS, host(local)),
		newWay(WayProxy, "bridge", targetBridge, "host", WayHostLocal, w.Host.NS, bridge(local)),
	}
	for i := range r.ways {
		way := &r.ways[i]
		tapped := r.wire != lab.WireVeth && way.Way.Client == "outside" // a process is the wire
		if server := r.servers[way.Target]; server != nil && way.Name != WayProxy && !tapped {
			way.Server = server
		}
	}
}

// address is the one of the family that ways go by.
func (r *Reference) address(four, six netip.Addr) netip.Addr {
	if r.six {
		return six
	}
	return four
}

func newWay(name, mode, target, client, against string, from *netns.NS, to Ports) Way {
	title := titles()[name]
	if to.Addr.Is6() {
		title = strings.Replace(title, "127.0.0.1", "::1", 1) + ", IPv6"
	}
	return Way{
		Way: result.Way{
			Name: name, Title: title, Mode: mode, Target: target, Client: client,
			Address: to.Addr.String(), Against: against,
		},
		Client: from, To: to,
	}
}

// Info implements World.
func (r *Reference) Info() Info { return Info{Kind: "reference", Wire: r.wire.String()} }

// HostNS implements World.
func (r *Reference) HostNS() *netns.NS { return r.world.Host.NS }

// Ways implements World.
func (r *Reference) Ways() []Way { return slices.Clone(r.ways) }

// Targets implements World.
func (r *Reference) Targets() []tracer.TargetSpec { return slices.Clone(r.targets) }

// Lab is the world beneath, for tests that change it.
func (r *Reference) Lab() *lab.World { return r.world }

// Close implements World.
func (r *Reference) Close() error {
	var errs []error
	for _, s := range r.servers {
		errs = append(errs, s.Close())
	}
	for _, ns := range r.spaces {
		errs = append(errs, ns.Close())
	}
	r.thread.Close()
	if r.world != nil {
		errs = append(errs, r.world.Close())
	}
	return errors.Join(errs...)
}
