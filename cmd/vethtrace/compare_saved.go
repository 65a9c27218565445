// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// saved compares two documents: the second against the first.
func (o *compareOptions) saved(s streams, files []string) error {
	var sides [2]side
	for i, file := range files {
		var err error
		if sides[i], err = o.read(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	sides[0].name, sides[1].name = shortNames(files[0], files[1])
	before, after := sides[0], sides[1]
	d, err := o.compare(after, before, sides, false)
	if err != nil {
		return err
	}
	d.Differences, d.Caution, err = compare.Circumstanced(after.circumstances(), before.circumstances())
	if err != nil {
		return err
	}
	d.Start, d.DurationS = after.snapshot.Start.UTC().Format(time.RFC3339Nano), after.snapshot.Duration.Seconds()
	d.Answer = d.Comparisons[0].Verdict
	if d.Caution != "" {
		d.Answer += "; " + d.Caution
	}
	return o.write(s.out, s, d)
}

// shortNames leaves out the directories that two paths begin with alike: columns and
// sentences have room for what tells the two apart.
func shortNames(a, b string) (string, string) {
	common := 0
	for i := 0; i < min(len(a), len(b)) && a[i] == b[i]; i++ {
		if a[i] == '/' {
			common = i + 1
		}
	}
	return a[common:], b[common:]
}

func (s side) circumstances() compare.Circumstances {
	return compare.Circumstances{Name: s.name, Start: s.snapshot.Start, Duration: s.snapshot.Duration, Environment: s.snapshot.Environment}
}

// read reads one document and finds its target.
func (o *compareOptions) read(file string) (side, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return side{}, errors.New("no such file")
	}
	if err != nil {
		return side{}, err
	}
	all, err := choices(data)
	if err != nil {
		return side{}, err
	}
	if o.target == "" && len(all) == 1 {
		return all[0].side(file)
	}
	var names []string
	for _, c := range all {
		if c.name == o.target {
			return c.side(file)
		}
		names = append(names, c.name)
	}
	if o.target != "" {
		return side{}, usagef("has no target %s: it has %s", o.target, strings.Join(names, ", "))
	}
	return side{}, usagef("has several targets: say which by --target: %s", strings.Join(names, ", "))
}

// choice is a target of a document, by the name that --target gives it.
type choice struct {
	name   string
	traced func() (tracer.Snapshot, error)
}

func (c choice) side(file string) (side, error) {
	s, err := c.traced()
	if err != nil {
		return side{}, err
	}
	name := c.name
	if !slices.ContainsFunc(s.Targets, func(t tracer.Target) bool { return t.Name == name }) && len(s.Targets) == 1 {
		name = s.Targets[0].Name // a result's choices have names of their own
	}
	t, ok := busiestTarget(s.Targets, name)
	if !ok {
		return side{}, fmt.Errorf("what was traced of %s has no target", c.name)
	}
	return side{name: file, file: file, snapshot: alone(s, t), target: t}, nil
}

// choices are the targets of a trace, the sides of a comparison, or the cells of
// a bench.
func choices(data []byte) ([]choice, error) {
	var head struct {
		Kind string `json:"kind"`
	}
	if err := stdjson.Unmarshal(data, &head); err != nil || head.Kind == "" {
		return tracedTargets(data)
	}
	d, err := result.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var all []choice
	for _, s := range d.Sides {
		e := s.Environment
		if e == nil {
			e = d.Environment
		}
		all = append(all, embedded(s.Name, s.Trace, e))
	}
	if d.Bench != nil {
		for _, c := range d.Bench.Cells {
			all = append(all, embedded(c.Way+"/"+c.Load, c.Trace, d.Environment))
		}
	}
	if len(all) == 0 {
		return nil, errors.New("has nothing that was traced")
	}
	return all, nil
}

func tracedTargets(data []byte) ([]choice, error) {
	s, err := json.DecodeLine(data)
	var version *json.VersionError
	if errors.As(err, &version) {
		return nil, err
	}
	if err != nil {
		return nil, usagef("want a document of vethtrace -o json: %v", err)
	}
	var all []choice
	for _, t := range s.Targets {
		all = append(all, choice{t.Name, func() (tracer.Snapshot, error) { return s, nil }})
	}
	return all, nil
}

// embedded is what a result has of a target; its environment is kept beside it.
func embedded(name string, trace stdjson.RawMessage, e *environment.Environment) choice {
	return choice{name, func() (tracer.Snapshot, error) {
		s, err := json.DecodeLine(trace)
		if err != nil {
			return tracer.Snapshot{}, err
		}
		if s.Environment == nil {
			s.Environment = e
		}
		return s, nil
	}}
}
