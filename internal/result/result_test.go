// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/internal/docschema"
	"github.com/vethtrace/vethtrace/internal/golden"
)

const schemaFile = "../../docs/result-schema.json"

var update = golden.Update("the schema and the golden files")

func made(t *testing.T) []byte {
	t.Helper()
	data, err := docschema.Make(Document{}, docschema.Head{
		ID: "https://github.com/vethtrace/vethtrace/docs/result-schema.json", Title: "vethtrace result",
		Description: "What vethtrace compare and vethtrace bench found: one document. Times are nanoseconds (_ns) or seconds (_s). Generated from the structs of internal/result.",
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The contract in docs/ is what the structs say.
func TestSchemaIsCurrent(t *testing.T) {
	want := made(t)
	golden.Compare(t, *update, schemaFile, string(want))
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	// references are resolved against the schemas' ids
	for _, file := range []string{schemaFile, "../../docs/schema.json"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		id := doc.(map[string]any)["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://github.com/vethtrace/vethtrace/docs/result-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func encoded(t *testing.T, d Document) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encode(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saved are results that were written by this and by older versions.
func saved(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile("testdata/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = data
	}
	if len(files) == 0 {
		t.Fatal("no saved results in testdata")
	}
	return files
}

// Every saved result is read, follows the schema, and comes out as it went in.
func TestSavedResultsStayReadable(t *testing.T) {
	sch := schema(t)
	for name, data := range saved(t) {
		d, err := Decode(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again := encoded(t, d)
		if err := validate(t, sch, again); err != nil {
			t.Errorf("%s, written again: %v", name, err)
		}
		d2, err := Decode(bytes.NewReader(again))
		if err != nil {
			t.Errorf("%s, written again: %v", name, err)
		}
		if !bytes.Equal(encoded(t, d2), again) {
			t.Errorf("%s changes when it is read and written again", name)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	sch := schema(t)
	base := encoded(t, Document{Kind: KindCompare, Start: "2026-11-25T00:00:00Z", Comparisons: []Comparison{{}}})
	if err := validate(t, sch, base); err != nil {
		t.Fatalf("an empty document: %v", err)
	}
	for name, change := range map[string]func(map[string]any){
		"another schema": func(d map[string]any) { d["schema"] = 2 },
		"unknown kind":   func(d map[string]any) { d["kind"] = "trace" },
		"unknown key":    func(d map[string]any) { d["extra"] = 1 },
		"missing key":    func(d map[string]any) { delete(d, "answer") },
		"no date":        func(d map[string]any) { d["start"] = "yesterday" },
		"share of words": func(d map[string]any) {
			d["comparisons"].([]any)[0].(map[string]any)["explained_share"] = "all"
		},
	} {
		var d map[string]any
		if err := json.Unmarshal(base, &d); err != nil {
			t.Fatal(err)
		}
		change(d)
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if validate(t, sch, data) == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, text := range []string{`{"schema":99,"kind":"bench"}`, `{"kind":"bench"}`} {
		var version *VersionError
		if _, err := Decode(strings.NewReader(text)); !errors.As(err, &version) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Decode(strings.NewReader(`{"schema":1,"kind":"bench"}`)); err == nil || !strings.Contains(err.Error(), "is of a bench, and has none") {
		t.Errorf("a bench without one: %v", err)
	}
	if _, err := Decode(strings.NewReader(`{"schema":1}`)); !errors.Is(err, ErrKind) {
		t.Errorf("no kind: %v", err)
	}
	for _, text := range []string{"", "{", `{"schema":1,"kind":"bench","extra":1}`, `[]`} {
		if _, err := Decode(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
