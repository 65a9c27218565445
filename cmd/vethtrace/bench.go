// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/refbench"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

const benchHelp = `Drives load to a server by several ways (host mode, published port, the container's address, docker-proxy,
container to container, a user-defined bridge), measures what the client waits with tracing and without, and sets
the differences against those of the traced hops.

Without --docker this happens in the throw-away world of vethtrace demo. With --docker IMAGE two containers are
started from an image that serves HTTP on port 80, and a network is made; both are removed again.

Request-response loads run with both ends on one CPU. The machine should do nothing else meanwhile.`

const benchExample = `  vethtrace bench
  vethtrace bench --loads tcp_rr,udp_rr --ways published --duration 20s
  vethtrace bench --family 6 --loads tcp_rr,udp_rr
  vethtrace bench --docker nginx --duration 2m -o json > result.json`

// benchOptions say what to measure.
type benchOptions struct {
	image      string
	client     string
	dockerHost string
	wire       string
	family     int
	ways       []string
	loads      []string
	duration   time.Duration
	detail     string
	output     string
	seed       uint64
	logLevel   string
	noColor    bool
}

// The versions of IP.
const (
	familyFour = 4
	familySix  = 6
)

// shortestBench has room for one load and two ways.
const shortestBench = 3 * time.Second

func newBench(s streams) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "What bridge mode costs over host mode, measured and explained hop by hop",
		Long:    benchHelp,
		Example: benchExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if err := checkRights(); err != nil {
				return err
			}
			return explainRights(bench(cmd.Context(), s, &o))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.image, "docker", "", "run in containers of a real engine, started from this `IMAGE` and removed again")
	f.StringVar(&o.client, "client", "", "with --docker, send from the network namespace of this `PATH` or name, as if from outside (default: from the host)")
	f.StringVar(&o.dockerHost, "docker-host", "", "the engine's `URL`, for example unix:///run/docker.sock (default: $DOCKER_HOST)")
	f.StringVar(&o.wire, "wire", "veth", "`KIND` of connection between client and host in the reference world: veth, or tap")
	f.IntVar(&o.family, "family", familyFour, "`VERSION` of IP that ways go by: 4 or 6; with --docker 6 is by a network of the bench's own")
	f.StringSliceVar(&o.ways, "ways", nil, "`WAYS` to measure (default: all): published, address, network, container, proxy; what they are compared with, host and host-local (from 127.0.0.1), comes along")
	f.StringSliceVar(&o.loads, "loads", nil, "`LOADS` to put on each (default: all): "+strings.Join(refbench.LoadNames(), ", "))
	f.DurationVar(&o.duration, "duration", time.Minute, "`TIME` that the whole may take")
	f.StringVar(&o.detail, "detail", string(tracer.DetailHooks), "`HOPS` to divide a path into: devices, hooks or tables")
	f.StringVarP(&o.output, "output", "o", outputText, "`FORMAT`: text or json")
	f.Uint64Var(&o.seed, "seed", 1, "`NUMBER` that the bootstrap begins with")
	f.StringVar(&o.logLevel, "log-level", "warn", "`LEVEL` of messages on stderr: debug, info, warn or error")
	f.BoolVar(&o.noColor, "no-color", false, "no colors (also: NO_COLOR=1)")
	complete(cmd, "detail", "devices", "hooks", "tables")
	complete(cmd, "output", outputText, outputJSON)
	complete(cmd, "wire", "veth", "tap")
	complete(cmd, "family", "4", "6")
	complete(cmd, "loads", refbench.LoadNames()...)
	complete(cmd, "ways", refbench.WayPublished, refbench.WayAddress, refbench.WayNetwork, refbench.WayContainer, refbench.WayProxy, refbench.WayHost, refbench.WayHostLocal)
	mustRegister(cmd, "client", completeNetns)
	return cmd
}

func (o *benchOptions) check() error {
	switch tracer.Detail(o.detail) {
	case tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables:
	default:
		return usagef("--detail %q: want devices, hooks or tables", o.detail)
	}
	switch {
	case o.output != outputText && o.output != outputJSON:
		return usagef("--output %q: want text or json", o.output)
	case o.duration < shortestBench:
		return usagef("--duration %s: want %s or more", o.duration, shortestBench)
	case o.family != familyFour && o.family != familySix:
		return usagef("--family %d: want 4 or 6", o.family)
	case o.client != "" && o.image == "":
		return usagef("--client %s: the reference world has a client of its own: give --docker IMAGE as well", o.client)
	case o.dockerHost != "" && o.image == "":
		return usagef("--docker-host: the reference world has no engine: give --docker IMAGE as well")
	}
	return nil
}

func bench(ctx context.Context, s streams, o *benchOptions) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	run := newSession(s, &viewOptions{logLevel: o.logLevel, noColor: o.noColor}, nil)
	if err := run.view.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usagef("--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	run.log = logger(run.gate, s.err, run.view.level, o.noColor)
	begin := time.Now()
	world, env, err := o.world(ctx, run)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	bar := newProgressBar(s.err)
	d, err := refbench.Run(ctx, refbench.Config{
		Version: versionText(), World: world, Ways: o.ways, Loads: o.loads,
		Duration: o.duration - time.Since(begin) - closingTime,
		Detail:   tracer.Detail(o.detail), Seed: o.seed, Environment: env, Progress: bar.show, Log: run.log,
	})
	bar.clear()
	if err != nil {
		return explainBench(ctx, err)
	}
	if o.output == outputJSON {
		return result.Encode(s.out, d)
	}
	return text.WriteResult(s.out, d, text.Options{Color: colored(s.out, o.noColor), Width: width(s.out)})
}

// closingTime is kept for what follows the last round.
const closingTime = 500 * time.Millisecond

// explainBench says what to do about errors of a bench.
func explainBench(ctx context.Context, err error) error {
	var unknown *refbench.UnknownError
	switch {
	case errors.As(err, &unknown):
		return usagef("%v", err)
	case errors.Is(err, refbench.ErrNoTime):
		return usagef("--duration: no time for a single load: give more, or fewer --ways")
	case ctx.Err() != nil:
		return errors.New("interrupted: a bench that is cut short has no result")
	}
	return err
}

// world makes the world that was asked for, and reads what it is made in.
func (o *benchOptions) world(ctx context.Context, run *session) (refbench.World, *environment.Environment, error) {
	cpu := runtime.NumCPU() - 1
	if o.image == "" {
		kind, err := wireKind(o.wire)
		if err != nil {
			return nil, nil, err
		}
		if _, err := exec.LookPath("iptables-restore"); err != nil {
			return nil, nil, errors.New("the reference world needs iptables for Docker's rules: install it (apt-get install iptables)")
		}
		world, err := refbench.NewReference(ctx, refbench.ReferenceConfig{Wire: kind, Six: o.family == familySix, CPU: cpu, Log: run.log})
		if err != nil {
			return nil, nil, err
		}
		return world, surroundings(ctx, world.HostNS(), nil), nil
	}
	engine, err := container.NewDocker(container.Config{Host: o.dockerHost})
	if err != nil {
		return nil, nil, err
	}
	world, err := o.dockerWorld(ctx, engine, cpu, run)
	if err != nil {
		return nil, nil, err
	}
	return world, surroundings(ctx, world.HostNS(), engine), nil
}

// progressBar is one line on a terminal that is written over; nothing elsewhere.
type progressBar struct {
	to    *os.File
	shown time.Time
}

func newProgressBar(stream any) *progressBar {
	file, ok := terminal(stream)
	if !ok {
		return &progressBar{}
	}
	return &progressBar{to: file}
}

// barPause is the time between two pictures of it.
const barPause = 200 * time.Millisecond

func (b *progressBar) show(p refbench.Progress) {
	if b.to == nil || time.Since(b.shown) < barPause && p.Done < p.Total {
		return
	}
	b.shown = time.Now()
	fmt.Fprintf(b.to, "\r\033[Kround %d of %d, at most %s left (%s)", p.Done, p.Total, p.Left.Round(time.Second), p.Doing)
}

func (b *progressBar) clear() {
	if b.to != nil && !b.shown.IsZero() {
		fmt.Fprint(b.to, "\r\033[K")
	}
}
