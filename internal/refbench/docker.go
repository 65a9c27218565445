// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
)

// Label is on everything that a bench makes in an engine: what a kill -9 leaves
// behind is found by it.
const Label = "vethtrace.bench"

// DockerConfig says where to make the world.
type DockerConfig struct {
	API    *client.Client
	Image  string    // serves HTTP on port 80; the engine must have it
	Host   *netns.NS // where the engine's bridges are; stays the caller's
	Client *netns.NS // where requests from outside come from; nil: the host itself. Stays the caller's.
	CPU    int       // of the request-response servers
	// Six: ways go by IPv6. The engine's default bridge has none as a rule, so that
	// bridge mode is then a network of the bench's own.
	Six bool
	// Translated tells whether the host's rules lead published ports to an address;
	// by IPv6 many engines leave that to docker-proxy.
	Translated func(netip.Addr) (bool, error)
	// Spec describes a container to the tracer; its namespace is then ours.
	Spec func(ctx context.Context, id string) (tracer.TargetSpec, error)
	Log  *slog.Logger
}

// Docker is a world of real containers: one in bridge mode, one in host mode,
// one on a network of its own, and one to send from.
type Docker struct {
	DockerConfig
	id         string // of this run
	thread     *netns.Thread
	containers []string
	network    string
	servers    map[string]*loadgen.Server // by target
	targets    []tracer.TargetSpec
	senders    []*netns.NS
	ways       []Way
	leftOut    []string
}

// NewDocker starts the containers. When it fails, none stays.
func NewDocker(ctx context.Context, cfg DockerConfig) (_ *Docker, err error) {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	d := &Docker{DockerConfig: cfg, id: hex.EncodeToString(id), thread: netns.NewThread(), servers: map[string]*loadgen.Server{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if _, err := d.API.ImageInspect(ctx, d.Image); err != nil {
		return nil, fmt.Errorf("image %s: %w: pull it first (docker pull %s)", d.Image, err, d.Image)
	}
	steps := []func(context.Context) error{d.hostMode, d.bridge, d.createNetwork, d.userNetwork, d.sender}
	if d.Six {
		steps = []func(context.Context) error{d.hostMode, d.createNetwork, d.bridge, d.sender}
		d.leftOut = append(d.leftOut, "way network: by IPv6 all containers of a bench are on a network of its own")
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	for i := range d.ways {
		if server := d.servers[d.ways[i].Target]; server != nil && d.ways[i].Name != WayProxy {
			d.ways[i].Server = server
		}
	}
	return d, d.try(ctx)
}

// engineTimeout bounds each request to the engine.
const engineTimeout = 30 * time.Second

// uninterrupted is for requests that create something: an engine goes on with one
// that is given up, and what it has made by then nobody would know to remove.
func uninterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), engineTimeout)
}

// run starts a container and returns its id.
func (d *Docker) run(ctx context.Context, role string, host *container.HostConfig, exposed network.PortSet) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	creating, end := uninterrupted(ctx)
	defer end()
	created, err := d.API.ContainerCreate(creating, client.ContainerCreateOptions{
		Name: "vethtrace-bench-" + d.id + "-" + role, HostConfig: host,
		Config: &container.Config{Image: d.Image, ExposedPorts: exposed, Labels: map[string]string{Label: d.id}},
	})
	if err != nil {
		return "", fmt.Errorf("create the container %s: %w", role, err)
	}
	d.containers = append(d.containers, created.ID)
	if _, err := d.API.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		return "", fmt.Errorf("start the container %s: %w", role, err)
	}
	return created.ID, nil
}

// target starts the server in a container's namespace, and describes it.
func (d *Docker) target(ctx context.Context, id, name string, rr uint16) (*tracer.TargetSpec, error) {
	spec, err := d.Spec(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w: does the image serve HTTP on port %d, and nothing else have it?", name, err, portHTTP)
	}
	spec.Name = name
	d.targets = append(d.targets, spec)
	server, err := loadgen.Serve(d.thread, spec.Netns, rr, d.CPU, d.Six)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", name, err)
	}
	d.servers[name] = server
	return &d.targets[len(d.targets)-1], nil
}

func (d *Docker) hostMode(ctx context.Context) error {
	id, err := d.run(ctx, "host", &container.HostConfig{NetworkMode: "host"}, nil)
	if err != nil {
		return err
	}
	spec, err := d.target(ctx, id, targetHost, hostRR)
	if err != nil {
		return err
	}
	spec.Listeners = append(spec.Listeners, listeners(portHTTP, hostRR)...)
	ports := Ports{HTTP: portHTTP, RR: hostRR, UDP: hostRR, Bulk: hostRR + 1}
	if addr, client := d.outside(); addr.IsValid() {
		ports.Addr = addr
		d.ways = append(d.ways, newWay(WayHost, spec.Mode, targetHost, client, "", d.from(), ports))
	} else {
		d.leftOut = append(d.leftOut, fmt.Sprintf("way host: the host has no address but %s", d.local()))
	}
	ports.Addr = d.local()
	d.ways = append(d.ways, newWay(WayHostLocal, spec.Mode, targetHost, "host", "", d.Host, ports))
	return nil
}

// open are the ports of our server and the image's in a container.
func (d *Docker) open() (network.PortSet, network.PortMap) {
	everywhere := d.of(netip.IPv4Unspecified(), netip.IPv6Unspecified())
	exposed, bound := network.PortSet{}, network.PortMap{}
	for _, text := range []string{
		fmt.Sprintf("%d/tcp", portHTTP), fmt.Sprintf("%d/tcp", portRR), fmt.Sprintf("%d/udp", portRR), fmt.Sprintf("%d/tcp", portRR+1),
	} {
		port := network.MustParsePort(text)
		exposed[port] = struct{}{}
		bound[port] = []network.PortBinding{{HostIP: everywhere, HostPort: ""}} // the engine chooses a free one
	}
	return exposed, bound
}

func (d *Docker) bridge(ctx context.Context) error {
	exposed, bound := d.open()
	id, err := d.run(ctx, "bridge", &container.HostConfig{NetworkMode: d.bridged(), PortBindings: bound}, exposed)
	if err != nil {
		return err
	}
	spec, err := d.target(ctx, id, targetBridge, portRR)
	if err != nil {
		return err
	}
	public, direct, err := d.addresses(ctx, id)
	if err != nil {
		return err
	}
	translated := true
	if d.Six {
		if translated, err = d.Translated(direct.Addr); err != nil {
			return err
		}
	}
	if addr, client := d.outside(); addr.IsValid() {
		public.Addr = addr
		if translated {
			d.ways = append(d.ways, newWay(WayPublished, spec.Mode, targetBridge, client, WayHost, d.from(), public))
		} else {
			d.leftOut = append(d.leftOut, "way published: by IPv6 this engine has no rules for published ports (ip6tables): docker-proxy answers, as on way proxy")
		}
		d.ways = append(d.ways, newWay(WayAddress, spec.Mode, targetBridge, client, WayHost, d.from(), direct))
	}
	public.Addr = d.local()
	d.ways = append(d.ways, newWay(WayProxy, spec.Mode, targetBridge, "host", WayHostLocal, d.Host, public))
	return nil
}

func (d *Docker) userNetwork(ctx context.Context) error {
	addr, client := d.outside()
	if !addr.IsValid() {
		return nil
	}
	exposed, bound := d.open()
	id, err := d.run(ctx, "network", &container.HostConfig{NetworkMode: container.NetworkMode(d.network), PortBindings: bound}, exposed)
	if err != nil {
		return err
	}
	spec, err := d.target(ctx, id, targetNetwork, portRR)
	if err != nil {
		return err
	}
	public, _, err := d.addresses(ctx, id)
	if err != nil {
		return err
	}
	public.Addr = addr
	d.ways = append(d.ways, newWay(WayNetwork, spec.Mode, targetNetwork, client, WayHost, d.from(), public))
	return nil
}

func (d *Docker) createNetwork(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := uninterrupted(ctx)
	defer cancel()
	o := client.NetworkCreateOptions{Driver: "bridge", Labels: map[string]string{Label: d.id}}
	if d.Six {
		o.EnableIPv6 = &d.Six
		o.IPAM = &network.IPAM{Config: []network.IPAMConfig{{Subnet: d.subnet()}}}
	}
	created, err := d.API.NetworkCreate(ctx, "vethtrace-bench-"+d.id, o)
	if err != nil {
		return fmt.Errorf("create a network: %w", err)
	}
	d.network = created.ID
	return nil
}

// sender is a container on the default bridge that requests come from.
func (d *Docker) sender(ctx context.Context) error {
	id, err := d.run(ctx, "client", &container.HostConfig{NetworkMode: d.bridged()}, nil)
	if err != nil {
		return err
	}
	spec, err := d.Spec(ctx, id)
	if err != nil {
		return fmt.Errorf("container client: %w", err)
	}
	d.senders = append(d.senders, spec.Netns)
	if w, ok := wayNamed(d.ways, WayAddress); ok {
		d.ways = append(d.ways, newWay(WayContainer, w.Mode, targetBridge, "container", WayHost, spec.Netns, w.To))
	}
	return nil
}

// addresses are where a container's server answers: on the host's ports, and on
// its own address.
func (d *Docker) addresses(ctx context.Context, id string) (public, direct Ports, err error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	r, err := d.API.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return public, direct, fmt.Errorf("inspect a container: %w", err)
	}
	for port, bindings := range r.Container.NetworkSettings.Ports {
		i := slices.IndexFunc(bindings, func(b network.PortBinding) bool {
			return d.Six && b.HostIP.Is6() || !d.Six && (!b.HostIP.IsValid() || b.HostIP.Is4())
		})
		if i < 0 {
			continue
		}
		n, err := strconv.ParseUint(bindings[i].HostPort, 10, 16)
		if err != nil {
			return public, direct, fmt.Errorf("published port %s: %w", port, err)
		}
		switch host := uint16(n); {
		case port.Num() == portHTTP:
			public.HTTP = host
		case port.Num() == portRR && port.Proto() == "udp":
			public.UDP = host
		case port.Num() == portRR:
			public.RR = host
		case port.Num() == portRR+1:
			public.Bulk = host
		}
	}
	direct = Ports{HTTP: portHTTP, RR: portRR, UDP: portRR, Bulk: portRR + 1}
	for _, n := range r.Container.NetworkSettings.Networks {
		direct.Addr = d.of(n.IPAddress, n.GlobalIPv6Address)
	}
	return public, direct, nil
}

// Info implements World.
func (d *Docker) Info() Info {
	wire := "none"
	if d.Client != nil {
		wire = "given"
	}
	return Info{Kind: "docker", Image: d.Image, Wire: wire, LeftOut: slices.Clone(d.leftOut)}
}

// Targets implements World.
func (d *Docker) Targets() []tracer.TargetSpec { return slices.Clone(d.targets) }

// Ways implements World.
func (d *Docker) Ways() []Way { return slices.Clone(d.ways) }

// HostNS implements World.
func (d *Docker) HostNS() *netns.NS { return d.Host }

// Close removes the containers and the network.
func (d *Docker) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.Close())
	}
	for _, t := range d.targets {
		errs = append(errs, t.Netns.Close())
	}
	for _, ns := range d.senders {
		errs = append(errs, ns.Close())
	}
	d.thread.Close()
	for _, id := range d.containers {
		if _, err := d.API.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			errs = append(errs, fmt.Errorf("remove a container of the bench (label %s=%s): %w", Label, d.id, err))
		}
	}
	if d.network != "" {
		if _, err := d.API.NetworkRemove(ctx, d.network, client.NetworkRemoveOptions{}); err != nil {
			errs = append(errs, fmt.Errorf("remove the network of the bench: %w", err))
		}
	}
	return errors.Join(errs...)
}
