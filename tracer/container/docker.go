// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
)

// Docker asks an engine that speaks Docker's API (Docker from 20.10 on,
// Podman's socket). It only reads.
type Docker struct {
	api  *client.Client
	host string

	mu   sync.Mutex
	kind Runtime // "" until it was asked
}

// NewDocker makes a resolver. It does not connect yet: an engine that can't be
// reached is an *EngineError of the first question. Close it after use.
func NewDocker(cfg Config) (*Docker, error) {
	host := cmp.Or(cfg.Host, os.Getenv(envDockerHost), client.DefaultDockerHost)
	api, err := client.New(client.WithTLSClientConfigFromEnv(), client.WithHost(host), client.WithAPIVersionFromEnv())
	if err != nil {
		return nil, &EngineError{Host: host, Err: err}
	}
	return &Docker{api: api, host: host}, nil
}

// runtime is what the engine says that it is: Podman speaks Docker's API. One
// that does not say is Docker.
func (d *Docker) runtime(ctx context.Context) Runtime {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kind != "" {
		return d.kind
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := d.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return RuntimeDocker // and asked again
	}
	d.kind = RuntimeDocker
	if slices.ContainsFunc(r.Components, func(c system.ComponentVersion) bool { return strings.HasPrefix(c.Name, "Podman") }) {
		d.kind = RuntimePodman
	}
	return d.kind
}

// API is the client that the engine is asked through, for what this package
// does not ask. It is closed with d.
func (d *Docker) API() *client.Client { return d.api }

// Host is the engine's address.
func (d *Docker) Host() string { return d.host }

// Close ends the connections.
func (d *Docker) Close() error {
	if err := d.api.Close(); err != nil {
		return fmt.Errorf("close the engine's client: %w", err)
	}
	return nil
}

// Names returns the names of the running containers, sorted, by a single
// question: for completion.
func (d *Docker) Names(ctx context.Context) ([]string, error) {
	all, err := d.summaries(ctx, false)
	if err != nil {
		return nil, err
	}
	return sorted(refs(all)), nil
}

// List describes the running containers, in the engine's order. Containers that
// end meanwhile, or whose processes can't be seen from here, are left out.
// Errors are of type *EngineError.
func (d *Docker) List(ctx context.Context) ([]Container, error) {
	now, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	return describeAll(ctx, now)
}

// Find describes the running container with that name or, failing that, with
// that id or prefix of an id. Errors are of type *NotFoundError,
// *NotRunningError, *AmbiguousError, *HiddenError or *EngineError.
func (d *Docker) Find(ctx context.Context, nameOrID string) (Container, error) {
	all, err := d.summaries(ctx, true)
	if err != nil {
		return Container{}, err
	}
	r, err := choose(refs(all), strings.TrimPrefix(nameOrID, "/"))
	if err != nil {
		return Container{}, err
	}
	if !r.runs() {
		return Container{}, &NotRunningError{Name: r.name, State: r.state}
	}
	c, err := d.reading(all).inspect(ctx, r)
	if errdefs.IsNotFound(err) {
		return Container{}, &NotRunningError{Name: r.name, State: "removed"}
	}
	return c, err
}

// refs are the containers of a list.
func refs(all []container.Summary) []ref {
	list := make([]ref, 0, len(all))
	for _, s := range all {
		r := ref{id: s.ID, name: nameOf(s), state: string(s.State)}
		for _, n := range s.Names {
			r.names = append(r.names, strings.TrimPrefix(n, "/"))
		}
		list = append(list, r)
	}
	return list
}

// look lists what runs, for a source.
func (d *Docker) look(ctx context.Context) (running, error) {
	all, err := d.summaries(ctx, false)
	if err != nil {
		return running{}, err
	}
	return d.reading(all), nil
}

// reading inspects containers of a list; the networks are asked for once, when
// they are needed.
func (d *Docker) reading(all []container.Summary) running {
	var b *book
	return running{refs: refs(all), inspect: func(ctx context.Context, r ref) (Container, error) {
		if b == nil {
			made, err := d.book(ctx, all)
			if err != nil {
				return Container{}, err
			}
			b = &made
		}
		return d.inspect(ctx, r.id, *b)
	}}
}

// nameOf returns a container's own name. Legacy links add names with a second
// slash ("/web/db"), in no order.
func nameOf(s container.Summary) string {
	for _, n := range s.Names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return short(s.ID)
}

func (d *Docker) summaries(ctx context.Context, all bool) ([]container.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: all})
	if err != nil {
		return nil, &EngineError{Host: d.host, Err: err}
	}
	return r.Items, nil
}

// book is what turns ids of an engine into names.
type book struct {
	containers map[string]string // id to name
	networks   []network.Summary
}

func (d *Docker) book(ctx context.Context, all []container.Summary) (book, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := d.api.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return book{}, &EngineError{Host: d.host, Err: err}
	}
	if err := d.nameBridges(ctx, r.Items); err != nil {
		return book{}, err
	}
	b := book{containers: map[string]string{}, networks: r.Items}
	for _, s := range all {
		b.containers[s.ID] = nameOf(s)
	}
	return b, nil
}

// inspect describes one container. The error wraps errdefs.ErrNotFound when it
// is gone.
func (d *Docker) inspect(ctx context.Context, id string, b book) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := d.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return Container{}, fmt.Errorf("inspect container %s: %w", short(id), err)
	}
	if err != nil {
		return Container{}, &EngineError{Host: d.host, Err: err}
	}
	c := describe(r.Container, b)
	c.Runtime = d.runtime(ctx)
	if c.PID == 0 {
		state := "no process"
		if r.Container.State != nil {
			state = string(r.Container.State.Status)
		}
		return Container{}, &NotRunningError{Name: c.Name, State: state}
	}
	if err := c.fill(); err != nil {
		return Container{}, &HiddenError{Name: c.Name, PID: c.PID, Err: err}
	}
	return c, nil
}
