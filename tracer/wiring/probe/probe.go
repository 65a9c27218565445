// SPDX-License-Identifier: Apache-2.0

// Package probe reads what package wiring makes its picture of: by netlink, from
// /proc, and netfilter's rules. It changes nothing and attaches nothing.
package probe

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
	"github.com/vethtrace/vethtrace/tracer/topology"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// Target is what to read: a container and those that share its namespace.
type Target struct {
	container.Container
	Aliases []string
}

// Config says what to read.
type Config struct {
	Host     *netns.NS // where bridge and uplinks are
	Targets  []Target
	Whole    bool                    // the targets are all there are
	Networks []container.NetworkInfo // of the engine
	// Rules says to read the rules of the targets' namespaces as well, which only
	// the way of a packet asks for.
	Rules bool
}

// Read reads everything. A target that ends meanwhile, or that can't be entered,
// is left out and named in Facts.Notes.
func Read(cfg Config) (*wiring.Facts, error) {
	f := &wiring.Facts{Whole: cfg.Whole, Networks: cfg.Networks}
	var err error
	if f.Host, err = readSpace(cfg.Host, true); err != nil {
		return nil, fmt.Errorf("of the host: %w", err)
	}
	if f.Switches, err = topology.ReadSwitches(cfg.Host); err != nil {
		return nil, err
	}
	if f.Learned, err = topology.ReadLearned(cfg.Host); err != nil {
		return nil, err
	}
	if f.Proxies, err = container.Proxies(cfg.Host.Inode()); err != nil {
		return nil, fmt.Errorf("find docker-proxy: %w", err)
	}
	r := reader{cfg: cfg, host: f.Host.Namespace}
	if r.holders, err = container.Holders(); err != nil {
		return nil, err
	}
	hold(f.Host.Sockets, r.holders)
	f.Targets, f.Notes = r.all()
	return f, nil
}

// reader reads many targets.
type reader struct {
	cfg     Config
	host    topology.Namespace
	holders map[uint64][]container.Process
}

// all reads the targets, several at a time.
func (r *reader) all() ([]wiring.Member, []string) {
	members := make([]*wiring.Member, len(r.cfg.Targets))
	notes := make([]string, len(r.cfg.Targets))
	var group errgroup.Group
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, t := range r.cfg.Targets {
		group.Go(func() error {
			m, err := r.one(t)
			if err != nil {
				notes[i] = fmt.Sprintf("%s is left out: %v", t.Name, err)
				return nil // one target that ends must not hide the others
			}
			members[i] = &m
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
	var list []wiring.Member
	for _, m := range members {
		if m != nil {
			list = append(list, *m)
		}
	}
	return list, slices.DeleteFunc(notes, func(s string) bool { return s == "" })
}

func (r *reader) one(t Target) (wiring.Member, error) {
	m := wiring.Member{Container: t.Container, Aliases: t.Aliases}
	ns, err := netns.Open(t.NetnsPath)
	if err != nil {
		return m, err
	}
	defer ns.Close()
	if t.Netns != 0 && ns.Inode() != t.Netns {
		return m, errors.New("what was found as its process is another one's now")
	}
	if ns.Inode() == r.cfg.Host.Inode() {
		m.Wiring.Same = true
		m.Space.Sockets, err = r.own(t.Container)
		return m, err
	}
	if m.Space, err = readSpace(ns, r.cfg.Rules); err != nil {
		return m, err
	}
	hold(m.Space.Sockets, r.holders)
	ids, err := topology.ReadPeering(r.cfg.Host, ns)
	if err != nil {
		return m, err
	}
	m.Wiring = topology.Connect(r.host, m.Space.Namespace, ids)
	m.Wiring.NetnsID = ids.TargetInHost
	return m, nil
}

// own are the sockets in the host's namespace that a container's processes hold.
func (r *reader) own(c container.Container) ([]container.Socket, error) {
	pids, err := container.Processes(c)
	if err != nil {
		return nil, err
	}
	all, err := container.Listening(r.cfg.Host)
	if err != nil {
		return nil, err
	}
	hold(all, r.holders)
	return slices.DeleteFunc(all, func(s container.Socket) bool {
		return !slices.ContainsFunc(s.Holders, func(p container.Process) bool { return slices.Contains(pids, p.PID) })
	}), nil
}

// hold adds who holds the sockets.
func hold(all []container.Socket, holders map[uint64][]container.Process) {
	for i := range all {
		all[i].Holders = holders[all[i].Inode]
	}
}

func readSpace(ns *netns.NS, withRules bool) (wiring.Space, error) {
	var s wiring.Space
	var err error
	if s.Namespace, err = topology.Read(ns); err != nil {
		return s, err
	}
	if s.Sockets, err = container.Listening(ns); err != nil {
		return s, err
	}
	if !withRules {
		return s, nil
	}
	set, err := netfilter.ReadRules(ns)
	if err != nil {
		return s, err
	}
	s.Rules = set
	s.Env, err = netfilter.ReadEnv(ns)
	return s, err
}
