// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vethtrace/vethtrace/tracer"
)

// mount is a place where a control group hierarchy can be seen.
type mount struct {
	root        string   // the group that the mount point shows
	point       string   // where
	controllers []string // of v1; nil for v2
}

// readMounts finds the hierarchies that this process sees.
func readMounts() ([]mount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	defer file.Close()
	return parseMounts(file)
}

// parseMounts reads mountinfo, see proc(5): 31 23 0:28 / /sys/fs/cgroup rw - cgroup cgroup rw,memory.
func parseMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		m := mount{root: unescape(fields[3]), point: unescape(fields[4])}
		switch kind[0] {
		case "cgroup2":
		case "cgroup":
			m.controllers = strings.Split(strings.TrimPrefix(kind[2], "rw,"), ",")
		default:
			continue
		}
		mounts = append(mounts, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return mounts, nil
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// v1Controllers are those that engines give each container a group of, in the
// order of preference. The names are those of the kernel's enum cgroup_subsys_id,
// too. cpu and cpuacct are not among them: some engines leave them in the root.
func v1Controllers() []string { return []string{"memory", "devices", "pids", "freezer"} }

// groupOf finds the control group that tells a target's processes apart, from
// its paths by controller ("" is v2). The zero value means that it has none of
// its own.
func groupOf(paths map[string]string, mounts []mount) tracer.Cgroup {
	for _, controller := range append([]string{""}, v1Controllers()...) {
		path := paths[controller]
		if path == "" || path == "/" {
			continue
		}
		for _, m := range mounts {
			if controller == "" != (m.controllers == nil) || controller != "" && !slices.Contains(m.controllers, controller) {
				continue
			}
			if inode, ok := inodeOf(m, path); ok {
				return tracer.Cgroup{ID: inode, Controller: controller}
			}
		}
	}
	return tracer.Cgroup{}
}

// inodeOf is the number of a group's directory, which is the group's id.
func inodeOf(m mount, path string) (uint64, bool) {
	rel, err := filepath.Rel(m.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return 0, false // this mount does not show it
	}
	info, err := os.Stat(filepath.Join(m.point, rel))
	if err != nil {
		return 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Ino, true
}

// commonController is the v1 controller by which containers that are yet to
// come will be told apart; "" where the machine has v2 only.
func commonController(mounts []mount) string {
	for _, controller := range v1Controllers() {
		for _, m := range mounts {
			if slices.Contains(m.controllers, controller) {
				return controller
			}
		}
	}
	return ""
}
