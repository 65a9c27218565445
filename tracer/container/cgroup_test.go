// SPDX-License-Identifier: Apache-2.0

package container

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// newCgroup makes a cgroup in the first hierarchy that lets us, with one
// beneath, and takes both away after the test.
func newCgroup(t *testing.T) (parent, child string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		// cpuset wants settings before it takes processes.
		if !strings.HasPrefix(f[2], "cgroup") || strings.Contains(f[3], "cpuset") {
			continue
		}
		parent = filepath.Join(f[1], fmt.Sprintf("vethtrace-test-%d", os.Getpid()))
		child = filepath.Join(parent, "child")
		if os.MkdirAll(child, 0o755) == nil {
			t.Cleanup(func() {
				os.Remove(child)
				os.Remove(parent)
			})
			return parent, child
		}
	}
	t.Fatal("no cgroup hierarchy can be written")
	return "", ""
}

func join(t *testing.T, cgroup string, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// In host mode a container shares its network and perhaps its PID namespace
// with everybody: only its cgroup tells its processes and sockets.
func TestProcessesAndSocketsByCgroup(t *testing.T) {
	parent, child := newCgroup(t)
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	neighbors, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer neighbors.Close()
	holding := func(l net.Listener) func(*exec.Cmd) {
		return func(cmd *exec.Cmd) {
			f, err := l.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			cmd.ExtraFiles = []*os.File{f}
		}
	}
	first := sleeper(t).Process.Pid
	second := sleeper(t, holding(own)).Process.Pid
	outside := sleeper(t, holding(neighbors)).Process.Pid
	join(t, parent, first)
	join(t, child, second)

	e := newEngine(t)
	e.add("inspect-nginx-host-mode.json", first)
	c, err := e.client().Find(t.Context(), "nginx-host-mode")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := Processes(c)
	want := []int{first, second}
	slices.Sort(want)
	if err != nil || !slices.Equal(pids, want) {
		t.Errorf("processes %v, %v; want %v, not %d", pids, err, want, outside)
	}
	sockets, err := Sockets(c)
	if err != nil || len(sockets) != 1 || int(sockets[0].Port) != own.Addr().(*net.TCPAddr).Port {
		t.Errorf("sockets %+v, %v; want only port %d", sockets, err, own.Addr().(*net.TCPAddr).Port)
	}
}
