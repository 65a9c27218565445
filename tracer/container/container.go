// SPDX-License-Identifier: Apache-2.0

// Package container finds targets and notices their end: containers through an
// engine's API (read-only calls), processes and named network namespaces
// without one.
//
//	Open: Docker, Podman ─┐
//	Open: Containerd ─────┼─> Container ─> WatchEnd, Processes, Sockets
//	FromPID, FromNetns ───┘
package container

import (
	"net/netip"
	"time"
)

// Container is a target: a running container, or a process or network namespace
// that stands for one.
type Container struct {
	ID      string  // full id; "" without an engine
	Name    string  // without leading slash
	Runtime Runtime // "" without an engine
	Space   string  // containerd's namespace: default, k8s.io, moby; "" elsewhere
	Image   string
	// Mode is how it is connected, as Docker names it: bridge, host, none,
	// container:NAME, or a user-defined network's name; "netns" (or "host")
	// without an engine.
	Mode string
	PID  int // of its first process in our PID namespace; 0 for a namespace without processes
	// Netns is the inode of its network namespace. It can come back for another
	// namespace after this one's end: never a key.
	Netns     uint64
	NetnsPath string // by which to open the namespace
	Ports     []Port
	Networks  []Network // by name
	Labels    map[string]string
	Shares    string // id of the container whose namespace it uses (container:NAME); "" for none
	// CgroupPaths are the paths of /proc/PID/cgroup by controller; "" is the
	// unified hierarchy (v2), "name=systemd" and the like keep their prefix.
	CgroupPaths map[string]string
	Started     time.Time // zero where unknown

	startTicks uint64 // of PID, from /proc/PID/stat: tells a reused PID
	named      bool   // NetnsPath is a file that outlives processes
}

// Port is a published port.
type Port struct {
	Host      netip.AddrPort // 0.0.0.0 or :: for all addresses
	Container uint16
	Protocol  string // tcp, udp, sctp
}

// Network is one network of an engine that a container is connected to.
type Network struct {
	Name   string
	Driver string     // bridge, host, macvlan, overlay, ...; "" where unknown
	Bridge string     // device of the host; "" for drivers without
	IP4    netip.Addr // invalid for none
	IP6    netip.Addr // invalid for none
	MAC    string     // that the engine gave the container's device, as 02:42:ac:11:00:02; "" where it does not say
}

// same tells whether two descriptions of one ID are of the same run.
func (c Container) same(o Container) bool {
	return c.PID == o.PID && c.Started.Equal(o.Started) && c.startTicks == o.startTicks
}
