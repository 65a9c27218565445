// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// recheck is how often a named namespace is looked at besides its inotify
// watches: what unmounts it without removing the file, or is in /proc, gives no
// event.
const recheck = 100 * time.Millisecond

// WatchEnd returns a channel that is closed when the target has ended: its
// process (also as a zombie), or, for one of FromNetns, its file. It is closed
// at once when that was so before. When ctx ends first it is never closed.
//
// Many targets cost no threads: all waiting is done by the runtime's poller.
func WatchEnd(ctx context.Context, c Container) (<-chan struct{}, error) {
	done := make(chan struct{})
	var err error
	if c.named {
		err = watchFile(ctx, c, done)
	} else {
		err = watchProcess(ctx, c, done)
	}
	if err != nil {
		return nil, fmt.Errorf("watch for the end of %s: %w", c.Name, err)
	}
	return done, nil
}

func watchProcess(ctx context.Context, c Container, done chan struct{}) error {
	fd, err := unix.PidfdOpen(c.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		close(done)
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", c.PID, err)
	}
	// Before Linux 5.10 only fcntl makes a pidfd non-blocking, which the
	// runtime's poller wants.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("open process %d: %w", c.PID, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	// The descriptor is for whatever has that id now.
	if !alive(c) {
		file.Close()
		close(done)
		return nil
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return fmt.Errorf("poll process %d: %w", c.PID, err)
	}
	stop := context.AfterFunc(ctx, func() { file.Close() })
	go func() {
		defer file.Close()
		defer stop()
		if err := conn.Read(exited); err == nil {
			close(done)
		}
	}()
	return nil
}

// exited tells whether a pidfd's process has ended.
func exited(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

func watchFile(ctx context.Context, c Container, done chan struct{}) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make inotify: %w", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	// Each directory on a chain of symbolic links: any of them may go.
	for _, dir := range directories(c.NetnsPath) {
		_, err := unix.InotifyAddWatch(fd, dir, unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_CREATE|unix.IN_MOVED_TO)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			file.Close()
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	changed := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { file.Close() })
	go listen(file, changed)
	go func() {
		defer file.Close()
		defer stop()
		tick := time.NewTicker(recheck)
		defer tick.Stop()
		for {
			if in, err := nsInode(c.NetnsPath); err != nil || in != c.Netns {
				close(done)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-tick.C:
			}
		}
	}()
	return nil
}

// listen says when anything happened, until the file is closed.
func listen(file *os.File, changed chan<- struct{}) {
	buffer := make([]byte, 4096)
	for {
		if _, err := file.Read(buffer); err != nil {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// maxLinks is how many symbolic links are followed, as the kernel does.
const maxLinks = 40

// directories returns where a path and what it links to are.
func directories(path string) []string {
	var dirs []string
	for range maxLinks {
		dirs = append(dirs, filepath.Dir(path))
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return dirs
}
