// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// together is several engines, of which those in the list are found.
func together(t *testing.T, list *atomic.Pointer[[]place]) *several {
	s := newSeveral(func() []place {
		return slices.DeleteFunc(slices.Clone(*list.Load()), func(p place) bool { return !isSocket(p.path) })
	})
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSeveral(t *testing.T) {
	docker, ctd := newEngine(t), newContainerd(t)
	pid := sleeper(t).Process.Pid
	docker.add("inspect-nginx.json", pid)
	ctd.add(&fakeUnit{space: "moby", id: docker.containers[0].id, pid: pid})
	ctd.add(&fakeUnit{space: "default", id: "plain", pid: pid})
	var places atomic.Pointer[[]place]
	places.Store(&[]place{{RuntimeContainerd, ctd.socket}, {RuntimeDocker, docker.socket}, {RuntimePodman, "/nowhere/podman.sock"}})
	s := together(t, &places)
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list {
		names = append(names, string(c.Runtime)+" "+c.Name)
	}
	if want := []string{"docker nginx", "containerd plain"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q: Docker's own are not told twice", names, want)
	}
	for _, name := range []string{"nginx", "plain"} {
		if c, err := s.Find(t.Context(), name); err != nil || c.Name != name {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	var notFound *NotFoundError
	if _, err := s.Find(t.Context(), "plian"); !errors.As(err, &notFound) || !slices.Equal(notFound.Near, []string{"plain"}) {
		t.Errorf("%v", err)
	}
	if names, err := s.Names(t.Context()); err != nil || !slices.Equal(names, []string{"nginx", "plain"}) {
		t.Errorf("%q, %v", names, err)
	}
	if d, ok := AsDocker(s); !ok || d.Host() != "unix://"+docker.socket {
		t.Errorf("Docker among them: %v", ok)
	}
	if !strings.Contains(s.Host(), docker.socket) || !strings.Contains(s.Host(), ctd.socket) {
		t.Errorf("host %q", s.Host())
	}
}

// One that listens without answering is told of, and does not hide the others.
func TestSeveralSilent(t *testing.T) {
	docker, podman := newEngine(t), newEngine(t)
	pid := sleeper(t).Process.Pid
	docker.add("inspect-nginx.json", pid)
	podman.fail = true
	var places atomic.Pointer[[]place]
	places.Store(&[]place{{RuntimeDocker, docker.socket}, {RuntimePodman, podman.socket}})
	s := together(t, &places)
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if silent := s.Silent(); len(silent) != 1 || !strings.Contains(silent[0].Error(), podman.socket) {
		t.Errorf("silent: %v", silent)
	}
	places.Store(&[]place{{RuntimePodman, podman.socket}})
	alone := together(t, &places)
	var engine *EngineError
	if _, err := alone.List(t.Context()); !errors.As(err, &engine) || engine.Host != "unix://"+podman.socket {
		t.Errorf("%v", err)
	}
}

// Without any engine the error is that of Docker, as it always was.
func TestSeveralNone(t *testing.T) {
	t.Setenv(envDockerHost, "unix:///nowhere/docker.sock")
	var places atomic.Pointer[[]place]
	places.Store(&[]place{})
	s := together(t, &places)
	var engine *EngineError
	if _, err := s.Find(t.Context(), "nginx"); !errors.As(err, &engine) || engine.Host != "unix:///nowhere/docker.sock" {
		t.Errorf("%v", err)
	}
}

// An engine that begins to listen later is watched from then on.
func TestSeveralWatch(t *testing.T) {
	t.Setenv(envDockerHost, "unix:///nowhere/docker.sock")
	ctd := newContainerd(t)
	pid := sleeper(t).Process.Pid
	ctd.add(&fakeUnit{space: "default", id: "plain", pid: pid})
	var places atomic.Pointer[[]place]
	places.Store(&[]place{})
	ctx, cancel := context.WithCancel(t.Context())
	events := together(t, &places).Watch(ctx)
	t.Cleanup(func() {
		cancel()
		for range events { // closed when the watch has ended
		}
	})
	if u := next(t, events); u.Kind != Unreachable {
		t.Fatalf("%s, want unreachable", u.Kind)
	}
	places.Store(&[]place{{RuntimeContainerd, ctd.socket}})
	if r := next(t, events); r.Kind != Reachable {
		t.Fatalf("%s, want reachable", r.Kind)
	}
	expect(t, events, Started, "plain", pid)
}

func TestOpen(t *testing.T) {
	for _, name := range []string{envDockerHost, envPodmanHost, envContainerdHost} {
		t.Setenv(name, "")
	}
	for _, tt := range []struct {
		cfg  Config
		host string // "" for no such engine
	}{
		{Config{Runtime: RuntimeDocker}, "unix:///var/run/docker.sock"},
		{Config{Runtime: RuntimePodman, Host: "unix:///x/podman.sock"}, "unix:///x/podman.sock"},
		{Config{Runtime: RuntimeContainerd}, "unix:///run/containerd/containerd.sock"},
		{Config{Runtime: RuntimeContainerd, Host: "/x/c.sock"}, "unix:///x/c.sock"},
		{Config{Host: "unix:///x/docker.sock"}, "unix:///x/docker.sock"},
		{Config{Runtime: RuntimeNone}, ""},
		{Config{Runtime: "lxd"}, ""},
	} {
		e, err := Open(tt.cfg)
		if err != nil {
			if tt.host != "" {
				t.Errorf("%+v: %v", tt.cfg, err)
			}
			continue
		}
		if e.Host() != tt.host {
			t.Errorf("%+v: %s, want %s", tt.cfg, e.Host(), tt.host)
		}
		e.Close()
	}
	t.Setenv(envContainerdHost, "/run/k3s/containerd/containerd.sock")
	e, err := Open(Config{Runtime: RuntimeContainerd})
	if err != nil || e.Host() != "unix:///run/k3s/containerd/containerd.sock" {
		t.Errorf("%v, %v", e, err)
	}
	e.Close()
	if isSocket(os.DevNull) || isSocket("/nowhere") {
		t.Error("not a socket")
	}
}
