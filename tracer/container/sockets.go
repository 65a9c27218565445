// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Listener is a socket that waits for packets from anybody.
type Listener struct {
	Protocol string     // tcp, udp
	Addr     netip.Addr // 0.0.0.0 or :: for all addresses
	Port     uint16
	Inode    uint64 // of the socket
}

// States of /proc/net/tcp and udp.
const (
	stateListen = 0x0a
	stateClosed = 0x07 // of UDP: bound, not connected
)

// Processes returns the ids of a target's processes, in order. A container's are
// those of its cgroups; without an engine they are those of its PID namespace
// when that is not ours, else its process and the descendants of it.
func Processes(c Container) ([]int, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	member, err := membership(c)
	if err != nil {
		return nil, fmt.Errorf("find the processes of %s: %w", c.Name, err)
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return !member(pid) }), nil
}

func membership(c Container) (func(pid int) bool, error) {
	if c.PID == 0 {
		return func(int) bool { return false }, nil
	}
	if c.ID != "" && hasOwnCgroup(c.CgroupPaths) {
		return func(pid int) bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			return err == nil && inCgroup(parseCgroups(b), c.CgroupPaths)
		}, nil
	}
	own, err := nsInode("/proc/self/ns/pid")
	if err != nil {
		return nil, err
	}
	theirs, err := nsInode(fmt.Sprintf("/proc/%d/ns/pid", c.PID))
	if err != nil {
		return nil, err
	}
	if own != theirs {
		return func(pid int) bool {
			in, err := nsInode(fmt.Sprintf("/proc/%d/ns/pid", pid))
			return err == nil && in == theirs
		}, nil
	}
	return func(pid int) bool { return descends(pid, c.PID) }, nil
}

// hasOwnCgroup tells that the paths name at least one cgroup that is not a root:
// of a root every process of the machine would be a member.
func hasOwnCgroup(paths map[string]string) bool {
	for _, p := range paths {
		if p != "/" && p != "" {
			return true
		}
	}
	return false
}

// inCgroup tells whether a process with these paths is in the cgroups of
// another, or in some beneath. Controllers that one of them lacks, and roots,
// say nothing.
func inCgroup(paths, of map[string]string) bool {
	shared := false
	for controller, want := range of {
		have, ok := paths[controller]
		if !ok || want == "/" || want == "" {
			continue
		}
		if have != want && !strings.HasPrefix(have, want+"/") {
			return false
		}
		shared = true
	}
	return shared
}

func descends(pid, from int) bool {
	for range 1000 { // deeper trees do not exist; ids may be reused while walking
		if pid == from {
			return true
		}
		st, err := readStat(pid)
		if err != nil || st.ppid == 0 {
			return false
		}
		pid = st.ppid
	}
	return false
}

// Sockets returns what a target listens on: listening TCP sockets and bound,
// unconnected UDP sockets that one of its processes holds. In host mode that is
// the only way to tell its ports from its neighbors'.
func Sockets(c Container) ([]Listener, error) {
	pids, err := Processes(c)
	if err != nil {
		return nil, err
	}
	held := map[uint64]bool{}
	for _, pid := range pids {
		holds(pid, held)
	}
	var found []Listener
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		all, err := readListeners(c.PID, table)
		if err != nil {
			return nil, fmt.Errorf("list the sockets of %s: %w", c.Name, err)
		}
		for _, l := range all {
			if held[l.Inode] {
				found = append(found, l)
			}
		}
	}
	return found, nil
}

// holds adds the inodes of a process's sockets. Processes and descriptors go
// away while they are read; those are left out.
func holds(pid int, held map[uint64]bool) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		to, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue
		}
		if inode, ok := socketInode(to); ok {
			held[inode] = true
		}
	}
}

// socketInode reads "socket:[4711]".
func socketInode(link string) (uint64, bool) {
	digits, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
	return inode, err == nil
}

func readListeners(pid int, table string) ([]Listener, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
	if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(table, "6") {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseListeners(f, strings.TrimSuffix(table, "6"))
}

// parseListeners reads a table of /proc/net. In the TCP ones the listening
// sockets come first, so that a hundred thousand connections behind them are not
// read.
func parseListeners(r io.Reader, protocol string) ([]Listener, error) {
	var found []Listener
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[0] == "sl" {
			continue
		}
		state, err := strconv.ParseUint(fields[3], 16, 8)
		if err != nil {
			continue
		}
		if protocol == "tcp" && state != stateListen {
			break
		}
		if protocol == "udp" && state != stateClosed {
			continue
		}
		l, err := parseListener(fields)
		if err != nil {
			return nil, err
		}
		if l.Port != 0 && l.Inode != 0 {
			l.Protocol = protocol
			found = append(found, l)
		}
	}
	return found, lines.Err()
}

func parseListener(fields []string) (Listener, error) {
	address, port, ok := strings.Cut(fields[1], ":")
	if !ok {
		return Listener{}, fmt.Errorf("parse socket: address %q", fields[1])
	}
	addr, err := parseHexAddr(address)
	if err != nil {
		return Listener{}, err
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return Listener{}, fmt.Errorf("parse socket: port: %w", err)
	}
	inode, err := strconv.ParseUint(fields[9], 10, 64)
	if err != nil {
		return Listener{}, fmt.Errorf("parse socket: inode: %w", err)
	}
	return Listener{Addr: addr, Port: uint16(number), Inode: inode}, nil
}

// parseHexAddr reads an address as /proc/net has it: 32-bit words printed as
// numbers of the machine, which is little-endian wherever vethtrace runs.
func parseHexAddr(s string) (netip.Addr, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, fmt.Errorf("parse socket: address %q", s)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr, nil
}
