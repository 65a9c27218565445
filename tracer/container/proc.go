// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of times in /proc: 100 per second on every architecture
// that Go runs on.
const userHZ = 100

// stat is what is used of /proc/PID/stat.
type stat struct {
	comm       string
	state      byte // Z for zombies, X for dead
	ppid       int
	startTicks uint64 // since boot, in 1/userHZ s
}

// fill adds what /proc knows of the container's first process.
func (c *Container) fill() error {
	st, err := readStat(c.PID)
	if err != nil {
		return err
	}
	c.startTicks = st.startTicks
	c.NetnsPath = fmt.Sprintf("/proc/%d/ns/net", c.PID)
	if c.Netns, err = nsInode(c.NetnsPath); err != nil {
		return err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.PID))
	if err != nil {
		return fmt.Errorf("read cgroups: %w", err)
	}
	c.CgroupPaths = parseCgroups(b)
	return nil
}

// nsInode returns a namespace's inode, through symbolic links.
func nsInode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("identify namespace: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	return st.Ino, nil
}

// parseCgroups reads /proc/PID/cgroup: "4:cpu,cpuacct:/docker/ID" a line, the
// unified hierarchy without controllers.
func parseCgroups(b []byte) map[string]string {
	paths := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			paths[controller] = parts[2]
		}
	}
	return paths
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("read process: %w", err)
	}
	return parseStat(b)
}

// parseStat reads /proc/PID/stat. A process's name may contain anything, also
// blanks and parentheses, so it ends at the last one.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, errors.New("parse process: no name")
	}
	fields := strings.Fields(string(b[end+1:])) // from the third of proc(5) on
	if len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, errors.New("parse process: too few fields")
	}
	s := stat{comm: string(b[open+1 : end]), state: fields[0][0]}
	var err error
	if s.ppid, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, fmt.Errorf("parse process: parent: %w", err)
	}
	if s.startTicks, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return stat{}, fmt.Errorf("parse process: start: %w", err)
	}
	return s, nil
}

// processes lists the process ids there are, in order.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// startTime turns a process's start into a time of day.
func startTime(ticks uint64) time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Time{}
	}
	age := time.Duration(now.Nano()) - time.Duration(ticks)*(time.Second/userHZ)
	return time.Now().Add(-age).Round(time.Second / userHZ)
}
