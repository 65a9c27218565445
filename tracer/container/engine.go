// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Runtime is a kind of engine.
type Runtime string

// The runtimes. Auto stands for all of them that run here, None for no engine.
const (
	RuntimeAuto       Runtime = "auto"
	RuntimeDocker     Runtime = "docker"
	RuntimePodman     Runtime = "podman"
	RuntimeContainerd Runtime = "containerd"
	RuntimeNone       Runtime = "none"
)

// Runtimes lists what a user may choose from.
func Runtimes() []Runtime {
	return []Runtime{RuntimeAuto, RuntimeDocker, RuntimePodman, RuntimeContainerd, RuntimeNone}
}

// TellsPorts tells that engines of this kind know all ports that are published.
// containerd knows only what a client has told it.
func (r Runtime) TellsPorts() bool { return r == RuntimeDocker || r == RuntimePodman }

// requestTimeout bounds each question but the event stream.
const requestTimeout = 10 * time.Second

// Config says which engine to ask; its zero value is all engines of the machine.
type Config struct {
	Runtime Runtime // "" for auto
	// Host is the engine's address, unix:///var/run/docker.sock for one; "" for
	// what the environment says (DOCKER_HOST, CONTAINER_HOST for Podman,
	// CONTAINERD_ADDRESS), then the places where such engines listen. Under auto
	// an address is that of an engine with Docker's API, the only one asked.
	Host string
}

// Engine tells of containers. It only reads. Errors are of type *EngineError
// where nothing else is said.
type Engine interface {
	// Host is the engine's address; of several engines all of them.
	Host() string
	// Names returns the names of the running containers, sorted: for completion.
	Names(ctx context.Context) ([]string, error)
	// List describes the running containers. Containers that end meanwhile, or
	// whose processes can't be seen from here, are left out.
	List(ctx context.Context) ([]Container, error)
	// Find describes the running container with that name or, failing that, with
	// that id or prefix of an id. Errors are of type *NotFoundError,
	// *NotRunningError, *AmbiguousError, *HiddenError or *EngineError.
	Find(ctx context.Context, nameOrID string) (Container, error)
	// Networks returns the engine's networks, by name.
	Networks(ctx context.Context) ([]NetworkInfo, error)
	// Watch tells what runs, beginning with a Started for each container that
	// runs already, until ctx ends; then it closes the channel. A restart is a
	// Stopped and a Started. It connects again when the engine goes away, and then
	// compares what runs with what it told, so nothing is missed but containers
	// that came and went meanwhile. The engine is never kept waiting by a slow
	// reader.
	Watch(ctx context.Context) <-chan Event
	// Close ends the connections.
	Close() error
}

// Open makes the engine that cfg says. It does not connect yet: an engine that
// can't be reached is an *EngineError of the first question. Close it after use.
func Open(cfg Config) (Engine, error) {
	switch cfg.Runtime {
	case RuntimeDocker:
		return NewDocker(cfg)
	case RuntimePodman:
		return newPodman(cfg)
	case RuntimeContainerd:
		return NewContainerd(cfg)
	case RuntimeAuto, "":
		if cfg.Host != "" || os.Getenv(envDockerHost) != "" {
			return NewDocker(cfg)
		}
		return newSeveral(candidates()), nil
	}
	return nil, fmt.Errorf("open an engine: there is none of kind %q", cfg.Runtime)
}

// The clients' own environment variables.
const (
	envDockerHost     = "DOCKER_HOST"
	envPodmanHost     = "CONTAINER_HOST"
	envContainerdHost = "CONTAINERD_ADDRESS"
)

// ref names a container of an engine.
type ref struct {
	id    string
	name  string
	names []string // all of them
	state string   // running, paused, exited, ...
}

// runs tells whether it has a process.
func (r ref) runs() bool { return r.state == stateRunning || r.state == statePaused }

// The states of containers with a process, as engines name them.
const (
	stateRunning = "running"
	statePaused  = "paused"
)

// choose picks the container that a name or id means: one that runs before one
// that does not.
func choose(all []ref, text string) (ref, error) {
	var named, prefixed []ref
	var names []string
	for _, r := range all {
		switch {
		case r.name == text || slices.Contains(r.names, text):
			named = append(named, r)
		case text != "" && r.hasPrefix(text):
			prefixed = append(prefixed, r)
		}
		names = append(names, r.name)
	}
	fit := named
	if len(fit) == 0 {
		fit = prefixed
	}
	if running := slices.DeleteFunc(slices.Clone(fit), func(r ref) bool { return !r.runs() }); len(named) > 1 && len(running) > 0 {
		fit = running
	}
	switch len(fit) {
	case 0:
		return ref{}, &NotFoundError{Name: text, Near: near(text, names)}
	case 1:
		return fit[0], nil
	}
	e := &AmbiguousError{Prefix: text}
	for _, r := range fit {
		e.Matches = append(e.Matches, fmt.Sprintf("%s (%s)", r.name, short(r.id)))
	}
	return ref{}, e
}

// hasPrefix tells whether the id begins so: with or without the namespace that
// containerd's ids begin with.
func (r ref) hasPrefix(text string) bool {
	_, bare, _ := strings.Cut(r.id, "/")
	return strings.HasPrefix(r.id, strings.ToLower(text)) || strings.HasPrefix(r.id, text) || bare != "" && strings.HasPrefix(bare, text)
}

func short(id string) string {
	if space, bare, ok := strings.Cut(id, "/"); ok {
		return space + "/" + short(bare)
	}
	return id[:min(len(id), 12)]
}

// sorted returns the names of those that run.
func sorted(all []ref) []string {
	names := make([]string, 0, len(all))
	for _, r := range all {
		if r.runs() {
			names = append(names, r.name)
		}
	}
	slices.Sort(names)
	return names
}

func compareNetworks(a, b NetworkInfo) int { return cmp.Compare(a.Name, b.Name) }

// AsDocker finds the Docker in an engine; ok is false where there is none.
func AsDocker(e Engine) (d *Docker, ok bool) {
	switch e := e.(type) {
	case *Docker:
		return e, e.kind != RuntimePodman
	case *several:
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, p := range e.order {
			if d, ok := AsDocker(e.engines[p]); ok {
				return d, true
			}
		}
	}
	return nil, false
}
