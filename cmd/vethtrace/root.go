// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vethtrace/vethtrace/tracer/container"
)

const longHelp = `vethtrace shows, per hop and live, how long packets take on their way to and from a container:
from the uplink through netfilter, routing, the bridge and the veth pair to the socket, and back.

On a terminal the tables are live; at the end, and wherever there is no terminal, they are plain text.
With a command behind -- it is attached while that command runs, and exits with its status.

Exit status: 0 done, 1 failed, 2 usage, 3 not allowed by the kernel or the rights, 4 no such target,
5 more targets than a limit allows.`

const rootExample = `  vethtrace --container nginx
  vethtrace --all --detail devices
  vethtrace --netns /proc/4711/ns/net --duration 10s -o json
  vethtrace --container nginx --slow 1ms -- curl -s http://192.0.2.1:8080/
  vethtrace demo`

// completionTime bounds what a shell waits for names.
const completionTime = time.Second

// newRoot makes the command and everything beneath it.
func newRoot(s streams) *cobra.Command {
	var view viewOptions
	var targets targetOptions
	cmd := &cobra.Command{
		Use:           "vethtrace [flags] [-- COMMAND ARGS...]",
		Short:         "Per-hop latency of a container's packets, live",
		Long:          longHelp,
		Example:       rootExample,
		Version:       versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			before, command := split(cmd, args)
			if err := targets.check(before); err != nil {
				return err
			}
			if err := view.check(cmd); err != nil {
				return err
			}
			return trace(cmd.Context(), s, &view, &targets, command)
		},
	}
	cmd.SetVersionTemplate("vethtrace {{.Version}}\n")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return noEmptyFlag(cmd) }
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usagef("%v: see vethtrace --help", err)
	})
	cmd.CompletionOptions.HiddenDefaultCmd = false
	targets.register(cmd)
	view.register(cmd, 0)
	cmd.AddCommand(newBench(s), newCompare(s), newReport(s), newDemo(s), newExport(s), newTopology(s), newDoctor(s), newVersion(s))
	strictWords(cmd)
	return cmd
}

// noEmptyFlag refuses a flag that was given without a value, as --container "$NAME"
// is where NAME is not set: it is not the same as no flag.
func noEmptyFlag(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		empty := f.Value.String() == ""
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values := list.GetSlice()
			empty = len(values) == 0 || slices.Contains(values, "")
		}
		if empty && err == nil {
			err = usagef("--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// strictWords makes usage errors of what cobra's own commands let pass: a shell
// without completion, help on a command that does not exist.
func strictWords(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if _, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return usagef("no command %q: see vethtrace --help", strings.Join(args, " "))
				}
				return nil
			}
		case "completion":
			var shells []string
			for _, shell := range cmd.Commands() {
				shell.Args, shells = noArgs, append(shells, shell.Name())
			}
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return cmd.Help()
				}
				return usagef("completion %s: want one of %s", args[0], strings.Join(shells, ", "))
			}
			cmd.Args = cobra.ArbitraryArgs
		}
	}
}

// split parts the arguments at --.
func split(cmd *cobra.Command, args []string) (before, command []string) {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		return args[:dash], args[dash:]
	}
	return args, nil
}

// completeContainers offers the names of the running containers.
func (o *targetOptions) completeContainers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	if o.runtime == string(container.RuntimeNone) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	engine, err := o.engine()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer engine.Close()
	names, err := engine.Names(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeNetns offers the names that ip(8) knows, and files.
func completeNetns(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault // ip(8) never made one
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, cobra.ShellCompDirectiveDefault
}
