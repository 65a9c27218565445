// SPDX-License-Identifier: Apache-2.0

// Command vm runs root tests in guests with other kernels, and makes
// docs/kernels.md from what was recorded of such runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vethtrace/vethtrace/internal/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

type options struct {
	kernels string
	tests   string
	results string
	record  bool
	docs    string
	store   string
	update  bool
	work    string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("vm", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.kernels, "kernels", "", "`names` of kernels of the list, with commas (default: all)")
	f.StringVar(&o.tests, "tests", "", "`GROUP`, or PACKAGE:TEST,..., to run instead of all that the list says: hops, or tracer:TestIPv6")
	f.StringVar(&o.results, "results", "internal/vm/results.json", "`file` of recorded results")
	f.BoolVar(&o.record, "record", false, "record the results")
	f.StringVar(&o.docs, "docs", "", "run nothing: write this `page` from the recorded results")
	f.StringVar(&o.store, "store", "", "`directory` that keeps kernels between runs (default: $VETHTRACE_KERNELS, or vethtrace/kernels in the user's cache)")
	f.BoolVar(&o.update, "update", false, "ask for newer packages of kernels")
	f.StringVar(&o.work, "work", "bin/vm", "`directory` for what is built, and for consoles of guests")
	if err := f.Parse(args); err != nil {
		return o, fmt.Errorf("parse flags: %w", err)
	}
	if o.record && o.tests != "" {
		return o, errors.New("-record with -tests: what is recorded is what the list says")
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.docs != "" {
		return writeDocs(o)
	}
	kernels, err := chosen(o.kernels)
	if err != nil {
		return err
	}
	cfg := vm.Config{Root: ".", Out: stdout}
	if cfg.Tests, err = groups(o.tests); err != nil {
		return err
	}
	if cfg.Work, err = filepath.Abs(o.work); err != nil {
		return fmt.Errorf("find %s: %w", o.work, err)
	}
	if cfg.Store, err = vm.OpenStore(o.store, o.update); err != nil {
		return err
	}
	return guests(ctx, vm.NewRunner(cfg), kernels, o)
}

// guests runs one kernel after the other, whatever becomes of each. What went as
// expected is recorded at once: the whole takes long.
func guests(ctx context.Context, runner *vm.Runner, kernels []vm.Kernel, o options) error {
	var errs []error
	for _, k := range kernels {
		result, err := runner.Run(ctx, k)
		if err == nil && o.record {
			err = vm.Record(o.results, []vm.Result{result})
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func writeDocs(o options) error {
	results, err := vm.ReadResults(o.results)
	if err != nil {
		return err
	}
	page, err := vm.Page(results)
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.docs, []byte(page), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// chosen are the kernels of these names.
func chosen(names string) (kernels []vm.Kernel, err error) {
	if names == "" {
		return vm.Kernels(), nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(vm.Kernels(), func(k vm.Kernel) bool { return k.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("kernel %q is not in the list of internal/vm/kernels.go", name)
		}
		kernels = append(kernels, vm.Kernels()[i])
	}
	return kernels, nil
}

// groups is the group of tests that a flag names.
func groups(tests string) ([]vm.Group, error) {
	if tests == "" {
		return nil, nil
	}
	pkg, names, ok := strings.Cut(tests, ":")
	if i := slices.IndexFunc(vm.Groups(), func(g vm.Group) bool { return g.Name == tests }); i >= 0 {
		return vm.Groups()[i : i+1], nil
	}
	if !ok || names == "" {
		return nil, fmt.Errorf("-tests %q: want a group of internal/vm/kernels.go, or PACKAGE:TEST,... as in tracer:TestIPv6", tests)
	}
	return []vm.Group{{Name: "asked for", Package: strings.TrimPrefix(pkg, "./"), Tests: strings.Split(names, ",")}}, nil
}
