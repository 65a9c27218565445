// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func mustNew(t *testing.T) *NS {
	t.Helper()
	ns, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func mustCurrent(t *testing.T) *NS {
	t.Helper()
	ns, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// inodeHere is the truth about the calling thread, not read through the package.
func inodeHere(t *testing.T) uint64 {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, "net:["), "]"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// allThreadsAt fails unless every thread of the process is in namespace want.
func allThreadsAt(t *testing.T, want uint64) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(links) == 0 {
		t.Fatalf("no threads found: %v", err)
	}
	for _, l := range links {
		got, err := os.Readlink(l)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EINVAL) {
			continue // the thread has ended
		}
		if err != nil || got != fmt.Sprintf("net:[%d]", want) {
			t.Errorf("%s is %s, want %d (%v)", l, got, want, err)
		}
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestNewIsAnotherNamespace(t *testing.T) {
	home := mustCurrent(t)
	a, b := mustNew(t), mustNew(t)
	if a.Inode() == b.Inode() || a.Inode() == home.Inode() {
		t.Fatalf("inodes: home %d, a %d, b %d must differ", home.Inode(), a.Inode(), b.Inode())
	}
	for _, ns := range []*NS{a, b} {
		err := ns.Do(func() error {
			if got := inodeHere(t); got != ns.Inode() {
				t.Errorf("inside: inode %d, want %d", got, ns.Inode())
			}
			links, err := os.ReadFile("/proc/thread-self/net/dev")
			if n := strings.Count(string(links), ":"); n != 1 {
				t.Errorf("a new namespace has %d devices, want only lo:\n%s", n, links)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	allThreadsAt(t, home.Inode())
}

func TestSysctlIsPerNamespace(t *testing.T) {
	const key = "/proc/sys/net/ipv4/ip_default_ttl"
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	ns := mustNew(t)
	if err := ns.Do(func() error { return os.WriteFile(key, []byte("33"), 0o644) }); err != nil {
		t.Fatal(err)
	}
	var inside []byte
	if err := ns.Do(func() (err error) { inside, err = os.ReadFile(key); return err }); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if string(inside) != "33\n" || string(after) != string(before) {
		t.Errorf("inside %q, outside %q before and %q after", inside, before, after)
	}
}

func TestDoReturnsTheError(t *testing.T) {
	ns := mustNew(t)
	want := errors.New("mine")
	if err := ns.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestGoexitNeitherHangsNorStays(t *testing.T) {
	home, ns := mustCurrent(t), mustNew(t)
	for range 20 {
		err := ns.Do(func() error {
			runtime.Goexit()
			return nil
		})
		if !errors.Is(err, errExited) {
			t.Errorf("got %v", err)
		}
	}
	allThreadsAt(t, home.Inode())
}

func TestConcurrentDo(t *testing.T) {
	home := mustCurrent(t)
	spaces := []*NS{mustNew(t), mustNew(t), mustNew(t)}
	fds := openFDs(t)
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			for i := range 50 {
				ns := spaces[(g+i)%len(spaces)]
				err := ns.Do(func() error {
					runtime.Gosched()
					if got := inodeHere(t); got != ns.Inode() {
						return fmt.Errorf("in %d, want %d", got, ns.Inode())
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	allThreadsAt(t, home.Inode())
	if got := openFDs(t); got > fds+2 { // the poller's own
		t.Errorf("%d descriptors before, %d after", fds, got)
	}
}

func TestNestedDo(t *testing.T) {
	a, b := mustNew(t), mustNew(t)
	err := a.Do(func() error {
		if err := b.Do(func() error {
			if got := inodeHere(t); got != b.Inode() {
				t.Errorf("inner: %d, want %d", got, b.Inode())
			}
			return nil
		}); err != nil {
			return err
		}
		if got := inodeHere(t); got != a.Inode() {
			t.Errorf("outer after inner: %d, want %d", got, a.Inode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSocketStaysInside(t *testing.T) {
	ns := mustNew(t)
	var fd int
	if err := ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	nsfd, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(nsfd)
	var st unix.Stat_t
	if err := unix.Fstat(nsfd, &st); err != nil || st.Ino != ns.Inode() {
		t.Errorf("socket is in %d, want %d (%v)", st.Ino, ns.Inode(), err)
	}
}

func TestOpenKinds(t *testing.T) {
	ns := mustNew(t)
	cmd := exec.Command("sleep", "60")
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), link); err != nil {
		t.Fatal(err)
	}
	open := map[string]func() (*NS, error){
		"pid":     func() (*NS, error) { return FromPID(cmd.Process.Pid) },
		"symlink": func() (*NS, error) { return Open(link) },
		"path":    func() (*NS, error) { return Open(ns.Path()) },
	}
	for name, fn := range open {
		t.Run(name, func(t *testing.T) {
			got, err := fn()
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.Inode() != ns.Inode() {
				t.Errorf("inode %d, want %d", got.Inode(), ns.Inode())
			}
		})
	}
}

func TestFromName(t *testing.T) {
	ns := mustNew(t)
	if err := os.MkdirAll(nameDir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("vethtrace-test-%d", os.Getpid())
	path := filepath.Join(nameDir, name)
	if err := os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD()), path); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	got, err := FromName(name)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if got.Inode() != ns.Inode() {
		t.Errorf("inode %d, want %d", got.Inode(), ns.Inode())
	}
}

func TestOpenErrors(t *testing.T) {
	fds := openFDs(t)
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "none"): os.ErrNotExist,
		file:                       ErrNotNamespace,
		fifo:                       ErrNotNamespace,
		dir:                        ErrNotNamespace,
		"/proc/self/ns/uts":        ErrNotNamespace,
	} {
		if ns, err := Open(path); !errors.Is(err, want) {
			t.Errorf("Open(%s) = %v, %v; want %v", path, ns, err, want)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../../etc/passwd"} {
		if _, err := FromName(name); err == nil {
			t.Errorf("FromName(%q) succeeded", name)
		}
	}
	if _, err := FromPID(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("FromPID of nobody: %v", err)
	}
	if got := openFDs(t); got > fds+2 {
		t.Errorf("%d descriptors before, %d after", fds, got)
	}
}

func TestClose(t *testing.T) {
	ns := mustNew(t)
	if err := errors.Join(ns.Close(), ns.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	if ns.FD() != -1 {
		t.Errorf("descriptor %d after close", ns.FD())
	}
	if err := ns.Do(func() error { t.Error("ran"); return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
}

func TestThreadKeepsItsChildren(t *testing.T) {
	home, ns := mustCurrent(t), mustNew(t)
	th := NewThread()
	defer th.Close()
	var tid int
	if err := th.Do(nil, func() error { tid = unix.Gettid(); return nil }); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := th.Do(ns, func() error {
		if got := unix.Gettid(); got != tid {
			t.Errorf("thread %d, first was %d", got, tid)
		}
		return cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // end threads, any of which might have been the parent
		_ = ns.Do(func() error { runtime.Goexit(); return nil })
	}
	child, err := FromPID(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	if child.Inode() != ns.Inode() {
		t.Errorf("child in %d, want %d", child.Inode(), ns.Inode())
	}
	if err := th.Do(nil, func() error {
		if got := inodeHere(t); got != home.Inode() {
			t.Errorf("thread stayed in %d", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Errorf("child was gone: %v", err)
	}
	cmd.Wait()
}

func TestThreadClosed(t *testing.T) {
	th := NewThread()
	th.Close()
	th.Close()
	if err := th.Do(nil, func() error { return nil }); !errors.Is(err, ErrThreadClosed) {
		t.Errorf("got %v", err)
	}
}

func TestThreadLost(t *testing.T) {
	th := NewThread()
	defer th.Close()
	if err := th.Do(mustNew(t), func() error { runtime.Goexit(); return nil }); !errors.Is(err, errExited) {
		t.Errorf("got %v", err)
	}
	if err := th.Do(nil, func() error { return nil }); !errors.Is(err, ErrThreadClosed) {
		t.Errorf("a thread whose goroutine ended still works: %v", err)
	}
}
