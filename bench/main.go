// SPDX-License-Identifier: Apache-2.0

// Command bench measures what tracing costs: load with vethtrace attached, and
// with other tools, against the same load without, in a lab world on one machine.
//
//	go run ./bench                       a full run (20 minutes), stored below bench/results
//	go run ./bench -quick                a trial (2 minutes) of some rows, printed only
//	go run ./bench -rows 'UDP|HTTP'      some rows, printed only
//	go run ./bench -list                 their names
//	go run ./bench -docs FILE            docs/performance.md from a stored result
//
// It exits with 1 when it could not measure, when the machine was too noisy or
// when a row is void. A goal that is not met is a result, not a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/vethtrace/vethtrace/bench/command"
	"github.com/vethtrace/vethtrace/bench/report"
)

//go:generate go run . -from results/latest.json -docs ../docs/performance.md

// defaultStem is where a full run is stored, with .json and .txt behind it.
const defaultStem = "bench/results/latest"

func main() { command.Main("bench", run) }

// errDoesNotCount is a run that was made and stored, but is no measurement.
var errDoesNotCount = errors.New("the run does not count, see above")

// options are what the command line asks for.
type options struct {
	scheme     report.Scheme
	arms       []arm
	list       bool
	version    string
	stem       string
	raw        string
	refill     string
	from, docs string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	quick := flags.Bool("quick", false, "a trial of two minutes: some rows, few pairs, short spans; not stored unless -o is given")
	pairs := flags.Int("pairs", 0, "pairs per arm with a narrow goal, half as many per other arm; 0: 14 and 6, or 3 with -quick")
	rows := flags.String("rows", "", "measure only rows whose names match this expression, and their A/A arms; not stored unless -o is given")
	flags.BoolVar(&o.list, "list", false, "measure nothing, list the rows that would be measured")
	seed := flags.Uint64("seed", 0, "of the order of arms and of the bootstrap; 0: a random one")
	wire := flags.String("wire", report.WireNIC, "between client and host: nic, which receives by NAPI as a network card does, or veth, a plain pair")
	flags.StringVar(&o.stem, "o", "", "store as this with .json and .txt behind it; empty: "+defaultStem+" for a full run")
	flags.StringVar(&o.raw, "raw", "", "store every window as JSON in this file")
	flags.StringVar(&o.refill, "refill", "", "measure nothing, compute the figures of the stored result (-from) anew from the windows in this file")
	flags.StringVar(&o.version, "version", "unknown", "of vethtrace, to be stored")
	flags.StringVar(&o.from, "from", defaultStem+".json", "with -docs and -refill: the stored result")
	flags.StringVar(&o.docs, "docs", "", "measure nothing, write this page from a stored result")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.docs != "" && o.refill != "" {
		return options{}, errors.New("-docs and -refill: want one of them")
	}
	if *pairs < 0 {
		return options{}, fmt.Errorf("-pairs %d: want at least 1", *pairs)
	}
	if *wire != report.WireNIC && *wire != report.WireVeth {
		return options{}, fmt.Errorf("-wire %s: want %s or %s", *wire, report.WireNIC, report.WireVeth)
	}
	var pattern *regexp.Regexp
	var err error
	if *rows != "" {
		if pattern, err = regexp.Compile(*rows); err != nil {
			return options{}, fmt.Errorf("-rows: %w", err)
		}
	}
	if o.arms, err = pick(arms(), pattern, *quick); err != nil {
		return options{}, err
	}
	o.scheme = schemeOf(*quick, *pairs, *seed)
	o.scheme.Wire = *wire
	if o.stem == "" && !*quick && pattern == nil {
		o.stem = defaultStem
	}
	return o, nil
}

// schemeOf is how a run is made. A traced span of a full run is as long as the
// period in which the tracer attaches null hops for a twentieth of the
// time; traffic before it is long enough for that to have begun, and for the
// null hops of tcx, attached for the first second of each minute, to be gone.
func schemeOf(quick bool, pairs int, seed uint64) report.Scheme {
	s := report.Scheme{Pairs: 14, Few: 6, WindowMs: 5, Without: 80, With: 200, SettleMs: 1200, Quick: quick}
	if quick {
		s.Pairs, s.Few, s.Without, s.With, s.SettleMs = 3, 3, 60, 100, 1100
	}
	if pairs > 0 {
		s.Pairs, s.Few = pairs, max(1, (pairs+1)/2)
	}
	s.Seed = seed
	if s.Seed == 0 {
		s.Seed = rand.Uint64N(1 << 32)
	}
	return s
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.docs != "" {
		return writeDocs(o.from, o.docs)
	}
	if o.refill != "" {
		return refill(o.from, o.refill, stdout)
	}
	if o.list {
		for _, a := range o.arms {
			fmt.Fprintln(stdout, a.row().Name())
		}
		return nil
	}
	result, raw, err := measure(ctx, o.arms, o.scheme, stderr)
	if err != nil {
		return err
	}
	if o.raw != "" {
		if err := storeRaw(raw, o.raw); err != nil {
			return err
		}
	}
	result.Version, result.Date = o.version, time.Now().UTC().Format(time.DateOnly)
	fmt.Fprint(stdout, result.Text())
	if o.stem != "" {
		if err := store(result, o.stem); err != nil {
			return err
		}
	}
	if result.Failed() {
		return errDoesNotCount
	}
	return nil
}
