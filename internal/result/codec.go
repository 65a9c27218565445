// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	document "github.com/vethtrace/vethtrace/exporter/json"
)

// VersionError is returned by Decode for a document of a schema that this
// version does not read.
type VersionError struct {
	Schema int // of the document, 0 when it does not say
}

// Error says what can be done.
func (e *VersionError) Error() string {
	if e.Schema == 0 {
		return "not a vethtrace result: it has no key schema"
	}
	return fmt.Sprintf("result has schema %d, this vethtrace reads up to %d: use a newer version", e.Schema, Schema)
}

// ErrKind is returned by Decode for a document of another kind, such as that of
// vethtrace -o json.
var ErrKind = errors.New("not the result of vethtrace compare or vethtrace bench")

// Encode writes the document on one line that ends with a line end.
func Encode(w io.Writer, d Document) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(d.complete()); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// Decode reads one document. An unknown key is an error; a key that an older
// version did not write is empty.
func Decode(r io.Reader) (Document, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return Document{}, fmt.Errorf("read result: %w", err)
	}
	var head struct {
		Schema int    `json:"schema"`
		Kind   string `json:"kind"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Document{}, fmt.Errorf("read result: %w", explain(data, err))
	}
	if head.Schema < 1 || head.Schema > Schema {
		return Document{}, fmt.Errorf("read result: %w", &VersionError{Schema: head.Schema})
	}
	if head.Kind != KindBench && head.Kind != KindCompare {
		return Document{}, fmt.Errorf("read result: %w", ErrKind)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var doc Document
	if err := d.Decode(&doc); err != nil {
		return Document{}, fmt.Errorf("read result: %w", err)
	}
	if doc.Kind == KindBench && doc.Bench == nil {
		return Document{}, errors.New("read result: it says that it is of a bench, and has none")
	}
	if err := doc.renew(); err != nil {
		return Document{}, fmt.Errorf("read result: %w", err)
	}
	return doc, nil
}

// explain says what is wrong in words of the document, not of its Go types.
func explain(data []byte, err error) error {
	var other *json.UnmarshalTypeError
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return errors.New("it is empty")
	case errors.As(err, &other) && other.Field == "":
		return fmt.Errorf("it is a JSON %s, not an object", other.Value)
	}
	return err
}

// renew gives the traces that an older version wrote the keys that have come since.
func (d *Document) renew() error {
	var traces []*json.RawMessage
	for i := range d.Sides {
		traces = append(traces, &d.Sides[i].Trace)
	}
	if d.Bench != nil {
		for i := range d.Bench.Cells {
			traces = append(traces, &d.Bench.Cells[i].Trace)
		}
	}
	for _, raw := range traces {
		trace, err := document.DecodeLine(*raw)
		if err != nil {
			return err
		}
		var now bytes.Buffer
		if err := document.EncodeLine(&now, trace); err != nil {
			return err
		}
		*raw = bytes.TrimSpace(now.Bytes())
	}
	return nil
}

// complete makes lists of what is nil, so that every key has its type.
func (d Document) complete() Document {
	d.Schema = Schema
	d.Differences = list(d.Differences)
	d.Sides = list(d.Sides)
	d.Comparisons = list(d.Comparisons)
	d.Notes = list(d.Notes)
	for i := range d.Comparisons {
		c := &d.Comparisons[i]
		c.Rows, c.Paths, c.Layers = list(c.Rows), list(c.Paths), list(c.Layers)
		if c.Explained != nil {
			c.Explained.Parts = list(c.Explained.Parts)
		}
	}
	if d.Bench == nil {
		return d
	}
	b := *d.Bench
	b.Order, b.Ways, b.Loads, b.Cells, b.LeftOut = list(b.Order), list(b.Ways), list(b.Loads), list(b.Cells), list(b.LeftOut)
	for i := range b.Cells {
		for _, l := range []*Latency{&b.Cells[i].Traced.Latency, &b.Cells[i].Untraced.Latency} {
			l.Buckets, l.Rounds = list(l.Buckets), list(l.Rounds)
		}
	}
	d.Bench = &b
	return d
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
