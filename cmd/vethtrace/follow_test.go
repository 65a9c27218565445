// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// recorder is a tracer that only writes down what it is told.
type recorder struct {
	mu    sync.Mutex
	calls []string
	ports map[string][]tracer.Listener
	fail  error
}

func (r *recorder) note(call string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	return r.fail
}

func (r *recorder) Add(spec tracer.TargetSpec) error { return r.note("add " + spec.Name) }
func (r *recorder) Remove(id string) error           { return r.note("remove " + id) }
func (r *recorder) SetListeners(id string, l []tracer.Listener) error {
	r.mu.Lock()
	r.ports[id] = l
	r.mu.Unlock()
	return r.note("listeners " + id)
}

func (r *recorder) told() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.calls, ", ")
}

// newFollower follows nothing yet. Messages go to the buffer.
func newFollower(t *testing.T, all bool) (*follower, *recorder, *bytes.Buffer) {
	t.Helper()
	r := &recorder{ports: map[string][]tracer.Listener{}}
	log := &bytes.Buffer{}
	messages := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return &follower{
		tracer: r, all: all, engine: true, names: map[string]bool{}, live: map[string]member{},
		ends: make(chan instance), mapper: mapper{host: hostInode(t), log: messages},
		log: messages,
	}, r, log
}

func hostInode(t *testing.T) uint64 {
	t.Helper()
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.Inode()
}

// sleeper is a process in a network namespace of its own that stands for a container.
func sleeper(t *testing.T, id, name string) (container.Container, *exec.Cmd) {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	cmd := exec.Command("sleep", "60")
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	c, err := container.FromPID(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.Name, c.Mode = id, name, "bridge"
	return c, cmd
}

func TestFollowNames(t *testing.T) {
	w, r, log := newFollower(t, false)
	w.names["nginx"] = true
	first, _ := sleeper(t, "aa", "nginx")
	again, _ := sleeper(t, "aa", "nginx")
	made, _ := sleeper(t, "bb", "nginx")
	other, _ := sleeper(t, "cc", "other")
	ctx := t.Context()
	for _, e := range []container.Event{
		{Kind: container.Started, Container: first},
		{Kind: container.Started, Container: first}, // told again
		{Kind: container.Started, Container: other}, // not asked for
		{Kind: container.Stopped, Container: other},
		{Kind: container.Started, Container: again}, // its end was not told
		{Kind: container.Stopped, Container: first}, // is told late
		{Kind: container.Stopped, Container: again},
		{Kind: container.Started, Container: made}, // another container of the name
		{Kind: container.Unreachable, Err: errors.New("gone")},
	} {
		w.event(ctx, e)
	}
	if want := "add nginx, remove aa, add nginx, remove aa, add nginx"; r.told() != want {
		t.Errorf("got %s\nwant %s", r.told(), want)
	}
	for _, want := range []string{"waiting for it to start again", "the engine does not answer"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no message %q: %s", want, log)
		}
	}
}

// A container of another's namespace is that target, not one of its own.
func TestFollowShared(t *testing.T) {
	w, r, log := newFollower(t, true)
	c, _ := sleeper(t, "aa", "nginx")
	sidecar := c
	sidecar.ID, sidecar.Name, sidecar.Shares = "bb", "sidecar", "aa"
	w.event(t.Context(), container.Event{Kind: container.Started, Container: c})
	w.event(t.Context(), container.Event{Kind: container.Started, Container: sidecar})
	w.event(t.Context(), container.Event{Kind: container.Stopped, Container: sidecar})
	if want := "add nginx"; r.told() != want || !strings.Contains(log.String(), "shares the namespace") {
		t.Errorf("got %s, want %s: %s", r.told(), want, log)
	}
}

// A renamed container stays what it is, and comes back under its new name.
func TestFollowRenamed(t *testing.T) {
	w, r, _ := newFollower(t, false)
	w.names["nginx"] = true
	c, _ := sleeper(t, "aa", "nginx")
	w.event(t.Context(), container.Event{Kind: container.Started, Container: c})
	c.Name = "web"
	w.event(t.Context(), container.Event{Kind: container.Renamed, Container: c, OldName: "nginx"})
	w.event(t.Context(), container.Event{Kind: container.Stopped, Container: c})
	w.event(t.Context(), container.Event{Kind: container.Started, Container: c})
	if want := "add nginx, remove aa, add web"; r.told() != want {
		t.Errorf("got %s, want %s", r.told(), want)
	}
}

// What cannot be traced is a message, not an end.
func TestFollowRefused(t *testing.T) {
	w, r, log := newFollower(t, true)
	r.fail = &tracer.FullError{Table: "targets", Entry: "nginx"}
	c, _ := sleeper(t, "aa", "nginx")
	w.event(t.Context(), container.Event{Kind: container.Started, Container: c})
	if len(w.live) != 0 || !strings.Contains(log.String(), "level=WARN msg=\"container is not traced\"") {
		t.Errorf("live %v: %s", w.live, log)
	}
	log.Reset()
	r.fail = &tracer.NoWayError{Name: "nginx", Mode: "none"}
	w.event(t.Context(), container.Event{Kind: container.Started, Container: c})
	if len(w.live) != 0 || !strings.Contains(log.String(), "level=DEBUG") || strings.Contains(log.String(), "level=WARN") {
		t.Errorf("live %v: %s", w.live, log)
	}
}

// The end of the process is noticed without an engine, and is the end of all
// when nobody can tell of more.
func TestFollowEnd(t *testing.T) {
	w, r, log := newFollower(t, false)
	w.engine = false
	c, cmd := sleeper(t, "", "sleep")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w.began(ctx, member{Container: c})
	over := make(chan struct{})
	go w.run(ctx, nil, over)
	select {
	case <-over:
		t.Fatal("over while the target lives")
	case <-time.After(50 * time.Millisecond):
	}
	cmd.Process.Kill()
	begin := time.Now()
	select {
	case <-over:
	case <-ctx.Done():
		t.Fatal("the end was not noticed")
	}
	took := time.Since(begin)
	t.Logf("noticed after %v, of 1 s that are the goal", took)
	if took > goneLimit {
		t.Errorf("noticed after %s, want %v at most", took, goneLimit)
	}
	if want := "remove sleep"; r.told() != want || !strings.Contains(log.String(), "target has ended") {
		t.Errorf("got %s, want %s: %s", r.told(), want, log)
	}
}

// A host-mode target's ports are those of its own sockets, also of those that come later.
func TestFollowListeners(t *testing.T) {
	w, r, _ := newFollower(t, false)
	self, err := container.FromPID(selfPID())
	if err != nil {
		t.Fatal(err)
	}
	w.live[self.Name] = member{Container: self}
	w.listen()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(socket.LocalAddr().(*net.UDPAddr).Port)
	want := tracer.Listener{Protocol: "udp", Port: port}
	w.listen()
	if !slices.Contains(r.ports[self.Name], want) {
		t.Errorf("got %v, want %v in it", r.ports[self.Name], want)
	}
	r.ports[self.Name] = nil
	if w.listen(); !slices.Contains(r.ports[self.Name], want) {
		t.Error("not told again: the kernel side may have forgotten it")
	}
	socket.Close()
	w.listen()
	if slices.Contains(r.ports[self.Name], want) {
		t.Errorf("got %v, want no %v: its socket is closed", r.ports[self.Name], want)
	}
}

// TestFollowListenersAtOnce: what a target begins to listen on between the making
// of its spec and the attaching is told when tracing begins, not a second later.
func TestFollowListenersAtOnce(t *testing.T) {
	w, r, _ := newFollower(t, false)
	self, err := container.FromPID(selfPID())
	if err != nil {
		t.Fatal(err)
	}
	m := member{Container: self}
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	w.began(t.Context(), m)
	want := tracer.Listener{Protocol: "udp", Port: uint16(socket.LocalAddr().(*net.UDPAddr).Port)}
	if !slices.Contains(r.ports[m.key()], want) {
		t.Errorf("got %v, want %v in it", r.ports[m.key()], want)
	}
}

func TestDescribed(t *testing.T) {
	live := map[string]member{}
	name := func(names ...string) {
		for _, n := range names {
			live[n] = member{Container: container.Container{Name: n, Mode: "bridge"}}
		}
	}
	for _, step := range []struct {
		add  []string
		want string
	}{
		{nil, "no target yet, waiting for containers"},
		{[]string{"b"}, "b (bridge)"},
		{[]string{"a"}, "a (bridge), b (bridge)"},
		{[]string{"c", "d", "e", "f"}, "6 targets"},
	} {
		name(step.add...)
		if got := described(live); got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

// A host-mode container whose control group is not seen is its first process alone, and is said to be.
func TestSpecWithoutGroup(t *testing.T) {
	w, _, log := newFollower(t, false)
	self, err := container.FromPID(selfPID())
	if err != nil {
		t.Fatal(err)
	}
	self.ID, self.CgroupPaths = "aa", map[string]string{"memory": "/docker/aa"}
	spec, err := w.mapper.spec(member{Container: self})
	if err != nil {
		t.Fatal(err)
	}
	defer spec.Netns.Close()
	if spec.Cgroup.ID != 0 || spec.PID != selfPID() || !strings.Contains(log.String(), "only the container's first process") {
		t.Errorf("%+v: %s", spec, log)
	}
}
