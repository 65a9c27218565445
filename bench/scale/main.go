// SPDX-License-Identifier: Apache-2.0

// Command scale measures what tracing many containers takes: time, locks,
// memory, CPU, and what a packet pays, in worlds of up to 1,000 namespaces on
// one bridge, with the program that users start.
//
//	go run ./bench/scale -vethtrace bin/vethtrace       a full run, stored below bench/results
//	go run ./bench/scale -docs docs/scale.md            the page from the stored result
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bench/command"
	"github.com/vethtrace/vethtrace/internal/lab"
)

//go:generate go run . -from ../results/scale.json -docs ../../docs/scale.md

const defaultResult = "bench/results/scale.json"

func main() { command.Main("scale", run) }

type options struct {
	scheme     scheme
	program    string
	version    string
	out        string
	from, docs string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.SetOutput(stderr)
	counts := flags.String("counts", "1,10,100,1000", "numbers of containers, ascending; a bridge takes 1023")
	flags.DurationVar(&o.scheme.Watch, "watch", 10*time.Second, "how long CPU time is looked at")
	flags.IntVar(&o.scheme.Cycles, "cycles", 16, "of the comparison of one target with all; 0: none")
	flags.IntVar(&o.scheme.Windows, "windows", 200, "of 5 ms per arm of a cycle")
	flags.StringVar(&o.program, "vethtrace", "bin/vethtrace", "the program to measure")
	flags.StringVar(&o.version, "version", "unknown", "of vethtrace, to be stored")
	flags.StringVar(&o.out, "o", defaultResult, "where to store the result; empty: nowhere")
	flags.StringVar(&o.from, "from", defaultResult, "with -docs: the stored result")
	flags.StringVar(&o.docs, "docs", "", "measure nothing, write this page from a stored result")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for text := range strings.SplitSeq(*counts, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > lab.MostPorts {
			return o, fmt.Errorf("-counts %s: want numbers from 1 to %d", *counts, lab.MostPorts)
		}
		o.scheme.Counts = append(o.scheme.Counts, n)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.docs != "" {
		return writeDocs(o.from, o.docs)
	}
	r, err := bench{program: o.program, scheme: o.scheme, progress: stderr}.measure(ctx)
	if err != nil {
		return err
	}
	r.Version, r.Date, r.CPUs, r.Kernel = o.version, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), release()
	for _, g := range r.goals() {
		verdict := "met"
		if !g.met {
			verdict = "NOT MET"
		}
		fmt.Fprintf(stdout, "%-64s %-28s %s\n", g.text, g.got, verdict)
	}
	if o.out == "" {
		return nil
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	if err := os.WriteFile(o.out, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	return nil
}

func release() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(uts.Release[:])
}

func writeDocs(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read the stored result: %w", err)
	}
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read the stored result %s: %w", from, err)
	}
	if err := os.WriteFile(to, []byte(r.markdown()), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
