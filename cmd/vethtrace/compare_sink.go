// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/exporter/text"
	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// compareSink compares at the end.
type compareSink struct {
	options *compareOptions
	out     io.Writer
	streams streams
	names   [2]string
}

func (*compareSink) updates() bool                                 { return false }
func (*compareSink) live() bool                                    { return false }
func (*compareSink) quit() <-chan struct{}                         { return nil }
func (*compareSink) update(tracer.Snapshot, tracer.Snapshot) error { return nil }
func (*compareSink) end() error                                    { return nil }

func (c *compareSink) final(_, whole tracer.Snapshot) error {
	var sides [2]side
	for i, name := range c.names {
		target, ok := busiestTarget(whole.Targets, name)
		if !ok {
			return fmt.Errorf("target %s is not among what was traced", name)
		}
		sides[i] = side{name: name, snapshot: alone(whole, target), target: target}
	}
	sides[0].snapshot.Environment, sides[1].snapshot.Environment = nil, nil // the document has it
	d, err := c.options.compare(sides[0], sides[1], sides, true)
	if err != nil {
		return err
	}
	d.Environment, d.Start = whole.Environment, whole.Start.UTC().Format(time.RFC3339Nano)
	d.DurationS, d.Notes = whole.Duration.Seconds(), whole.Notes
	d.Caution = ended(whole.Targets, c.names)
	d.Answer = d.Comparisons[0].Verdict
	if d.Caution != "" {
		d.Answer += "; " + d.Caution
	}
	return c.options.write(c.out, c.streams, d)
}

// ended says which targets were not there all the time; "" where both were. The
// other one's packets of that time have nobody beside them.
func ended(targets []tracer.Target, names [2]string) string {
	var parts []string
	for _, name := range names {
		lives, gone := 0, false
		for _, t := range targets {
			if t.Name == name {
				lives, gone = lives+1, gone || t.Gone
			}
		}
		switch {
		case lives > 1:
			parts = append(parts, name+" was started again meanwhile: its figures are of the life with the most packets")
		case gone:
			parts = append(parts, name+" ended meanwhile: what the other one had from then on is in the difference as well")
		}
	}
	return strings.Join(parts, "; ")
}

// busiestTarget is the life of a target that most packets belong to: one that
// was restarted has several.
func busiestTarget(targets []tracer.Target, name string) (best tracer.Target, ok bool) {
	packets := func(t tracer.Target) uint64 { return t.Accounting[0].Completed + t.Accounting[1].Completed }
	for _, t := range targets {
		if t.Name == name && (!ok || packets(t) > packets(best)) {
			best, ok = t, true
		}
	}
	return best, ok
}

// alone is a snapshot with one of its targets.
func alone(s tracer.Snapshot, t tracer.Target) tracer.Snapshot {
	s.Targets = []tracer.Target{t}
	var journeys []tracer.Journey
	for _, j := range s.Journeys {
		if j.Target == t.Name {
			journeys = append(journeys, j)
		}
	}
	s.Journeys = journeys
	return s
}

// side is one of two that are compared.
type side struct {
	name, file string
	snapshot   tracer.Snapshot // with one target
	target     tracer.Target
}

// encode makes the side of the document.
func (s side) encode(paths [2]string) (result.Side, error) {
	var b bytes.Buffer
	if err := json.EncodeLine(&b, s.snapshot); err != nil {
		return result.Side{}, err
	}
	return result.Side{
		Name: s.name, File: s.file, Environment: s.snapshot.Environment, Trace: stdjson.RawMessage(bytes.TrimSpace(b.Bytes())),
		Ingress: paths[tracer.Ingress], Egress: paths[tracer.Egress],
	}, nil
}

// compare makes the document of a comparison; sides are as they were named.
func (o *compareOptions) compare(of, against side, sides [2]side, paired bool) (result.Document, error) {
	c, paths, err := compare.Targets(of.target, against.target, compare.Options{
		Of: of.name, Against: against.name, Raw: o.view.raw, Paired: paired, Seed: o.seed,
	})
	if err != nil {
		return result.Document{}, err
	}
	d := result.Document{
		Schema: result.Schema, Kind: result.KindCompare, Version: versionText(), Comparisons: []result.Comparison{c},
	}
	for _, s := range sides {
		ids := paths[0]
		if s.name != of.name || s.file != of.file {
			ids = paths[1]
		}
		encoded, err := s.encode(ids)
		if err != nil {
			return result.Document{}, err
		}
		d.Sides = append(d.Sides, encoded)
	}
	return d, nil
}

func (o *compareOptions) write(w io.Writer, s streams, d result.Document) error {
	if o.view.output == outputJSON {
		return result.Encode(w, d)
	}
	return text.WriteResult(w, d, text.Options{Color: colored(s.out, o.view.noColor), Width: width(s.out), Raw: o.view.raw})
}
