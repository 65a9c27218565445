// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

// The bounds of what may be asked for.
const (
	minInterval       = 100 * time.Millisecond
	defaultInterval   = time.Second
	defaultMaxTargets = 256
	mostTargets       = 1000
)

// The outputs.
const (
	outputText   = "text"
	outputJSON   = "json"
	outputNDJSON = "ndjson"
)

// viewOptions say how to trace and how to show it; the demo has them too.
type viewOptions struct {
	detail   string
	interval time.Duration
	duration time.Duration
	output   string
	slow     time.Duration
	sample   string
	raw      bool
	logLevel string
	noColor  bool
	budget   string
	probes   []string

	maxOverhead   float64 // of budget: a share of one CPU
	intervalGiven bool
	sampleOne     uint32 // of so many
	level         slog.Level
}

func (o *viewOptions) register(cmd *cobra.Command, duration time.Duration) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.detail, "detail", string(tracer.DetailHooks), "`HOPS` to divide a path into: devices, hooks, tables, or functions (tables, and functions of the kernel inside of them)")
	f.StringArrayVar(&o.probes, "probe", nil, "stamp packets also where they enter and leave this `FUNCTION` of the kernel; may be given several times")
	f.DurationVar(&o.interval, "interval", defaultInterval, "`TIME` between updates, 100ms or more; on a pipe text has them only when this is given")
	f.DurationVar(&o.duration, "duration", duration, "end after this `TIME`; 0: when interrupted")
	f.StringVarP(&o.output, "output", "o", outputText, "`FORMAT`: text, json (one document at the end) or ndjson (one per interval)")
	f.DurationVar(&o.slow, "slow", 0, "show each packet's journey of this `TIME` or longer, stamp by stamp, for example 1ms")
	f.StringVar(&o.sample, "sample", "", "show one journey in N, stamp by stamp: `1/N`")
	f.StringVar(&o.budget, "max-overhead", "", "most that tracing may cost, in percent of one CPU: `1%`; the hooks are attached for a part of the time then")
	f.BoolVar(&o.raw, "raw", false, "figures as measured, what measuring costs not subtracted")
	f.StringVar(&o.logLevel, "log-level", "info", "`LEVEL` of messages on stderr: debug, info, warn or error")
	f.BoolVar(&o.noColor, "no-color", false, "no colors (also: NO_COLOR=1)")
	complete(cmd, "detail", "devices", "hooks", "tables", "functions")
	complete(cmd, "output", outputText, outputJSON, outputNDJSON)
	complete(cmd, "max-overhead", "1%", "0.5%", "2%", "5%")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
}

// complete offers fixed values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	mustRegister(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// mustRegister panics for a flag that does not exist: every test would see it.
func mustRegister(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// check reads what was given as text. Its errors are usage errors.
func (o *viewOptions) check(cmd *cobra.Command) error {
	o.intervalGiven = cmd.Flags().Changed("interval")
	switch tracer.Detail(o.detail) {
	case tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables, tracer.DetailFunctions:
	default:
		return usagef("--detail %q: want devices, hooks, tables or functions", o.detail)
	}
	switch o.output {
	case outputText, outputJSON, outputNDJSON:
	default:
		return usagef("--output %q: want text, json or ndjson", o.output)
	}
	switch {
	case o.interval < minInterval:
		return usagef("--interval %s: want %s or more", o.interval, minInterval)
	case o.duration < 0:
		return usagef("--duration %s: want a time such as 10s", o.duration)
	case o.slow < 0:
		return usagef("--slow %s: want a time such as 1ms", o.slow)
	}
	if err := o.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usagef("--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	var err error
	if o.sampleOne, err = parseSample(o.sample); err != nil {
		return err
	}
	if o.maxOverhead, err = parseBudget(o.budget); err != nil {
		return err
	}
	if o.maxOverhead > 0 && o.functional() {
		return usagef("--max-overhead: functions of the kernel cannot be probed for a part of the time: leave it out, or --probe and --detail functions")
	}
	return nil
}

// functional tells whether functions of the kernel are to be probed.
func (o *viewOptions) functional() bool {
	return len(o.probes) > 0 || tracer.Detail(o.detail) == tracer.DetailFunctions
}

// The bounds of a budget: below, attaching and detaching alone would use it up.
const (
	leastBudget = 0.0005
	mostBudget  = 1
)

// parseBudget reads 1% as 0.01; "" is 0, no budget.
func parseBudget(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	text, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil || !(percent/100 >= leastBudget && percent/100 <= mostBudget) {
		return 0, usagef("--max-overhead %q: want a share of one CPU from %g%% to %d%%, for example 1%%", s, leastBudget*100, mostBudget*100)
	}
	return percent / 100, nil
}

// parseSample reads 1/N; "" is 0, no samples.
func parseSample(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(s, "1/")
	n, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil || n == 0 {
		return 0, usagef("--sample %q: want 1/N, for example 1/1000", s)
	}
	return uint32(n), nil
}

// config is what of these the tracer needs.
func (o *viewOptions) config(log *slog.Logger) tracer.Config {
	return tracer.Config{
		Version: versionText(), Detail: tracer.Detail(o.detail), Interval: o.interval,
		Slow: o.slow, Sample: o.sampleOne, MaxOverhead: o.maxOverhead, DropRules: true, Probes: o.probes, Log: log,
	}
}

// targetOptions say what to trace.
type targetOptions struct {
	containers []string
	all        bool
	maxTargets int
	pidTexts   []string
	pids       []int // of pidTexts
	netns      []string
	ports      []string
	peer       string
	proto      string
	runtime    string
	dockerHost string
	memoryText string
	selfCheck  bool

	// Of the exporter only:
	wants   func(container.Container) bool // under all; nil: each
	patient bool                           // what does not run yet, and an engine that does not answer, are waited for
	known   *directory
}

func (o *targetOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.containers, "container", nil, "trace the container of this `NAME` or id prefix; may be given several times")
	f.BoolVar(&o.all, "all", false, "trace every running container, and those to come")
	f.IntVar(&o.maxTargets, "max-targets", defaultMaxTargets, "most targets at a time, with --all: `N`")
	f.StringVar(&o.memoryText, "memory", "", "most memory for figures in the kernel, a `SIZE` such as 128MiB; targets that do not fit are an error")
	f.StringSliceVar(&o.pidTexts, "pid", nil, "trace the network namespace of this `PROCESS`, without an engine")
	f.StringArrayVar(&o.netns, "netns", nil, "trace the network namespace of this `PATH` or name, without an engine")
	f.StringSliceVar(&o.ports, "port", nil, "only packets from or to this `PORT`; may be given several times")
	f.StringVar(&o.peer, "peer", "", "only packets from or to these `ADDRESSES`, for example 10.0.0.0/8")
	f.StringVar(&o.proto, "proto", "", "only this `PROTOCOL`: tcp, udp, icmp or a number")
	o.registerEngine(cmd)
	f.BoolVar(&o.selfCheck, "self-check", false, "attach and detach in turns under the traffic that there is, and print what tracing adds to it; a minute, or --duration")
	mustRegister(cmd, "container", o.completeContainers)
	mustRegister(cmd, "netns", completeNetns)
	complete(cmd, "proto", "tcp", "udp", "icmp")
}

// registerEngine adds the flags that say which engine to ask.
func (o *targetOptions) registerEngine(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.runtime, "runtime", string(container.RuntimeAuto), "`KIND` of engine to ask: auto (all that answer), docker, podman, containerd or none")
	f.StringVar(&o.dockerHost, "docker-host", "", "the engine's `URL`, for example unix:///run/docker.sock (default: $DOCKER_HOST, $CONTAINER_HOST for podman, $CONTAINERD_ADDRESS for containerd)")
	complete(cmd, "runtime", runtimes()...)
}

func runtimes() []string {
	var names []string
	for _, r := range container.Runtimes() {
		names = append(names, string(r))
	}
	return names
}

// checkEngine tells whether the flags of registerEngine fit to each other and to
// what is asked of an engine.
func (o *targetOptions) checkEngine() error {
	switch {
	case !slices.Contains(runtimes(), o.runtime):
		return usagef("--runtime %q: want auto, docker, podman, containerd or none", o.runtime)
	case o.runtime != string(container.RuntimeNone):
		return nil
	case o.dockerHost != "":
		return usagef("--runtime none: asks no engine: leave --docker-host out")
	case o.all || len(o.containers) > 0:
		return usagef("--runtime none: no engine tells of containers: name a process or a namespace by --pid or --netns")
	}
	return nil
}

// engine is the one to ask. The caller closes it.
func (o *targetOptions) engine() (container.Engine, error) {
	return container.Open(container.Config{Runtime: container.Runtime(o.runtime), Host: o.dockerHost})
}

// example is what every usage error about targets ends with.
const example = "vethtrace --container nginx"

// check tells whether there is something to trace; args are what came before --.
func (o *targetOptions) check(args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q: to trace a container say --container %s", args[0], args[0])
	}
	if o.all && len(o.containers) > 0 {
		return usagef("--all traces every container: leave --container out, or --all")
	}
	if !o.all && len(o.containers)+len(o.pidTexts)+len(o.netns) == 0 {
		return usagef("nothing to trace: name a container, for example %s (or --all, --pid, --netns; vethtrace --help)", example)
	}
	if err := errors.Join(o.parsePIDs(), o.checkEngine()); err != nil {
		return err
	}
	if o.maxTargets < 1 || o.maxTargets > mostTargets {
		return usagef("--max-targets %d: want 1 to %d", o.maxTargets, mostTargets)
	}
	return nil
}

// parsePIDs reads --pid.
func (o *targetOptions) parsePIDs() error {
	for _, text := range o.pidTexts {
		pid, err := strconv.ParseInt(text, 10, 32)
		if err != nil || pid <= 0 {
			return usagef("--pid %q: want the id of a process", text)
		}
		o.pids = append(o.pids, int(pid))
	}
	return nil
}

// fill puts the filters into the tracer's configuration.
func (o *targetOptions) fill(cfg *tracer.Config) error {
	for _, text := range o.ports {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return usagef("--port %q: want a number from 1 to 65535", text)
		}
		cfg.Ports = append(cfg.Ports, uint16(port))
	}
	if o.memoryText != "" {
		bytes, err := units.RAMInBytes(o.memoryText)
		if err != nil || bytes < 1 {
			return usagef("--memory %q: want a size such as 128MiB", o.memoryText)
		}
		cfg.Memory = uint64(bytes)
	}
	cfg.Protocol = o.proto
	if o.proto != "" && o.proto != "tcp" && o.proto != "udp" && o.proto != "icmp" {
		if n, err := strconv.ParseUint(o.proto, 10, 8); err != nil || n == 0 {
			return usagef("--proto %q: want tcp, udp, icmp or a number from 1 to 255", o.proto)
		}
	}
	if o.peer == "" {
		return nil
	}
	prefix, err := netip.ParsePrefix(o.peer)
	if err != nil {
		addr, addrErr := netip.ParseAddr(o.peer)
		if addrErr != nil {
			return usagef("--peer %q: want an address or a prefix such as 10.0.0.0/8", o.peer)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	cfg.Peer = prefix.Masked()
	return nil
}
