// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// doctorTime is generous: it loads everything twice.
const doctorTime = 2 * time.Minute

// cmdValidDoctor checks a document against its schema: validdoctor stdout.
func cmdValidDoctor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: validdoctor FILE")
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(repository(ts), "docs", "doctor-schema.json"))
	ts.Check(err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(schema.Validate(doc))
}

// runDoctor runs it as a process of its own, started by prepare, and gives its
// document, its status, and what it wrote as messages. look is called all the while.
func runDoctor(t *testing.T, prepare func(*exec.Cmd) error, look func(pid int), args ...string) (d doctor.Document, status int, messages string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), doctorTime)
	defer cancel()
	var out, msg bytes.Buffer
	// The running file itself: another user may not reach the directory that it is in.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"doctor", "-o", "json"}, args...)...)
	cmd.Args[0] = "vethtrace"
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &msg, "/"
	if err := prepare(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		select {
		case <-tick.C:
			look(cmd.Process.Pid)
			continue
		case err := <-ended:
			tick.Stop()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
		}
		break
	}
	if err := stdjson.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("%v: %s %s", err, out.Bytes(), msg.Bytes())
	}
	return d, cmd.ProcessState.ExitCode(), msg.String()
}

// An unprivileged user gets status 3, and is told what is missing; nothing else goes wrong.
func TestDoctorUnprivileged(t *testing.T) {
	nobody := func(cmd *exec.Cmd) error {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd.Start()
	}
	d, status, messages := runDoctor(t, nobody, func(int) {})
	if status != exitKernel || messages != "" || d.Works || len(d.Hooks) > 0 {
		t.Errorf("status %d, %q, works %v, %d hooks", status, messages, d.Works, len(d.Hooks))
	}
	want := map[string]string{
		"capabilities":   "missing: CAP_BPF (to load programs), CAP_PERFMON",
		"tried":          "not at all: make world",
		"default detail": "not tried",
	}
	for _, c := range d.Checks {
		if text, ok := want[c.Name]; ok && c.State == doctor.Fail && strings.HasPrefix(c.Value, text) && c.Todo != "" {
			delete(want, c.Name)
		}
		if (c.State == doctor.Fail || c.State == doctor.Warn) && c.Todo == "" {
			t.Errorf("nothing to do about %+v", c)
		}
	}
	if len(want) > 0 {
		t.Errorf("not told: %v; %+v", want, d.Checks)
	}
}

// What it loads and attaches is gone when it ends.
func TestDoctorLeavesNothing(t *testing.T) {
	held := heldIDs{}
	look := func(pid int) {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fdinfo")
		entries, err := os.ReadDir(dir)
		if err != nil {
			return // it has just ended
		}
		for _, entry := range entries {
			if info, err := os.ReadFile(filepath.Join(dir, entry.Name())); err == nil {
				held.add(string(info))
			}
		}
	}
	d, status, messages := runDoctor(t, (*exec.Cmd).Start, look)
	if status != exitDone || messages != "" || !d.Works {
		t.Errorf("status %d, %q: %s, %+v", status, messages, d.Verdict, d.Checks)
	}
	slices.Sort(held.programs)
	slices.Sort(held.maps)
	slices.Sort(held.links)
	held = heldIDs{slices.Compact(held.programs), slices.Compact(held.maps), slices.Compact(held.links)}
	if len(held.programs) < 30 || len(held.links) < 40 || len(held.maps) < 20 {
		t.Errorf("held too little to have tried all hooks: %+v", held)
	}
	left := held
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = left.alive(); len(left.programs)+len(left.maps)+len(left.links) == 0 {
			return
		}
	}
	t.Errorf("after 5 s the kernel still has %+v", left)
}

// TestDoctorDocker is what is said of a real engine and of a container of it.
func TestDoctorDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), doctorTime)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	if out, err := e.Docker(ctx, "run", "-d", "-p", "8080:80", "--name", "nginx", "nginx"); err != nil {
		t.Fatal(err, out)
	}
	within := func(cmd *exec.Cmd) error { return e.Host.NS.Do(cmd.Start) }
	d, status, messages := runDoctor(t, within, func(int) {}, "--docker-host", "unix://"+e.Socket, "--container", "nginx")
	if status != exitDone || messages != "" || !d.Works {
		t.Errorf("status %d, %q: %s, %+v", status, messages, d.Verdict, d.Checks)
	}
	want := map[string]string{
		"engine":         "at unix://" + e.Socket + ", 1 running",
		"default bridge": "docker0",
		"userland proxy": "docker-proxy serves published ports",
		"docker0":        "bridge, mtu 1500",
		"nginx/eth0":     "device, veth, mtu 1500",
		"conntrack":      "connections",
		"rules":          "ip/nat",
		"eth0":           "uplink, veth, mtu 1500",
	}
	for _, c := range d.Checks {
		if text, ok := want[c.Name]; ok && strings.Contains(c.Value, text) {
			delete(want, c.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not told: %v; %+v", want, d.Checks)
	}
	if d.Environment.Docker == nil || d.Environment.Host.Name != "" {
		t.Errorf("environment: %+v", d.Environment)
	}
}

// An engine that is there and says nothing is to be restarted, not started.
func TestTodoOfEngine(t *testing.T) {
	for _, test := range []struct {
		err  error
		todo string
	}{
		{context.DeadlineExceeded, "restart it, "},
		{syscall.ECONNREFUSED, "start it, "},
	} {
		// the client gives errors as text
		err := &container.EngineError{Host: "unix:///nobody.sock", Err: errors.New("Get: " + test.err.Error())}
		if todo, denied := todoOfEngine(err); denied || !strings.HasPrefix(todo, test.todo) {
			t.Errorf("%v: %q, denied %v", err, todo, denied)
		}
	}
}
