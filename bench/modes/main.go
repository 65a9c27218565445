// SPDX-License-Identifier: Apache-2.0

// Command modes measures what bridge mode costs over host mode on this machine,
// with vethtrace bench in its reference world, by IPv4 and by IPv6, and writes the
// page of it.
//
//	go run ./bench/modes -vethtrace bin/vethtrace        about five minutes; stored below bench/results
//	go run ./bench/modes -docs docs/bridge-vs-host.md    the page from the stored result
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/vethtrace/vethtrace/bench/command"
	"github.com/vethtrace/vethtrace/internal/result"
)

//go:generate go run . -from ../results/modes.json -docs ../../docs/bridge-vs-host.md

const defaultResult = "bench/results/modes.json"

func main() { command.Main("modes", run) }

type options struct {
	program, out, from, docs string
	four, six                time.Duration
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("modes", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.program, "vethtrace", "bin/vethtrace", "the program to measure with")
	flags.DurationVar(&o.four, "four", 3*time.Minute, "how long to measure by IPv4")
	flags.DurationVar(&o.six, "six", 90*time.Second, "how long to measure by IPv6")
	flags.StringVar(&o.out, "o", defaultResult, "where to store the result")
	flags.StringVar(&o.from, "from", defaultResult, "with -docs: the stored result")
	flags.StringVar(&o.docs, "docs", "", "measure nothing, write this page from a stored result; without one it stays as it is")
	return o, flags.Parse(args)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.docs != "" {
		return writeDocs(o.from, o.docs, stderr)
	}
	four, err := o.bench(ctx, stderr, o.four, "4", "tcp_rr,udp_rr,http_new,bulk")
	if err != nil {
		return err
	}
	six, err := o.bench(ctx, stderr, o.six, "6", "tcp_rr,udp_rr")
	if err != nil {
		return err
	}
	s := store(four, six)
	raw, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	if err := os.WriteFile(o.out, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	for _, d := range []result.Document{four, six} {
		fmt.Fprintln(stdout, d.Answer)
		if c := d.Bench.Others.Caution; c != "" {
			fmt.Fprintln(stdout, "CAUTION: "+c)
		}
	}
	return nil
}

// bench runs vethtrace bench and reads its result.
func (o options) bench(ctx context.Context, stderr io.Writer, duration time.Duration, family, loads string) (result.Document, error) {
	fmt.Fprintf(stderr, "IPv%s, for %v\n", family, duration)
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, o.program, "bench", "--family", family, "--loads", loads, "--duration", duration.String(), "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, stderr
	if err := cmd.Run(); err != nil {
		return result.Document{}, fmt.Errorf("%s bench: %w", o.program, err)
	}
	d, err := result.Decode(&out)
	if err == nil && d.Bench == nil {
		err = errors.New("not the result of a bench")
	}
	return d, err
}

func writeDocs(from, to string, stderr io.Writer) error {
	raw, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stderr, "%s is not there: %s stays as it is\n", from, to)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the stored result: %w", err)
	}
	var s stored
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the stored result: %s: %w", from, err)
	}
	page, err := s.page()
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, page, 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
