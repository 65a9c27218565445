// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	os.Exit(m.Run())
}

func start(t *testing.T, cfg Config) *Engine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func run(t *testing.T, e *Engine, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := e.Docker(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// answer asks until the server has come up: docker run returns when the process has started.
func answer(t *testing.T, from *lab.Node, url string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status, body, err := from.Get(t.Context(), url)
		if err == nil && status == 200 {
			return string(body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: status %d, %v", url, status, err)
		}
	}
}

// rules returns iptables-save's lines, sorted, without comments, counters and the order of chains.
func rules(t *testing.T, host *lab.Node) []string {
	t.Helper()
	out, err := host.Output(t.Context(), "iptables-save")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	table := ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "*") {
			table = line
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line, _, _ = strings.Cut(line, " [")
		lines = append(lines, table+" "+line)
	}
	slices.Sort(lines)
	return lines
}

func TestEngine(t *testing.T) {
	e := start(t, Config{})
	if err := e.ImportNginx(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, e, "run", "-d", "-p", "8080:80", "--name", "nginx", "nginx")

	t.Run("published port", func(t *testing.T) {
		got := answer(t, e.Client, "http://198.51.100.1:8080/whoami")
		if !strings.Contains(got, "198.51.100.2:") || !strings.Contains(got, "172.17.0.2:80") {
			t.Errorf("whoami = %q: not by DNAT", got)
		}
		if page := answer(t, e.Client, "http://198.51.100.1:8080/"); len(page) != 612 {
			t.Errorf("page has %d bytes, want 612", len(page))
		}
	})
	t.Run("docker-proxy on localhost", func(t *testing.T) {
		if got := answer(t, e.Host, "http://127.0.0.1:8080/whoami"); !strings.Contains(got, "172.17.0.1:") {
			t.Errorf("whoami = %q: not by docker-proxy", got)
		}
	})
	t.Run("same rules as the lab", func(t *testing.T) {
		w, err := lab.New(t.Context(), lab.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		theirs, ours := rules(t, e.Host), rules(t, w.Host)
		if len(theirs) < 20 {
			t.Errorf("the engine has only %d lines of rules", len(theirs))
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("rules of the engine (-) and the lab (+):\n%s", diff)
		}
	})
	t.Run("container is where its pid is", func(t *testing.T) {
		pid, err := strconv.Atoi(run(t, e, "inspect", "-f", "{{.State.Pid}}", "nginx"))
		if err != nil {
			t.Fatal(err)
		}
		ns, err := netns.FromPID(pid)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		if ns.Inode() == e.Host.NS.Inode() {
			t.Error("bridge mode, but in the host's namespace")
		}
	})
	t.Run("host mode", func(t *testing.T) {
		run(t, e, "run", "-d", "--net=host", "--name", "hosted", "nginx")
		got := answer(t, e.Client, "http://198.51.100.1:80/whoami")
		if !strings.Contains(got, "198.51.100.1:80") {
			t.Errorf("whoami = %q", got)
		}
	})
	checkClosed(t, &e.base, e.Close)
}

// checkClosed closes the engine and looks for what might have stayed.
func checkClosed(t *testing.T, e *base, end func() error) {
	t.Helper()
	if pids, err := leftovers(e.dir); err != nil || len(pids) < 2 {
		t.Errorf("found only %v of a living engine (%v): the check is blind", pids, err)
	}
	if err := errors.Join(end(), end()); err != nil {
		t.Fatal(err)
	}
	if pids, err := leftovers(e.dir); err != nil || len(pids) > 0 {
		t.Errorf("processes stay: %v (%v)", pids, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), e.dir) {
		t.Errorf("mounts stay (%v):\n%s", err, mounts)
	}
	if _, err := os.Stat(e.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s stays: %v", e.dir, err)
	}
}

func TestCloseAfterTheDaemonsWereKilled(t *testing.T) {
	e := start(t, Config{Wire: lab.WireTap})
	if err := e.ImportNginx(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, e, "run", "-d", "-p", "8080:80", "--name", "nginx", "nginx")
	answer(t, e.Client, "http://198.51.100.1:8080/")
	pid, err := strconv.Atoi(run(t, e, "inspect", "-f", "{{.State.Pid}}", "nginx"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*daemon{e.dockerd, e.containerd} {
		if err := d.proc.Kill(); err != nil {
			t.Fatal(err)
		}
		<-d.done
	}
	if state, _ := stat(pid); state == "" || state == "Z" {
		t.Fatal("the container died with the daemons: nothing to test")
	}
	checkClosed(t, &e.base, e.Close)
	if state, _ := stat(pid); state != "" && state != "Z" {
		t.Errorf("the container (pid %d) lives on", pid)
	}
}

func TestStartFails(t *testing.T) {
	t.Run("bad argument", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "e")
		_, err := Start(t.Context(), Config{Dir: dir, Args: []string{"--no-such-flag"}})
		if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
			t.Errorf("error does not say why: %v", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("directory stays: %v", err)
		}
		if pids, err := leftovers(dir); err != nil || len(pids) > 0 {
			t.Errorf("processes stay: %v (%v)", pids, err)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "e")
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		_, err := Start(ctx, Config{Dir: dir})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if pids, err := leftovers(dir); err != nil || len(pids) > 0 {
			t.Errorf("processes stay: %v (%v)", pids, err)
		}
	})
}

func TestImageContents(t *testing.T) {
	var b bytes.Buffer
	if err := NginxImage().write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		got[h.Name] = h.Size
	}
	for _, name := range []string{"usr/bin/nginx", "etc/nginx/nginx.conf", "tmp/", "lib64", "etc/passwd"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if n := got["usr/share/nginx/html/index.html"]; n != 612 {
		t.Errorf("page has %d bytes, want 612", n)
	}
}

func TestImageOfAMissingProgram(t *testing.T) {
	err := Image{Name: "x", Programs: []string{"no-such-program"}}.write(t.Context(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v", err)
	}
}

func TestLibraries(t *testing.T) {
	out := "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x1)\n\t/lib64/ld-linux-x86-64.so.2 (0x2)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x1)\n"
	want := []string{"/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"}
	if diff := cmp.Diff(want, libraries(out)); diff != "" {
		t.Error(diff)
	}
	if got := libraries("\tnot a dynamic executable\n"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
