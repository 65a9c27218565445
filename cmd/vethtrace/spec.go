// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// member is a target with the containers that share its namespace.
type member struct {
	container.Container
	aliases []string
}

// key names a target to the tracer.
func (m member) key() string {
	if m.ID != "" {
		return m.ID
	}
	return m.Name
}

// mapper makes the tracer's view of a container.
type mapper struct {
	host   uint64 // inode of the host's namespace
	mounts []mount
	log    *slog.Logger
	known  []container.Proxy // docker-proxy processes, where they have been looked for once for all
	rules  func() (*rules.Set, error)
	looked bool
}

// forMany looks for what all targets need now, once for many of them.
func (m mapper) forMany() (mapper, error) {
	var err error
	if m.known, err = container.Proxies(m.host); err != nil {
		return m, fmt.Errorf("find docker-proxy: %w", err)
	}
	m.looked = true
	m.rules = sync.OnceValues(hostRules)
	return m, nil
}

// spec describes a target for the tracer. The caller closes its Netns.
func (m mapper) spec(c member) (tracer.TargetSpec, error) {
	ns, err := netns.Open(c.NetnsPath)
	if err != nil {
		return tracer.TargetSpec{}, fmt.Errorf("target %s: %w", c.Name, err)
	}
	spec := tracer.TargetSpec{
		Name: c.Name, Aliases: c.aliases, ID: c.ID, Mode: c.Mode, PID: c.PID, Netns: ns,
	}
	ports, err := m.ports(c.Container, ns)
	if err != nil {
		_ = ns.Close() // the first error is what the caller needs
		return tracer.TargetSpec{}, fmt.Errorf("target %s: %w", c.Name, err)
	}
	for _, p := range ports {
		spec.Ports = append(spec.Ports, tracer.Port{Host: p.Host, Container: p.Container, Protocol: p.Protocol})
	}
	if ns.Inode() == m.host {
		err = m.hostMode(c, &spec)
	} else if c.ID != "" {
		spec.Proxies, err = m.proxies(c.Container)
	}
	if err != nil {
		_ = ns.Close() // the first error is what the caller needs
		return tracer.TargetSpec{}, fmt.Errorf("target %s: %w", c.Name, err)
	}
	return spec, nil
}

// hostMode adds what tells the target from its neighbors in the host's
// namespace. A process that was named by its id stands for itself alone.
func (m mapper) hostMode(c member, spec *tracer.TargetSpec) error {
	if c.ID != "" {
		spec.Cgroup = groupOf(c.CgroupPaths, m.mounts)
		if spec.Cgroup.ID == 0 {
			// ip netns exec, for one, puts a bare /sys over them.
			m.log.Warn("only the container's first process is traced: its control group is not seen from here (nsenter --net keeps /sys/fs/cgroup)", "name", c.Name, "pid", c.PID)
		}
	}
	var err error
	spec.Listeners, err = listeners(c.Container)
	return err
}

// listeners are the ports that a container listens on, each once, in order.
func listeners(c container.Container) ([]tracer.Listener, error) {
	sockets, err := container.Sockets(c)
	if err != nil {
		return nil, fmt.Errorf("find its sockets: %w", err)
	}
	found := make([]tracer.Listener, 0, len(sockets))
	for _, s := range sockets {
		found = append(found, tracer.Listener{Protocol: s.Protocol, Port: s.Port})
	}
	slices.SortFunc(found, func(a, b tracer.Listener) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(found), nil
}

// proxies are the docker-proxy processes that serve one of its addresses.
func (m mapper) proxies(c container.Container) ([]int, error) {
	if !m.looked {
		var err error
		if m, err = m.forMany(); err != nil {
			return nil, err
		}
	}
	var addrs []netip.Addr
	for _, network := range c.Networks {
		addrs = append(addrs, network.IP4, network.IP6)
	}
	var pids []int
	for _, proxy := range m.known {
		if slices.Contains(addrs, proxy.ContainerIP) {
			pids = append(pids, proxy.PID)
		}
	}
	return pids, nil
}

// group makes one target of the containers that share a namespace. In host mode
// all share the host's, and each is a target of its own.
func group(all []container.Container, host uint64) []member {
	var members []member
	for _, c := range all {
		i := slices.IndexFunc(members, func(m member) bool {
			return m.ID != "" && m.ID == c.ID || m.Netns == c.Netns && c.Netns != host ||
				m.ID == "" && c.ID == "" && m.Name == c.Name
		})
		switch {
		case i < 0:
			members = append(members, member{Container: c})
		case members[i].Name == c.Name:
		case c.Shares == "" && members[i].Shares != "":
			// The one whose namespace it is gives the name.
			m := member{Container: c, aliases: append(members[i].aliases, members[i].Name)}
			members[i] = m
		default:
			members[i].aliases = append(members[i].aliases, c.Name)
		}
	}
	return members
}
