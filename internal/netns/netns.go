// SPDX-License-Identifier: Apache-2.0

// Package netns holds network namespaces by descriptor and runs functions in them.
//
//	Open, FromPID, FromName, Current, New ──> NS ──Do──> a function on a thread inside it
//	                                          └──Thread.Do──> the same on one thread that lives on
//
// It is the only place of the project that calls setns(2). A namespace is entered only on a
// thread locked to a goroutine made for it; a thread that cannot be brought home stays locked,
// so that the runtime ends it with its goroutine instead of lending it to somebody else.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nameDir is where ip(8) binds the namespaces that have a name.
const nameDir = "/run/netns"

// ErrNotNamespace says that a path or descriptor exists but is no network namespace.
var ErrNotNamespace = errors.New("not a network namespace")

// errExited is what a caller gets whose function ended its goroutine (runtime.Goexit).
var errExited = errors.New("function ended its goroutine")

// NS is a network namespace kept alive by an open descriptor. It may be used from several
// goroutines at once. An NS that is no longer reachable is closed by the garbage collector.
type NS struct {
	file  *os.File
	inode uint64
}

// Open opens the namespace at path: a bind mount, a link in /proc/PID/ns, or a symbolic link to one.
// It fails with an error that wraps os.ErrNotExist or ErrNotNamespace.
func Open(path string) (*NS, error) {
	// O_NONBLOCK: a path that turns out to be a FIFO must not hang its caller.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open network namespace", Path: path, Err: err}
	}
	ns, err := fromFD(fd, path)
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// fromFD takes over fd, also when it fails.
func fromFD(fd int, path string) (*NS, error) {
	file := os.NewFile(uintptr(fd), path)
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		file.Close()
		return nil, &os.PathError{Op: "open network namespace", Path: path, Err: ErrNotNamespace}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		file.Close()
		return nil, &os.PathError{Op: "stat network namespace", Path: path, Err: err}
	}
	return &NS{file: file, inode: st.Ino}, nil
}

// FromPID opens the namespace of a process (of its leading thread).
func FromPID(pid int) (*NS, error) {
	return Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
}

// FromName opens a namespace by the name that ip(8) knows it by.
func FromName(name string) (*NS, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("open network namespace: %q is not a name", name)
	}
	return Open(filepath.Join(nameDir, name))
}

// Current opens the namespace of the calling thread. A goroutine that is not locked to its thread
// gets the process's namespace, since no thread is ever left elsewhere.
func Current() (*NS, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return openThread()
}

// openThread needs a locked thread: "thread-self" must not change its meaning half-way.
func openThread() (*NS, error) {
	return Open("/proc/thread-self/ns/net")
}

// New makes an anonymous namespace, with a lo that is down, and opens it. Nothing is mounted: the
// namespace dies with its last descriptor, process and socket.
func New() (*NS, error) {
	var made *NS
	err := onFreshThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		ns, err := openThread()
		made = ns
		return err
	})
	if err != nil {
		if made != nil {
			made.Close()
		}
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return made, nil
}

// Do runs fn on a thread inside the namespace and returns its error. fn runs in a goroutine of its
// own that is locked to the thread; what fn starts by `go` does not run in the namespace, whereas
// sockets and processes that fn makes belong to it for good.
func (n *NS) Do(fn func() error) error {
	return onFreshThread(func() error { return n.enter() }, fn)
}

// onFreshThread runs leave (which changes the thread's namespace, or fails and does not) and then
// fn in a new goroutine, and brings the thread home.
func onFreshThread(leave func() error, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		trip := excursion{err: errExited}
		defer func() { // also when fn ends the goroutine
			if !trip.lost {
				runtime.UnlockOSThread()
			}
			done <- trip.err
		}()
		trip.run(leave, fn)
	}()
	return <-done
}

// excursion is one visit of a locked thread to another namespace, and what came of it.
type excursion struct {
	lost bool  // the thread could not be brought home
	err  error // of any step; set beforehand to what it means that fn did not return
}

func (e *excursion) run(leave func() error, fn func() error) {
	home, err := openThread()
	if err != nil {
		e.err = err
		return
	}
	defer home.Close()
	if err := leave(); err != nil {
		e.err = err
		return
	}
	defer func() {
		if back := home.enter(); back != nil {
			e.lost = true
			e.err = errors.Join(e.err, fmt.Errorf("return to the own namespace: %w", back))
		}
	}()
	e.err = fn()
}

// enter moves the calling thread. Control keeps the descriptor from being closed, and its number
// from being reused, meanwhile.
func (n *NS) enter() error {
	conn, err := n.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	var set error
	if conn.Control(func(fd uintptr) { set = unix.Setns(int(fd), unix.CLONE_NEWNET) }) != nil {
		set = os.ErrClosed // the only way for Control to fail, which it says by an error of its own
	}
	if set != nil {
		return fmt.Errorf("enter network namespace: %w", set)
	}
	return nil
}

// Inode returns the number that tells namespaces apart while they live; the kernel hands a dead
// one's number out again.
func (n *NS) Inode() uint64 { return n.inode }

// FD returns the descriptor, valid until Close; the caller keeps n reachable while using it.
// It is -1 after Close.
func (n *NS) FD() int {
	fd := n.file.Fd()
	if fd == ^uintptr(0) {
		return -1
	}
	return int(fd)
}

// Path returns a path to the namespace that this process can open until Close.
func (n *NS) Path() string { return "/proc/self/fd/" + strconv.Itoa(n.FD()) }

// Close gives the descriptor back. A second Close does nothing.
func (n *NS) Close() error {
	if err := n.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}
