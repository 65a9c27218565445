// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/exporter/otlp"
	"github.com/vethtrace/vethtrace/exporter/prom"
	"github.com/vethtrace/vethtrace/exporter/serve"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/container"
)

const (
	defaultBudget   = "1%"
	defaultGrace    = 5 * time.Minute
	defaultOnceTime = 10 * time.Second
	// keepLonger is how much longer than their series' grace the tracer keeps
	// targets that have ended, so that a scrape in between sees their end.
	keepLonger = time.Minute
	// readPause is how often the kernel's 32-bit counts are read between scrapes.
	readPause = 10 * time.Second
	// scrapers may have so many connections without a target that finds no room.
	scraperFiles = 256
)

// exportOptions say what to trace and how figures leave.
type exportOptions struct {
	targets targetOptions
	labels  []string
	detail  string
	slow    time.Duration
	budget  string

	addresses     []string
	configFile    string
	telemetryPath string
	insecure      bool
	histograms    string
	grace         time.Duration
	once          bool
	duration      time.Duration
	textfile      string
	otlpEndpoint  string
	otlpInterval  time.Duration

	level  *promslog.Level
	format *promslog.Format
}

func newExportOptions() *exportOptions {
	return &exportOptions{
		targets: targetOptions{patient: true, known: newDirectory()},
		level:   promslog.NewLevel(), format: promslog.NewFormat(),
	}
}

func (o *exportOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.targets.containers, "container", nil, "trace the container of this `NAME`, and wait for it; may be given several times (default: all)")
	f.StringArrayVar(&o.labels, "label", nil, "trace the containers that have this label, `KEY=VALUE` or KEY; with several: all of them")
	f.StringSliceVar(&o.targets.pidTexts, "pid", nil, "trace the network namespace of this `PROCESS`, without an engine")
	f.StringArrayVar(&o.targets.netns, "netns", nil, "trace the network namespace of this `PATH` or name, without an engine")
	f.IntVar(&o.targets.maxTargets, "max-targets", mostTargets, "most targets at a time: `N`")
	f.StringVar(&o.targets.memoryText, "memory", "", "most memory for figures in the kernel, a `SIZE` such as 128MiB; targets that do not fit are an error")
	o.targets.registerEngine(cmd)
	f.StringVar(&o.detail, "detail", string(tracer.DetailHooks), "`HOPS` to divide a path into: devices, hooks or tables")
	f.StringVar(&o.budget, "max-overhead", defaultBudget, "most that tracing may cost, in percent of one CPU; the hooks are attached for a part of the time then; 0: no limit: `1%`")
	f.DurationVar(&o.slow, "slow", time.Millisecond, "journeys of this `TIME` or longer are exemplars, and on /journeys; 0: none")
	f.StringArrayVar(&o.addresses, "web.listen-address", []string{serve.DefaultAddress}, "`HOST:PORT` to listen on; may be given several times. Others than this machine's need --web.config.file or --insecure")
	f.StringVar(&o.configFile, "web.config.file", "", "`FILE` with TLS and users, as the Prometheus exporter toolkit has it")
	f.StringVar(&o.telemetryPath, "web.telemetry-path", "/metrics", "`PATH` of the metrics")
	f.BoolVar(&o.insecure, "insecure", false, "listen where other machines reach it, without TLS and users")
	f.StringVar(&o.histograms, "histograms", "both", "`FORM` of latencies: native (scraped as protobuf), classic or both")
	f.DurationVar(&o.grace, "grace", defaultGrace, "`TIME` that series of a container stay after its end")
	f.BoolVar(&o.once, "once", false, "trace for --duration, write the metrics to standard output (or --textfile) and end")
	f.DurationVar(&o.duration, "duration", defaultOnceTime, "how long --once traces: `TIME`")
	f.StringVar(&o.textfile, "textfile", "", "write the metrics to this `FILE` every 15 s, for node_exporter's textfile collector; with --once once")
	f.StringVar(&o.otlpEndpoint, "otlp", "", "push the metrics to this OTLP `ENDPOINT` too: http://HOST:4318 or grpc://HOST:4317 (https, grpcs)")
	f.DurationVar(&o.otlpInterval, "otlp-interval", otlp.DefaultInterval, "`TIME` between two pushes")
	f.Var(levelFlag{o.level}, "log.level", "`LEVEL` of messages on stderr: debug, info, warn or error")
	f.Var(formatFlag{o.format}, "log.format", "`FORMAT` of messages: logfmt or json")
	mustRegister(cmd, "container", o.targets.completeContainers)
	mustRegister(cmd, "netns", completeNetns)
	complete(cmd, "detail", "devices", "hooks", "tables")
	complete(cmd, "max-overhead", "1%", "0.5%", "2%", "5%", "0")
	complete(cmd, "histograms", "native", "classic", "both")
	complete(cmd, "log.level", promslog.LevelFlagOptions...)
	complete(cmd, "log.format", promslog.FormatFlagOptions...)
}

// levelFlag and formatFlag are promslog's as flags of cobra.
type (
	levelFlag  struct{ *promslog.Level }
	formatFlag struct{ *promslog.Format }
)

// Type implements pflag.Value.
func (levelFlag) Type() string { return "string" }

// Type implements pflag.Value.
func (formatFlag) Type() string { return "string" }

// check reads what was given as text. Its errors are usage errors.
func (o *exportOptions) check(cmd *cobra.Command, args []string) error {
	if err := noArgs(cmd, args); err != nil {
		return err
	}
	switch tracer.Detail(o.detail) {
	case tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables:
	default:
		return usagef("--detail %q: want devices, hooks or tables", o.detail)
	}
	switch {
	case o.slow < 0:
		return usagef("--slow %s: want a time such as 1ms", o.slow)
	case o.grace <= 0:
		return usagef("--grace %s: want a time such as 5m", o.grace)
	case o.duration <= 0:
		return usagef("--duration %s: want a time such as 10s", o.duration)
	case cmd.Flags().Changed("duration") && !o.once:
		return usagef("--duration is how long --once traces: leave it out, or add --once")
	case o.otlpInterval <= 0:
		return usagef("--otlp-interval %s: want a time such as 30s", o.otlpInterval)
	case o.histograms == "native" && (o.once || o.textfile != ""):
		return usagef("--histograms native: text has only classic ones, which --once and --textfile write: want classic or both")
	}
	if o.otlpEndpoint != "" {
		if err := otlp.Check(o.otlpEndpoint); err != nil {
			return usagef("--otlp: %v", err)
		}
	}
	_, formErr := o.form()
	_, budgetErr := o.share()
	if err := errors.Join(formErr, budgetErr); err != nil {
		return err
	}
	return o.choose()
}

// choose makes of the flags what to trace: everything, unless something was named.
func (o *exportOptions) choose() error {
	t := &o.targets
	if len(o.labels) > 0 && len(t.containers) > 0 {
		return usagef("--label chooses among all containers: leave --container out, or --label")
	}
	for _, label := range o.labels {
		if key, _, _ := strings.Cut(label, "="); key == "" {
			return usagef("--label %q: want KEY=VALUE, or KEY", label)
		}
	}
	t.all = len(o.labels) > 0 || len(t.containers)+len(t.pidTexts)+len(t.netns) == 0
	if len(o.labels) > 0 {
		t.wants = func(c container.Container) bool { return labelled(c, o.labels) }
	}
	return t.check(nil)
}

// labelled tells whether a container has all of the labels.
func labelled(c container.Container, labels []string) bool {
	return !slices.ContainsFunc(labels, func(label string) bool {
		key, want, valued := strings.Cut(label, "=")
		have, ok := c.Labels[key]
		return !ok || valued && have != want
	})
}

// form reads --histograms.
func (o *exportOptions) form() (prom.Form, error) {
	switch o.histograms {
	case "native":
		return prom.Form{Native: true}, nil
	case "classic":
		return prom.Form{Classic: true}, nil
	case "both":
		return prom.Form{Native: true, Classic: true}, nil
	}
	return prom.Form{}, usagef("--histograms %q: want native, classic or both", o.histograms)
}

// config is what of these the tracer needs.
func (o *exportOptions) config(log *slog.Logger) (tracer.Config, error) {
	budget, err := o.share()
	if err != nil {
		return tracer.Config{}, err
	}
	cfg := tracer.Config{
		Version: versionText(), Detail: tracer.Detail(o.detail), Slow: o.slow, Interval: readPause,
		NoRounds: true, Keep: o.grace + keepLonger, Log: log, MaxOverhead: budget,
	}
	return cfg, o.targets.fill(&cfg)
}

// share reads --max-overhead; 0 is no limit.
func (o *exportOptions) share() (float64, error) {
	if o.budget == "0" {
		return 0, nil
	}
	return parseBudget(o.budget)
}
