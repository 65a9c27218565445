// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// ends fails the test unless the channel is closed soon after what happens.
func ends(t *testing.T, done <-chan struct{}, what string, happen func()) {
	t.Helper()
	select {
	case <-done:
		t.Fatalf("%s: told before it happened", what)
	case <-time.After(2 * recheck):
	}
	at := time.Now()
	happen()
	select {
	case <-done:
		if took := time.Since(at); took > 5*time.Second { // 200 ms on a machine that is not shared
			t.Errorf("%s: told after %v", what, took)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: not told", what)
	}
}

func TestWatchEndOfProcess(t *testing.T) {
	cmd := sleeper(t)
	c, err := FromPID(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	done, err := WatchEnd(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody waits for it: a zombie has ended too.
	ends(t, done, "process", func() { cmd.Process.Kill() })
	again, err := WatchEnd(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	<-again
	kill(cmd)
	gone, err := WatchEnd(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	<-gone
}

func TestWatchEndOfReusedPID(t *testing.T) {
	c, err := FromPID(sleeper(t).Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	c.startTicks-- // what was described started earlier than what has the id now
	done, err := WatchEnd(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	<-done
}

func TestWatchEndOfFile(t *testing.T) {
	for _, how := range []string{"unmounted and removed", "link removed", "replaced"} {
		t.Run(how, func(t *testing.T) {
			ns, dir := newNS(t), t.TempDir()
			path, link := filepath.Join(dir, "web"), filepath.Join(t.TempDir(), "link")
			remove := bind(t, ns, path)
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			c, err := FromNetns(link)
			if err != nil {
				t.Fatal(err)
			}
			done, err := WatchEnd(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			ends(t, done, how, func() {
				switch how {
				case "link removed":
					os.Remove(link)
				case "replaced":
					remove()
					bind(t, newNS(t), path)
				default:
					remove()
				}
			})
		})
	}
}

func TestWatchEndOfNamedNamespace(t *testing.T) {
	name := fmt.Sprintf("vethtrace-end-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	c, err := FromNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	done, err := WatchEnd(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ends(t, done, "ip netns del", func() { exec.Command("ip", "netns", "del", name).Run() })
}

func TestWatchEndCanceled(t *testing.T) {
	c, err := FromPID(sleeper(t).Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	ns := newNS(t)
	path := filepath.Join(t.TempDir(), "web")
	bind(t, ns, path)
	named, err := FromNetns(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Container{c, named} {
		ctx, cancel := context.WithCancel(t.Context())
		done, err := WatchEnd(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case <-done:
			t.Error("told of an end that never was")
		case <-time.After(50 * time.Millisecond):
		}
	}
}
