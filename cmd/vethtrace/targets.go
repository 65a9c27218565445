// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// trace is the root command: find the targets, and trace them.
func trace(ctx context.Context, s streams, view *viewOptions, o *targetOptions, command []string) error {
	run := newSession(s, view, command)
	cfg := view.config(run.log)
	if err := checkUsage(o, view.duration, cfg, command); err != nil {
		return err
	}
	if err := o.fill(&cfg); err != nil {
		return err
	}
	if err := run.findCommand(); err != nil {
		return err
	}
	if err := checkRights(); err != nil {
		return err
	}
	found, err := o.find(ctx, run.log)
	if err != nil {
		return explainRights(err)
	}
	defer found.close()
	found.configure(&cfg)
	if view.output == outputJSON {
		cfg.Environment = surroundings(ctx, found.host, found.engine)
	}
	specs, err := found.specs(cfg)
	if err != nil {
		return explainRights(explainLimit(err))
	}
	if o.selfCheck {
		cfg.Follow = false // the targets are the same in each window
		err = run.check(ctx, cfg, specs)
	} else {
		err = run.trace(ctx, cfg, specs, found)
	}
	return explainRights(explainWay(explainLimit(errors.Join(err, closeSpecs(specs)))))
}

// found is what the command line's targets turned out to be.
type found struct {
	engine  container.Engine // nil when none is needed
	host    *netns.NS
	mapper  mapper
	members []member // to begin with
	all     bool
	wants   func(container.Container) bool // under all; nil: each
	most    int
	awaited []string   // names that do not run yet
	known   *directory // nil but for the exporter
	log     *slog.Logger

	opened []tracer.TargetSpec // the members, once they have been described for the tracer
	text   string              // what is traced, once it is attended to
}

// find asks for everything that was named.
func (o *targetOptions) find(ctx context.Context, log *slog.Logger) (*found, error) {
	f := &found{all: o.all, wants: o.wants, most: o.maxTargets, known: o.known, log: log, mapper: mapper{log: log}}
	err := f.open(o)
	if err == nil {
		err = f.resolve(ctx, o)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *found) open(o *targetOptions) error {
	var err error
	if f.host, err = netns.Current(); err != nil {
		return fmt.Errorf("open our own network namespace: %w", err)
	}
	f.mapper.host = f.host.Inode()
	if f.mapper.mounts, err = readMounts(); err != nil {
		return err
	}
	if o.all || len(o.containers) > 0 {
		f.engine, err = o.engine()
	}
	return err
}

func (f *found) resolve(ctx context.Context, o *targetOptions) error {
	var all []container.Container
	for _, name := range o.containers {
		c, err := f.engine.Find(ctx, name)
		if o.patient && f.await(name, err) {
			continue
		}
		if err != nil {
			return explainTarget(err, howName)
		}
		all = append(all, c)
	}
	for _, pid := range o.pids {
		c, err := container.FromPID(pid)
		if err != nil {
			return explainTarget(err, howPID)
		}
		all = append(all, c)
	}
	for _, path := range o.netns {
		c, err := f.fromNetns(path)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	if o.all {
		listed, err := f.list(ctx)
		if err != nil && (!o.patient || !f.await("", err)) {
			return err
		}
		all = append(all, listed...)
	}
	f.members = group(all, f.mapper.host)
	if f.all && len(f.members) > f.most {
		f.members = f.members[:f.most] // the follower tells of the others
	}
	return nil
}

// fromNetns describes the namespace of a path or name.
func (f *found) fromNetns(path string) (container.Container, error) {
	c, err := container.FromNetns(path)
	switch {
	case errors.Is(err, netns.ErrNotNamespace):
		return c, notNamespace(path, err)
	case err != nil:
		return c, explainTarget(err, howNetns)
	case c.Netns == f.mapper.host:
		return c, usagef("--netns %s: is the namespace that vethtrace runs in: name a process in it by --pid, or a container", path)
	}
	return c, nil
}

// list describes the running containers that are wanted under --all.
func (f *found) list(ctx context.Context) ([]container.Container, error) {
	all, err := f.engine.List(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(c container.Container) bool { return f.wants != nil && !f.wants(c) }), nil
}

// await tells whether there is a container, or an engine, to wait for: the
// exporter is started at boot, before they are.
func (f *found) await(name string, err error) bool {
	var notFound *container.NotFoundError
	var notRunning *container.NotRunningError
	var engine *container.EngineError
	switch {
	case errors.As(err, &notFound), errors.As(err, &notRunning):
		f.log.Info("container does not run yet, waiting for it", "name", name)
	case errors.As(err, &engine) && !errors.Is(explainEngine(engine), fs.ErrPermission):
		f.log.Warn("the engine does not answer, waiting for it", "error", err)
		f.known.reached(false)
	default:
		return false
	}
	if name != "" {
		f.awaited = append(f.awaited, name)
	}
	return true
}

// configure adds to the tracer's configuration what depends on an engine.
func (f *found) configure(cfg *tracer.Config) {
	cfg.Host = f.host
	cfg.Capacity = len(f.members)
	if f.engine == nil {
		return
	}
	cfg.Follow = true
	cfg.Controller = commonController(f.mapper.mounts)
	cfg.PeerName = newPeers(f.engine, f.host).name
	if f.all {
		cfg.Capacity = f.most
		cfg.Skip = f.skip
	}
}

// skip leaves a container out that cannot be traced, under --all.
func (f *found) skip(spec tracer.TargetSpec, err error) {
	f.log.Debug("container cannot be traced", "name", spec.Name, "error", err)
	f.members = slices.DeleteFunc(f.members, func(m member) bool { return m.key() == spec.ID })
}

// specs describes the members for the tracer; closeSpecs gives them back.
func (f *found) specs(cfg tracer.Config) ([]tracer.TargetSpec, error) {
	var names []string
	for _, m := range f.members {
		if m.Netns != f.mapper.host {
			names = append(names, m.Name)
		}
	}
	cfg.Spare = spareFiles
	if err := tracer.CheckFiles(cfg, names, filesEach); err != nil {
		return nil, err
	}
	specs := make([]tracer.TargetSpec, 0, len(f.members))
	mapper, err := f.mapper.forMany()
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Clone(f.members) {
		spec, err := mapper.spec(m)
		if err != nil && f.all { // it has just ended
			f.skip(tracer.TargetSpec{Name: m.Name, ID: m.ID}, err)
			continue
		}
		if err != nil {
			return nil, errors.Join(err, closeSpecs(specs))
		}
		specs = append(specs, spec)
	}
	f.opened = specs
	return specs, nil
}

func closeSpecs(specs []tracer.TargetSpec) error {
	var errs []error
	for _, spec := range specs {
		errs = append(errs, spec.Netns.Close())
	}
	return errors.Join(errs...)
}

func (f *found) close() {
	if f.engine != nil {
		_ = f.engine.Close() // nothing was written
	}
	if f.host != nil {
		_ = f.host.Close() // nothing was written
	}
}
