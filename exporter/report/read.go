// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// reading is a result with its traces decoded, by load.
type reading struct {
	result.Document
	sections     []*section
	environments []surroundings
}

// surroundings are an environment and whose it is.
type surroundings struct {
	name string // "" of the whole run
	env  *environment.Environment
}

// section is all of one load; a document of kind compare has one, without.
type section struct {
	id          string // of its place on the page
	load        *result.Load
	sides       []*side
	comparisons []*comparison
}

// title is the load's.
func (s *section) title() string {
	if s.load == nil {
		return ""
	}
	return s.load.Title
}

// side is a way under a load, or one of two targets.
type side struct {
	name, title string
	at          string // where its trace stands in the document, as a JSON pointer
	cellAt      string // where its cell stands, "" of a target
	cell        *result.Cell
	snapshot    tracer.Snapshot
	target      *tracer.Target  // nil where none was traced
	paths       [2]*tracer.Path // that are compared, by direction; nil for none
	pathAt      [2]string
	layers      map[hopKey]string
	raw         bool
}

// heading is the title where it begins something: a name is written as it is.
func (s *side) heading() string {
	if s.cell == nil {
		return s.title
	}
	return upper(s.title)
}

// hopKey finds a hop's layer.
type hopKey struct{ direction, hop string }

// layer is that of a hop, as the comparisons have it.
func (s *side) layer(direction tracer.Direction, hop string) string {
	return cmp.Or(s.layers[hopKey{direction.String(), hop}], hop)
}

// summary is a latency's figures, as the comparison counts them, and the key that has them.
func (s *side) summary(l tracer.Latency) (sum tracer.Summary, key string) {
	if s.raw {
		return l.Raw(), "raw"
	}
	return l.Corrected(), "corrected"
}

// comparison is one of the document, with its sides.
type comparison struct {
	result.Comparison
	at          string
	of, against *side
}

// base is what the client waits by the way that is compared with, in the rounds
// that its difference is made of, and where that stands; an older version wrote
// that of all rounds alone.
func (c *comparison) base() (ns float64, at string) {
	if b := c.Explained.Base; b != nil {
		return b.Ns, c.at + "/explained/base"
	}
	return c.against.cell.Untraced.Latency.MeanNs, c.against.cellAt + "/untraced/latency/mean_ns"
}

// reader collects what a document has.
type reader struct {
	decode func([]byte) (tracer.Snapshot, error)
	out    *reading
	sides  map[[2]string]*side // by load and name
}

func read(d result.Document, o Options) (*reading, error) {
	r := &reader{decode: o.Decode, out: &reading{Document: d}, sides: map[[2]string]*side{}}
	if d.Environment != nil {
		r.out.environments = append(r.out.environments, surroundings{env: d.Environment})
	}
	read := r.bench
	if d.Bench == nil {
		read = r.compared
	}
	if err := read(d); err != nil {
		return nil, err
	}
	for _, s := range r.out.sections {
		for _, c := range s.comparisons {
			c.of.learn(c.Rows, c.Raw, func(r result.Row) *result.Figures { return r.Of })
			c.against.learn(c.Rows, c.Raw, func(r result.Row) *result.Figures { return r.Against })
		}
	}
	return r.out, nil
}

// learn takes the layers of a side's hops from rows.
func (s *side) learn(rows []result.Row, raw bool, figures func(result.Row) *result.Figures) {
	s.raw = raw
	for _, r := range rows {
		if key := (hopKey{r.Direction, r.Hop}); figures(r) != nil && s.layers[key] == "" {
			s.layers[key] = r.Layer
		}
	}
}

func (r *reader) bench(d result.Document) error {
	for i := range d.Bench.Loads {
		load := &d.Bench.Loads[i]
		s := &section{id: fmt.Sprintf("load-%d", i), load: load}
		for k := range d.Bench.Cells {
			cell := &d.Bench.Cells[k]
			if cell.Load != load.Name {
				continue
			}
			at := fmt.Sprintf("/bench/cells/%d", k)
			one, err := r.side(cell.Trace, at+"/trace", cell.Ingress, cell.Egress)
			if err != nil {
				return err
			}
			one.cell, one.cellAt, one.name, one.title = cell, at, cell.Way, cell.Way
			if w := slices.IndexFunc(d.Bench.Ways, func(w result.Way) bool { return w.Name == cell.Way }); w >= 0 {
				one.title = cmp.Or(d.Bench.Ways[w].Title, cell.Way)
			}
			s.sides = append(s.sides, one)
			r.sides[[2]string{load.Name, cell.Way}] = one
		}
		r.out.sections = append(r.out.sections, s)
	}
	for i, c := range d.Comparisons {
		at := slices.IndexFunc(d.Bench.Loads, func(l result.Load) bool { return l.Name == c.Load })
		if at < 0 {
			return fmt.Errorf("read result: comparisons[%d]: no load %q", i, c.Load)
		}
		of, against := r.sides[[2]string{c.Load, c.Of}], r.sides[[2]string{c.Load, c.Against}]
		if of == nil || against == nil {
			return fmt.Errorf("read result: comparisons[%d]: no way %q or %q under load %q", i, c.Of, c.Against, c.Load)
		}
		s := r.out.sections[at]
		s.comparisons = append(s.comparisons, &comparison{c, fmt.Sprintf("/comparisons/%d", i), of, against})
	}
	return nil
}

func (r *reader) compared(d result.Document) error {
	s := &section{id: "result"}
	for i, given := range d.Sides {
		one, err := r.side(given.Trace, fmt.Sprintf("/sides/%d/trace", i), given.Ingress, given.Egress)
		if err != nil {
			return err
		}
		one.name, one.title = given.Name, given.Name
		s.sides = append(s.sides, one)
		if given.Environment != nil {
			r.out.environments = append(r.out.environments, surroundings{given.Name, given.Environment})
		}
	}
	if len(s.sides) != 2 || len(d.Comparisons) != 1 {
		return fmt.Errorf("read result: %d sides and %d comparisons, want 2 and 1", len(s.sides), len(d.Comparisons))
	}
	// The difference is of the first against the second target, and of the second
	// against the first document; both documents may have one name.
	c := d.Comparisons[0]
	of, against := s.sides[0], s.sides[1]
	if d.Sides[0].File != "" {
		of, against = against, of
	}
	s.comparisons = []*comparison{{c, "/comparisons/0", of, against}}
	r.out.sections = []*section{s}
	return nil
}

// side decodes a trace. One without targets is a way that no packet was seen on.
func (r *reader) side(trace json.RawMessage, at, ingress, egress string) (*side, error) {
	s := &side{at: at, layers: map[hopKey]string{}}
	var err error
	if s.snapshot, err = r.decode(trace); err != nil {
		return nil, fmt.Errorf("read result: %s: %w", at, err)
	}
	if len(s.snapshot.Targets) == 0 {
		return s, nil
	}
	s.target = &s.snapshot.Targets[0]
	for i := range s.target.Paths {
		p := &s.target.Paths[i]
		if p.ID == ingress && p.Direction == tracer.Ingress || p.ID == egress && p.Direction == tracer.Egress {
			s.paths[p.Direction] = p
			s.pathAt[p.Direction] = fmt.Sprintf("%s/targets/0/paths/%d", at, i)
		}
	}
	return s, nil
}
