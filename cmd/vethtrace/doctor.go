// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	write "github.com/vethtrace/vethtrace/exporter/doctor"
	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/doctor/probe"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/container"
)

const doctorHelp = `vethtrace doctor tells whether vethtrace works on this machine, and what to do where it does not: the
kernel, the rights, every hook with the provider that it gets, what packets meet, the engine, and what a
stamp costs here. Please put its output into bug reports.

It loads and attaches everything in throw-away network namespaces of its own, sends some packets there,
and detaches. In the machine's own namespaces it only reads.

Exit status: 0 the default detail works, 1 failed, 2 usage, 3 it does not work, 4 no such target.`

const doctorExample = `  vethtrace doctor
  vethtrace doctor --container nginx
  vethtrace doctor -o json > doctor.json`

// doctorOptions say what to look at.
type doctorOptions struct {
	targets targetOptions
	output  string
	noColor bool
}

func newDoctor(s streams) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:     "doctor [flags]",
		Short:   "Does vethtrace work here? What to do where it does not; for bug reports",
		Long:    doctorHelp,
		Example: doctorExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unexpected argument %q: to look at a container's devices say --container %s", args[0], args[0])
			}
			if o.output != outputText && o.output != outputJSON {
				return usagef("--output %q: want text or json", o.output)
			}
			return o.run(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.targets.containers, "container", nil, "look at the devices of the container of this `NAME` or id prefix; may be given several times")
	f.StringArrayVar(&o.targets.netns, "netns", nil, "look at the devices of the network namespace of this `PATH` or name")
	f.StringVarP(&o.output, "output", "o", outputText, "`FORMAT`: text or json")
	f.StringVar(&o.targets.dockerHost, "docker-host", "", "the engine's `URL`, for example unix:///run/docker.sock (default: $DOCKER_HOST)")
	f.BoolVar(&o.noColor, "no-color", false, "no colors (also: NO_COLOR=1)")
	mustRegister(cmd, "container", o.targets.completeContainers)
	mustRegister(cmd, "netns", completeNetns)
	complete(cmd, "output", outputText, outputJSON)
	return cmd
}

func (o *doctorOptions) run(ctx context.Context, s streams) error {
	if _, tty := terminal(s.err); tty {
		fmt.Fprintln(s.err, "vethtrace: loading and attaching everything in throw-away namespaces, which takes some seconds")
	}
	d, err := o.examine(ctx)
	if err != nil {
		return explainRights(err)
	}
	if err := o.write(s.out, d); err != nil {
		return err
	}
	if !d.Works {
		return &statusError{status: exitKernel} // the report has said why
	}
	return nil
}

func (o *doctorOptions) write(w io.Writer, d doctor.Document) error {
	if o.output == outputJSON {
		return write.JSON(w, d)
	}
	return write.Text(w, d, write.Options{Color: colored(w, o.noColor), Width: width(w)})
}

func (o *doctorOptions) examine(ctx context.Context) (d doctor.Document, err error) {
	host, err := netns.Current()
	if err != nil {
		return d, fmt.Errorf("open our own network namespace: %w", err)
	}
	defer host.Close()
	cfg := probe.Config{
		Version: versionText(), Host: host, Asked: o.targets.dockerHost != "" || len(o.targets.containers) > 0,
		Explain: todoOfEngine,
	}
	if cfg.Engine, err = container.NewDocker(container.Config{Host: o.targets.dockerHost}); err != nil {
		return d, err
	}
	defer cfg.Engine.Close()
	if cfg.Targets, err = o.named(ctx, cfg.Engine, host.Inode()); err != nil {
		return d, err
	}
	facts, err := probe.Read(ctx, cfg)
	if err != nil {
		return d, err
	}
	return doctor.Judge(facts), nil
}

// named finds the targets that were named.
func (o *doctorOptions) named(ctx context.Context, engine *container.Docker, host uint64) ([]container.Container, error) {
	var all []container.Container
	for _, name := range o.targets.containers {
		c, err := engine.Find(ctx, name)
		if err != nil {
			return nil, explainTarget(err, howName)
		}
		all = append(all, c)
	}
	f := found{mapper: mapper{host: host}}
	for _, path := range o.targets.netns {
		c, err := f.fromNetns(path)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// todoOfEngine says what to do about an engine that does not answer.
func todoOfEngine(err error) (todo string, denied bool) {
	var engine *container.EngineError
	if errors.As(err, &engine) && errors.Is(explainEngine(engine), fs.ErrPermission) {
		return "run as root or as a member of the socket's group; --pid and --netns need no engine", true
	}
	if timedOut(err) {
		return "restart it, or name another with --docker-host; --pid and --netns need no engine", false
	}
	return "start it, or name another with --docker-host; --pid and --netns need no engine", false
}
