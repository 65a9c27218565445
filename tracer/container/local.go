// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// Modes of targets without an engine.
const (
	modeNetns = "netns"
	modeHost  = "host"
)

// FromPID describes a process and the namespace it lives in. The error is a
// *NotFoundError when there is no such process.
func FromPID(pid int) (Container, error) {
	st, err := readStat(pid)
	if pid <= 0 || errors.Is(err, fs.ErrNotExist) || err == nil && (st.state == 'Z' || st.state == 'X') {
		return Container{}, &NotFoundError{Name: fmt.Sprintf("pid %d", pid)}
	}
	if err != nil {
		return Container{}, fmt.Errorf("describe process %d: %w", pid, err)
	}
	c := Container{Name: fmt.Sprintf("%s[%d]", st.comm, pid), PID: pid, Started: startTime(st.startTicks)}
	if err := c.fill(); err != nil {
		if errors.Is(err, fs.ErrNotExist) { // ended meanwhile
			return Container{}, &NotFoundError{Name: fmt.Sprintf("pid %d", pid)}
		}
		return Container{}, fmt.Errorf("describe process %d: %w", pid, err)
	}
	c.Mode, err = localMode(c.Netns)
	return c, err
}

// netnsDirs are where namespaces with a name are: those of ip(8), of Docker and
// of Podman.
func netnsDirs() []string { return []string{"/run/netns", "/run/docker/netns"} }

// FromNetns describes a network namespace: a path (a bind mount, a link in
// /proc/PID/ns, a symbolic link to one) or the name by which ip(8) or Docker
// knows it. The name of the target is the one given. PID is that of a process
// that lives in the namespace, 0 when there is none. The error is a
// *NotFoundError when nothing has that name.
func FromNetns(pathOrName string) (Container, error) {
	ns, path, err := openNetns(pathOrName)
	if err != nil {
		return Container{}, err
	}
	defer ns.Close()
	c := Container{Name: pathOrName, Netns: ns.Inode()}
	if c.PID, err = resident(ns.Inode()); err != nil {
		return Container{}, fmt.Errorf("describe network namespace %s: %w", pathOrName, err)
	}
	if c.PID != 0 {
		// It may end at any time; the namespace is what counts.
		if err := c.fill(); err != nil || c.Netns != ns.Inode() {
			c = Container{Name: pathOrName, Netns: ns.Inode()}
		}
	}
	c.NetnsPath, c.named = path, true
	c.Mode, err = localMode(c.Netns)
	return c, err
}

func openNetns(pathOrName string) (*netns.NS, string, error) {
	var paths, names []string
	switch {
	case pathOrName == "" || pathOrName == "." || pathOrName == "..":
		return nil, "", &NotFoundError{Name: pathOrName}
	case strings.Contains(pathOrName, "/"):
		paths = []string{pathOrName}
	default:
		for _, dir := range netnsDirs() {
			paths = append(paths, filepath.Join(dir, pathOrName))
			entries, err := os.ReadDir(dir)
			if err != nil {
				continue // Docker or ip(8) never made it
			}
			for _, e := range entries {
				names = append(names, e.Name())
			}
		}
	}
	for _, path := range paths {
		ns, err := netns.Open(path)
		if err == nil {
			return ns, path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("open network namespace %s: %w", pathOrName, err)
		}
	}
	return nil, "", &NotFoundError{Name: pathOrName, Near: near(pathOrName, names)}
}

// resident returns the lowest id of the processes that live in a namespace, 0
// for none. Our own does not count: it comes and goes.
func resident(inode uint64) (int, error) {
	pids, err := processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if pid == os.Getpid() {
			continue
		}
		if in, err := nsInode(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && in == inode {
			return pid, nil
		}
	}
	return 0, nil
}

func localMode(inode uint64) (string, error) {
	own, err := netns.Current()
	if err != nil {
		return "", fmt.Errorf("open our own network namespace: %w", err)
	}
	defer own.Close()
	if own.Inode() == inode {
		return modeHost, nil
	}
	return modeNetns, nil
}
