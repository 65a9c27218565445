// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// worldEnv makes the test binary a process that has a world and waits to be killed.
const worldEnv = "VETHTRACE_LAB_TEST_WORLD"

// eventually waits for a fact.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s in vain: %s", what)
		}
	}
}

// inUse counts the threads of the machine that live in one of the namespaces.
func inUse(inodes ...uint64) (n int) {
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, l := range links {
		at, err := os.Readlink(l)
		if err != nil {
			continue
		}
		for _, i := range inodes {
			if at == fmt.Sprintf("net:[%d]", i) {
				n++
			}
		}
	}
	return n
}

func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func TestHolderIsWhereItSays(t *testing.T) {
	w := newWorld(t, Config{Containers: 2})
	for i, name := range []string{"nginx", "c2"} {
		c := w.Containers[i]
		if c.Name != name || w.Container(name) != c {
			t.Errorf("container %d is %s, want %s", i, c.Name, name)
		}
		ns, err := netns.FromPID(c.PID)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		if ns.Inode() != c.NS.Inode() {
			t.Errorf("%s: holder is in %d, want %d", name, ns.Inode(), c.NS.Inode())
		}
		if want := netip.AddrFrom4([4]byte{172, 17, 0, byte(2 + i)}); c.IP4 != want {
			t.Errorf("%s has %s, want %s", name, c.IP4, want)
		}
		if ok, err := w.Host.HasLink(c.HostDev); !ok || err != nil || len(c.HostDev) != 11 {
			t.Errorf("%s: %q is no device of the host (%v)", name, c.HostDev, err)
		}
	}
}

func TestRemoveContainer(t *testing.T) {
	w := newWorld(t, Config{})
	ctx, c := testContext(t), w.Containers[0]
	if err := w.RemoveContainer(ctx, "nginx"); err != nil {
		t.Fatal(err)
	}
	if there, err := w.Host.HasLink(c.HostDev); there || err != nil {
		t.Errorf("%s is still there (%v)", c.HostDev, err)
	}
	if !ended(c.PID) {
		t.Errorf("holder %d lives", c.PID)
	}
	if rules, err := w.Host.Output(ctx, "iptables-save"); err != nil || strings.Contains(rules, "172.17.0.2") {
		t.Errorf("rules of its port stay (%v):\n%s", err, rules)
	}
	if err := w.RemoveContainer(ctx, "nginx"); err == nil {
		t.Error("removed twice")
	}
	again, err := w.AddContainer(ctx, ContainerConfig{Name: "nginx", Ports: []Port{{Host: 8080, Container: 80}}})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := w.Client.HTTP(ctx, "http://198.51.100.1:8080/", 1, LoadConfig{}); err != nil || res.Done != 1 {
		t.Errorf("after the restart as %s: %+v %v", again.IP4, res, err)
	}
}

func TestNothingLeaks(t *testing.T) {
	for _, kind := range wires {
		t.Run(kind.String(), func(t *testing.T) {
			w, err := New(testContext(t), Config{Wire: kind}) // warm-up: the poller, the BPF caches
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			known := goleak.IgnoreCurrent()
			fds, _ := os.ReadDir("/proc/self/fd")
			w, err = New(testContext(t), Config{Wire: kind})
			if err != nil {
				t.Fatal(err)
			}
			inodes := []uint64{w.Client.NS.Inode(), w.Host.NS.Inode(), w.Containers[0].NS.Inode()}
			if inUse(inodes...) == 0 {
				t.Error("no process in a living world: the check is blind")
			}
			if err := errors.Join(w.Close(), w.Close()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "no process in the world's namespaces", func() bool { return inUse(inodes...) == 0 })
			goleak.VerifyNone(t, known)
			if after, _ := os.ReadDir("/proc/self/fd"); len(after) > len(fds) {
				t.Errorf("%d descriptors before, %d after", len(fds), len(after))
			}
		})
	}
}

func TestKillLeavesNothing(t *testing.T) {
	for _, kind := range wires {
		t.Run(kind.String(), func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^$")
			cmd.Env = append(os.Environ(), worldEnv+"="+strconv.Itoa(int(kind)))
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			var host, container uint64
			var pids [3]int
			if _, serr := fmt.Sscan(line, &host, &container, &pids[0], &pids[1], &pids[2]); err != nil || serr != nil {
				_ = cmd.Process.Kill()
				t.Fatalf("child said %q: %v %v", line, err, serr)
			}
			if inUse(host, container) < 3 {
				t.Error("too few processes in a living world: the check is blind")
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			eventually(t, "processes gone", func() bool {
				return ended(pids[0]) && ended(pids[1]) && ended(pids[2]) && inUse(host, container) == 0
			})
		})
	}
}

// liveWorld is the other side of TestKillLeavesNothing; it does not return.
func liveWorld(kind string) {
	n, _ := strconv.Atoi(kind)
	ctx := context.Background()
	w, err := New(ctx, Config{Wire: WireKind(n)})
	var h *HostMode
	var p []*Proxy
	if err == nil {
		h, err = w.StartHostMode(ctx, 80)
	}
	if err == nil {
		p, err = w.StartProxy(ctx)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(w.Host.NS.Inode(), w.Containers[0].NS.Inode(), w.Containers[0].PID, h.PID, p[0].PID)
	_, _ = io.Copy(io.Discard, os.Stdin)
	select {}
}
