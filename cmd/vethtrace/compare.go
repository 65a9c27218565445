// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/tracer"
)

const compareHelp = `Traces two targets at the same time, under whatever load they have, and says how they differ, hop by hop, with
95% confidence intervals: median and 99th percentile of each, the difference, and which part of it each layer is.
With two documents of vethtrace -o json, or two results of bench or compare, compares these: before and after a change.

A difference is that of the first against the second target, or of the second against the first document.`

const compareExample = `  vethtrace compare nginx nginx-host-mode --duration 30s
  vethtrace compare before.json after.json
  vethtrace compare bench-before.json bench-after.json --target published/tcp_rr
  vethtrace compare --pid 4711 --netns blue -o json > result.json`

// compareOptions say what to compare.
type compareOptions struct {
	view    viewOptions
	targets targetOptions
	target  string // of documents
	seed    uint64
}

// defaultCompare is how long both targets are traced.
const defaultCompare = 30 * time.Second

func newCompare(s streams) *cobra.Command {
	var o compareOptions
	cmd := &cobra.Command{
		Use:     "compare A B [flags] [-- COMMAND ARGS...]",
		Short:   "How two containers, or two saved measurements, differ, hop by hop",
		Long:    compareHelp,
		Example: compareExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := split(cmd, args)
			return o.run(cmd, s, names, command)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			names, _ := o.targets.completeContainers(cmd, args, prefix)
			return names, cobra.ShellCompDirectiveDefault // files too
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&o.targets.pidTexts, "pid", nil, "compare the network namespace of this `PROCESS`, without an engine")
	f.StringArrayVar(&o.targets.netns, "netns", nil, "compare the network namespace of this `PATH` or name, without an engine")
	f.StringVar(&o.target, "target", "", "the target of this `NAME`, in documents that have several; WAY/LOAD in a result of bench")
	f.StringSliceVar(&o.targets.ports, "port", nil, "only packets from or to this `PORT`; may be given several times")
	f.StringVar(&o.targets.peer, "peer", "", "only packets from or to these `ADDRESSES`, for example 10.0.0.0/8")
	f.StringVar(&o.targets.proto, "proto", "", "only this `PROTOCOL`: tcp, udp, icmp or a number")
	o.targets.registerEngine(cmd)
	f.StringVar(&o.view.detail, "detail", string(tracer.DetailHooks), "`HOPS` to divide a path into: devices, hooks or tables")
	f.DurationVar(&o.view.duration, "duration", defaultCompare, "trace for this `TIME`; 0: until interrupted")
	f.StringVarP(&o.view.output, "output", "o", outputText, "`FORMAT`: text or json")
	f.BoolVar(&o.view.raw, "raw", false, "figures as measured, what measuring costs not subtracted")
	f.Uint64Var(&o.seed, "seed", 1, "`NUMBER` that the bootstrap begins with")
	f.StringVar(&o.view.logLevel, "log-level", "info", "`LEVEL` of messages on stderr: debug, info, warn or error")
	f.BoolVar(&o.view.noColor, "no-color", false, "no colors (also: NO_COLOR=1)")
	mustRegister(cmd, "netns", completeNetns)
	complete(cmd, "detail", "devices", "hooks", "tables")
	complete(cmd, "output", outputText, outputJSON)
	return cmd
}

func (o *compareOptions) run(cmd *cobra.Command, s streams, names, command []string) error {
	files := 0
	for _, name := range names {
		if isFile(name) {
			files++
		}
	}
	if slices.Contains(names, "") {
		return usagef("compare: a name is empty: want two targets, or two documents")
	}
	live := len(o.targets.pidTexts) + len(o.targets.netns)
	if len(names)+live != 2 {
		return usagef("compare: want two targets, or two documents of vethtrace -o json, for example vethtrace compare nginx nginx-host-mode")
	}
	if o.view.output == outputNDJSON {
		return usagef("--output ndjson: want text or json")
	}
	o.view.interval = compareInterval(o.view.duration)
	if err := o.view.check(cmd); err != nil {
		return err
	}
	if o.view.functional() {
		return usagef("compare: has no rows for functions of the kernel: want --detail devices, hooks or tables, and no --probe")
	}
	if files == 2 {
		if command != nil || cmd.Flags().Changed("duration") {
			return usagef("compare: saved documents are not traced again: leave --duration and the command out")
		}
		return o.saved(s, names)
	}
	if files > 0 {
		return usagef("compare: %s is a document, the other is a target to trace: want two of a kind", names[slices.IndexFunc(names, isFile)])
	}
	if o.target != "" {
		return usagef("--target %s: is for saved documents", o.target)
	}
	o.targets.containers, o.targets.maxTargets = names, 2
	if err := o.targets.check(nil); err != nil {
		return err
	}
	return o.trace(cmd.Context(), s, command)
}

// isFile tells whether an argument is a document: names of containers have no
// slash, and hardly that suffix.
func isFile(name string) bool {
	return strings.HasSuffix(name, ".json") || strings.Contains(name, "/")
}

// The rounds of a comparison: as many as possible, but each with packets.
const (
	wantedRounds  = 40
	longestRounds = time.Second
)

// compareInterval is how long a round is.
func compareInterval(duration time.Duration) time.Duration {
	if duration <= 0 {
		return longestRounds
	}
	return min(max(duration/wantedRounds, minInterval), longestRounds)
}

// trace traces both targets at the same time.
func (o *compareOptions) trace(ctx context.Context, s streams, command []string) error {
	run := newSession(s, &o.view, command)
	cfg := o.view.config(run.log)
	if err := o.targets.fill(&cfg); err != nil {
		return err
	}
	if err := run.findCommand(); err != nil {
		return err
	}
	if err := checkRights(); err != nil {
		return err
	}
	found, err := o.targets.find(ctx, run.log)
	if err != nil {
		return explainRights(err)
	}
	defer found.close()
	if len(found.members) != 2 {
		return usagef("compare: the two are one target: they share a network namespace")
	}
	found.configure(&cfg)
	cfg.Environment = surroundings(ctx, found.host, found.engine)
	specs, err := found.specs(cfg)
	if err != nil {
		return explainRights(explainLimit(err))
	}
	run.only = &compareSink{options: o, out: run.outlet, streams: s, names: [2]string{specs[0].Name, specs[1].Name}}
	err = run.trace(ctx, cfg, specs, found)
	return explainRights(explainWay(explainLimit(errors.Join(err, closeSpecs(specs)))))
}
