// SPDX-License-Identifier: Apache-2.0

// Command accuracy measures how right the figures are: it makes packets wait
// for known times at known places and looks which hops show it.
//
//	go run ./bench/accuracy                          the whole matrix (about 25 minutes), stored
//	go run ./bench/accuracy -continue -limit 4m      what the stored result has not, for so long
//	go run ./bench/accuracy -again                   the blocks of it that have cells which are not right, once more
//	go run ./bench/accuracy -docs FILE               docs/accuracy.md from the stored result
//
// It exits with 1 when something could not be measured or is not right.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vethtrace/vethtrace/bench/accuracy/matrix"
	"github.com/vethtrace/vethtrace/bench/accuracy/report"
	"github.com/vethtrace/vethtrace/bench/command"
	"github.com/vethtrace/vethtrace/bench/machine"
)

//go:generate go run . -o results/latest.jsonl -docs ../../docs/accuracy.md

func main() { command.Main("accuracy", run) }

// errNotRight is a run that was made and stored, but shows figures that are not right.
var errNotRight = errors.New("not all figures are right, see above")

// errPart is a stored result that has no first go to be measured again.
var errPart = errors.New("-again takes a whole result; -continue measures what is missing")

// errMissing is a whole run in which something could not be measured.
var errMissing = errors.New("not all blocks could be measured, see above; -continue measures them again")

// options are what the command line asks for.
type options struct {
	version  string
	file     string
	docs     string
	limit    time.Duration
	goOn     bool
	again    bool
	onlyFlat bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.version, "version", "unknown", "of vethtrace, to be stored")
	flags.StringVar(&o.file, "o", "bench/accuracy/results/latest.jsonl", "where the result is stored, after each block")
	flags.StringVar(&o.docs, "docs", "", "measure nothing, write this page from the stored result")
	flags.DurationVar(&o.limit, "limit", 0, "begin no block after so long; 0: measure all")
	flags.BoolVar(&o.goOn, "continue", false, "measure what the stored result has not yet, instead of all anew")
	flags.BoolVar(&o.again, "again", false, "measure again, whole, what the stored result has of blocks with cells that are not right")
	flags.BoolVar(&o.onlyFlat, "flat", false, "with -continue or -again: measure only flatness, anew")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	switch {
	case o.limit < 0:
		return options{}, fmt.Errorf("-limit %v: want at least 0", o.limit)
	case o.goOn && o.again:
		return options{}, errors.New("-continue and -again: want one of them")
	case o.onlyFlat && !o.goOn && !o.again: // a result anew would replace the stored cells by none
		return options{}, errors.New("-flat: want -continue or -again with it, which keep the cells of the stored result")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.docs != "" {
		result, err := stored(o.file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.docs, []byte(result.Markdown()), 0o644); err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
		return nil
	}
	what, err := machine.Read()
	if err != nil {
		return err
	}
	now := report.Go{Version: o.version, Date: time.Now().UTC().Format(time.DateOnly), Machine: what}
	result, err := begin(o, now)
	if err != nil {
		return err
	}
	m := &measurement{result: result, now: now, options: o, progress: stderr, start: time.Now()}
	if err := m.all(ctx); err != nil {
		return err
	}
	return m.verdict(stdout)
}

// begin is the result to go on with.
func begin(o options, now report.Go) (report.Result, error) {
	if o.goOn || o.again {
		result, err := stored(o.file)
		if o.again && err == nil && result.Missing() > 0 {
			err = fmt.Errorf("%d of %d blocks are missing: %w", result.Missing(), len(matrix.Blocks()), errPart)
		}
		if err == nil || o.again || !errors.Is(err, fs.ErrNotExist) {
			result.Header.Fewest = fewestRounds
			return result, err
		}
	}
	return report.Result{Header: report.Header{
		Version: now.Version, Date: now.Date, Machine: now.Machine,
		WindowMs: int(windowLength.Milliseconds()), Fewest: fewestRounds, Rounds: rounds, Seed: rand.Uint64N(1 << 32),
	}}, nil
}

func stored(file string) (report.Result, error) {
	f, err := os.Open(file)
	if err != nil {
		return report.Result{}, fmt.Errorf("read the stored result: %w", err)
	}
	defer f.Close()
	return report.Read(f)
}

// measurement is a run, or a piece of one.
type measurement struct {
	result   report.Result
	now      report.Go
	options  options
	progress io.Writer
	start    time.Time
}

// over tells whether the piece has lasted as long as it may.
func (m *measurement) over() bool {
	return m.options.limit > 0 && time.Since(m.start) >= m.options.limit
}

func (m *measurement) all(ctx context.Context) (err error) {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if len(m.result.Flat) == 0 || m.options.onlyFlat {
		fmt.Fprintln(m.progress, "flatness")
		flat, err := w.flatness(ctx, m.result.Header.Seed)
		if err != nil {
			return err
		}
		m.result.TakeFlat(flat)
		if err := m.store(); err != nil {
			return err
		}
	}
	if m.options.onlyFlat {
		return nil
	}
	for _, part := range m.parts() {
		if m.over() {
			break
		}
		if err := w.cells(ctx, part[0].Detail, part, m.result.Header.Seed, m.keep); err != nil {
			return err
		}
	}
	return nil
}

// wants tells whether a block is to be measured: it has not been yet or, with
// -again, has cells that are not right.
func (m *measurement) wants(b matrix.Block) bool {
	if m.options.again {
		return !m.result.RightBlock(b)
	}
	return !m.result.Has(b)
}

// parts are the cells that are to be measured, those of one detail, family and
// protocol together: when a run is cut short, all places have been looked at
// with some packets rather than some places with all. What was measured in
// fewer goes comes before what was in more.
func (m *measurement) parts() [][]matrix.Cell {
	var keys []string
	parts := map[string][]matrix.Cell{}
	for _, b := range matrix.Blocks() {
		if !m.wants(b) {
			continue
		}
		// ipv4 with udp and ipv6 with tcp before the others
		key := fmt.Sprintf("%06d", m.result.Goes(b)) + fmt.Sprint((b.Family == "ipv4") != (b.Protocol == "udp"), b.Family, b.Protocol, b.Detail)
		if parts[key] == nil {
			keys = append(keys, key)
		}
		for _, delay := range matrix.Delays() {
			parts[key] = append(parts[key], matrix.Cell{Block: b, Delay: delay})
		}
	}
	slices.Sort(keys)
	var all [][]matrix.Cell
	for _, key := range keys {
		all = append(all, parts[key])
	}
	return all
}

// keep stores a block that has been measured; it tells whether to go on.
func (m *measurement) keep(o outcome, failed error) (more bool, err error) {
	if failed != nil { // what is missing at the end is told
		fmt.Fprintf(m.progress, "not measured: %v\n", failed)
		return !m.over(), nil
	}
	m.result.Take(o.rows(), m.now)
	fmt.Fprintf(m.progress, "%v, %d missing\n", o.block, m.result.Missing())
	for _, what := range o.wrong() {
		fmt.Fprintln(m.progress, "  "+what)
	}
	return !m.over(), m.store()
}

// store replaces the file, whole or not at all.
func (m *measurement) store() error {
	if err := os.MkdirAll(filepath.Dir(m.options.file), 0o755); err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(m.options.file), ".accuracy-*")
	if err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	err = errors.Join(m.result.Write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), m.options.file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("store the result: %w", err), os.Remove(f.Name()))
	}
	return nil
}

func (m *measurement) verdict(out io.Writer) error {
	wrong, cells := m.result.Wrong()
	for _, f := range m.result.Flat {
		if !f.Right() {
			fmt.Fprintf(out, "%s with more %s null stamps varies by %.1f ns, may by %.1f\n", f.Hop, f.Type, f.Varies(), f.Allowed())
		}
	}
	fmt.Fprintf(out, "%d cells, %d not right, %d of %d hops not flat, %d of %d blocks missing\n",
		cells, wrong, m.result.WrongFlat(), len(m.result.Flat), m.result.Missing(), len(matrix.Blocks()))
	switch {
	case wrong > 0 || m.result.WrongFlat() > 0:
		return errNotRight
	case m.result.Missing() > 0 && m.options.limit == 0 && !m.options.onlyFlat:
		return errMissing
	}
	return nil
}
