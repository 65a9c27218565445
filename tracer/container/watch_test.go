// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"testing"
	"time"
)

// next returns the next event, failing the test when none comes.
func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10 s")
	}
	return Event{}
}

func expect(t *testing.T, events <-chan Event, kind EventKind, name string, pid int) Event {
	t.Helper()
	e := next(t, events)
	if e.Kind != kind || e.Container.Name != name || e.Container.PID != pid {
		t.Fatalf("%s %s (%d), want %s %s (%d)", e.Kind, e.Container.Name, e.Container.PID, kind, name, pid)
	}
	return e
}

// watch starts a watch that the test's end stops.
func watch(t *testing.T, d *Docker) <-chan Event {
	ctx, cancel := context.WithCancel(t.Context())
	events := d.Watch(ctx)
	t.Cleanup(func() {
		cancel()
		for range events { // closed when the watch has ended
		}
	})
	return events
}

func TestDockerWatch(t *testing.T) {
	e := newEngine(t)
	first, second, third := sleeper(t).Process.Pid, sleeper(t).Process.Pid, sleeper(t).Process.Pid
	nginx := e.add("inspect-nginx.json", first)
	events := watch(t, e.client())
	expect(t, events, Started, "nginx", first)

	web := e.add("inspect-web.json", 0)
	e.launch(web, second)
	expect(t, events, Started, "web", second)

	e.change(web, "rename", func() { web.name = "shop" })
	if r := expect(t, events, Renamed, "shop", second); r.OldName != "web" {
		t.Errorf("old name %q", r.OldName)
	}
	e.die(web)
	expect(t, events, Stopped, "shop", second)

	// A restart, seen as one look: the old run ends and a new one begins.
	e.change(nginx, "start", func() { nginx.setPID(third) })
	expect(t, events, Stopped, "nginx", first)
	expect(t, events, Started, "nginx", third)
}

func TestDockerWatchReconnects(t *testing.T) {
	e := newEngine(t)
	old := sleeper(t)
	kept, restarted, fresh := sleeper(t).Process.Pid, sleeper(t).Process.Pid, sleeper(t).Process.Pid
	e.add("inspect-nginx.json", kept)
	web := e.add("inspect-web.json", old.Process.Pid)
	mv := e.add("inspect-mvweb.json", fresh)
	events := watch(t, e.client())
	expect(t, events, Started, "nginx", kept)
	expect(t, events, Started, "web", old.Process.Pid)
	expect(t, events, Started, "mvweb", fresh)

	e.stop()
	var engine *EngineError
	if u := next(t, events); u.Kind != Unreachable || !errors.As(u.Err, &engine) {
		t.Fatalf("%s %v, want unreachable", u.Kind, u.Err)
	}
	// While nobody listens: web restarts, mvweb is removed, isolated comes.
	e.mu.Lock()
	web.setPID(restarted)
	e.mu.Unlock()
	oldPID := old.Process.Pid
	kill(old)
	e.remove(mv)
	e.add("inspect-isolated.json", fresh)
	time.Sleep(2 * minBackoff) // let an attempt fail: one failure is told, not each
	e.start()
	expect(t, events, Stopped, "mvweb", fresh)
	expect(t, events, Stopped, "web", oldPID)
	expect(t, events, Started, "web", restarted)
	expect(t, events, Started, "isolated", fresh)
	if r := next(t, events); r.Kind != Reachable || r.Err != nil {
		t.Fatalf("%s %v, want reachable", r.Kind, r.Err)
	}

	// And again: each time away is told once.
	e.stop()
	if u := next(t, events); u.Kind != Unreachable {
		t.Fatalf("%s, want unreachable", u.Kind)
	}
	e.start()
	if r := next(t, events); r.Kind != Reachable {
		t.Fatalf("%s, want reachable", r.Kind)
	}
}

func TestDockerWatchWithoutEngine(t *testing.T) {
	e := newEngine(t)
	e.stop()
	pid := sleeper(t).Process.Pid
	e.add("inspect-nginx.json", pid)
	events := watch(t, e.client())
	if u := next(t, events); u.Kind != Unreachable || u.Err == nil {
		t.Fatalf("%+v, want unreachable", u)
	}
	e.start()
	expect(t, events, Started, "nginx", pid)
}

// A reader that sleeps must not block the engine, and sees the end state.
func TestDockerWatchSlowReader(t *testing.T) {
	e := newEngine(t)
	pid := sleeper(t).Process.Pid
	nginx := e.add("inspect-nginx.json", pid)
	events := watch(t, e.client())
	expect(t, events, Started, "nginx", pid)
	for range 300 {
		e.change(nginx, "rename", func() { nginx.name += "x" })
	}
	e.die(nginx)
	for {
		if ev := next(t, events); ev.Kind == Stopped {
			break
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listed > 150 {
		t.Errorf("%d questions for 301 events that nobody read", e.listed)
	}
}

// Known containers are not inspected again when others come and go.
func TestDockerWatchInspectsFew(t *testing.T) {
	e := newEngine(t)
	pid := sleeper(t).Process.Pid
	for _, f := range []string{"nginx", "mvweb", "isolated", "cli"} {
		e.add("inspect-"+f+".json", pid)
	}
	events := watch(t, e.client())
	for range 4 {
		next(t, events)
	}
	web := e.add("inspect-web.json", 0)
	e.mu.Lock()
	before := e.inspected
	e.mu.Unlock()
	for range 5 {
		e.launch(web, pid)
		expect(t, events, Started, "web", pid)
		e.die(web)
		expect(t, events, Stopped, "web", pid)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.inspected - before; n > 10 {
		t.Errorf("%d inspections for 5 starts", n)
	}
}
