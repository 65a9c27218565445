// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// requestTimeout bounds each question but the event stream.
const requestTimeout = 10 * time.Second

// Config says which engine to ask; its zero value is Docker's own defaults.
type Config struct {
	Host string // unix:///var/run/docker.sock; "" for DOCKER_HOST, then the default socket
}

// Docker asks an engine that speaks Docker's API (Docker from 20.10 on,
// Podman's socket). It only reads.
type Docker struct {
	api  *client.Client
	host string
}

// NewDocker makes a resolver. It does not connect yet: an engine that can't be
// reached is an *EngineError of the first question. Close it after use.
func NewDocker(cfg Config) (*Docker, error) {
	host := cfg.Host
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	if host == "" {
		host = client.DefaultDockerHost
	}
	api, err := client.New(client.WithTLSClientConfigFromEnv(), client.WithHost(host), client.WithAPIVersionFromEnv())
	if err != nil {
		return nil, &EngineError{Host: host, Err: err}
	}
	return &Docker{api: api, host: host}, nil
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
	names := make([]string, 0, len(all))
	for _, s := range all {
		names = append(names, nameOf(s))
	}
	slices.Sort(names)
	return names, nil
}

// List describes the running containers, in the engine's order. Containers that
// end meanwhile, or whose processes can't be seen from here, are left out.
// Errors are of type *EngineError.
func (d *Docker) List(ctx context.Context) ([]Container, error) {
	all, err := d.summaries(ctx, false)
	if err != nil {
		return nil, err
	}
	book, err := d.book(ctx, all)
	if err != nil {
		return nil, err
	}
	var list []Container
	for _, s := range all {
		c, err := d.inspect(ctx, s.ID, book)
		var gone *NotRunningError
		var hidden *HiddenError
		switch {
		case err == nil:
			list = append(list, c)
		case errors.As(err, &gone), errors.As(err, &hidden), errdefs.IsNotFound(err):
		default:
			return nil, err
		}
	}
	return list, nil
}

// Find describes the running container with that name or, failing that, with
// that id or prefix of an id. Errors are of type *NotFoundError,
// *NotRunningError, *AmbiguousError, *HiddenError or *EngineError.
func (d *Docker) Find(ctx context.Context, nameOrID string) (Container, error) {
	all, err := d.summaries(ctx, true)
	if err != nil {
		return Container{}, err
	}
	s, err := choose(all, strings.TrimPrefix(nameOrID, "/"))
	if err != nil {
		return Container{}, err
	}
	if s.State != container.StateRunning && s.State != container.StatePaused {
		return Container{}, &NotRunningError{Name: nameOf(s), State: string(s.State)}
	}
	book, err := d.book(ctx, all)
	if err != nil {
		return Container{}, err
	}
	c, err := d.inspect(ctx, s.ID, book)
	if errdefs.IsNotFound(err) {
		return Container{}, &NotRunningError{Name: nameOf(s), State: "removed"}
	}
	return c, err
}

// choose picks the container that a name or id means.
func choose(all []container.Summary, ref string) (container.Summary, error) {
	var prefixed []container.Summary
	var names []string
	for _, s := range all {
		if nameOf(s) == ref || slices.Contains(s.Names, "/"+ref) {
			return s, nil
		}
		if ref != "" && strings.HasPrefix(s.ID, strings.ToLower(ref)) {
			prefixed = append(prefixed, s)
		}
		names = append(names, nameOf(s))
	}
	switch len(prefixed) {
	case 0:
		return container.Summary{}, &NotFoundError{Name: ref, Near: near(ref, names)}
	case 1:
		return prefixed[0], nil
	}
	e := &AmbiguousError{Prefix: ref}
	for _, s := range prefixed {
		e.Matches = append(e.Matches, fmt.Sprintf("%s (%s)", nameOf(s), short(s.ID)))
	}
	return container.Summary{}, e
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

func short(id string) string { return id[:min(len(id), 12)] }

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
