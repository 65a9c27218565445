package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/internal/golden"
	"github.com/vethtrace/vethtrace/tracer"
)

const schemaFile = "../../docs/schema.json"

var update = golden.Update("the golden files")

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func encoded(t *testing.T, s tracer.Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := EncodeLine(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// small is a snapshot whose document fits on a page: the example of the docs.
func small() tracer.Snapshot {
	s := sample.Snapshot()
	nginx := s.Targets[0]
	nginx.Paths = nginx.Paths[:1]
	nginx.Paths[0].Hops = nginx.Paths[0].Hops[:1]
	nginx.Paths[0].Hops[0].Latency.Rounds = nginx.Paths[0].Hops[0].Latency.Rounds[:1]
	nginx.Waiting = tracer.Waiting{}
	s.Targets = []tracer.Target{nginx}
	s.Hooks = []tracer.Attachment{
		{Hook: "port/egress", Provider: tracer.ProviderClsact, Links: 1},
		{Hook: "target/input/last", Provider: tracer.ProviderTrampoline, Links: 1},
	}
	s.Missing = []tracer.Missing{{
		Hook: "host/forward/null", Borders: "two programs, right behind FORWARD's first border",
		Why: "netfilter: load program: invalid argument",
	}}
	s.Journeys = s.Journeys[1:]
	return s
}

func TestDocumentsFollowTheSchema(t *testing.T) {
	sch := schema(t)
	for name, s := range map[string]tracer.Snapshot{
		"sample":   sample.Snapshot(),
		"small":    small(),
		"interval": sample.Snapshot().Since(small()),
		"empty":    {Detail: tracer.DetailDevices},
	} {
		if err := validate(t, sch, encoded(t, s)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaRefuses shows that the schema constrains what it describes.
func TestSchemaRefuses(t *testing.T) {
	sch := schema(t)
	for name, change := range map[string]func(map[string]any){
		"another schema":      func(d map[string]any) { d["schema"] = 2 },
		"unknown key":         func(d map[string]any) { d["extra"] = 1 },
		"missing key":         func(d map[string]any) { delete(d, "observer") },
		"unknown detail":      func(d map[string]any) { d["detail"] = "all" },
		"start without zone":  func(d map[string]any) { d["start"] = "yesterday" },
		"unknown key deep":    func(d map[string]any) { at(d, "targets", 0, "paths", 0, "hops", 0)["x"] = 1 },
		"unknown direction":   func(d map[string]any) { at(d, "targets", 0, "paths", 0)["direction"] = "in" },
		"unknown peer":        func(d map[string]any) { at(d, "targets", 0, "paths", 0)["peer"] = "container:" },
		"negative count":      func(d map[string]any) { at(d, "targets", 0, "accounting", "egress")["cut"] = -1 },
		"quantile of words":   func(d map[string]any) { at(d, "targets", 0, "paths", 0, "latency", "raw")["p50_ns"] = "5" },
		"bucket of three":     func(d map[string]any) { at(d, "targets", 0, "paths", 0, "latency")["buckets"] = [][]int{{1, 2, 3}} },
		"empty bucket listed": func(d map[string]any) { at(d, "targets", 0, "paths", 0, "latency")["buckets"] = [][]int{{1, 0}} },
	} {
		var d map[string]any
		if err := json.Unmarshal(encoded(t, small()), &d); err != nil {
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

// at walks into a document.
func at(d any, way ...any) map[string]any {
	for _, step := range way {
		switch key := step.(type) {
		case string:
			d = d.(map[string]any)[key]
		case int:
			d = d.([]any)[key]
		}
	}
	return d.(map[string]any)
}

// TestSchemaDescribesEveryKey walks the schema itself.
func TestSchemaDescribesEveryKey(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	keys := 0
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(where, e)
			}
		case map[string]any:
			if v["type"] == "object" && v["additionalProperties"] == nil {
				t.Errorf("%s: additionalProperties is open", where)
			}
			if props, ok := v["properties"].(map[string]any); ok {
				if req, _ := v["required"].([]any); len(req) != len(props) {
					t.Errorf("%s: %d of %d keys are required", where, len(req), len(props))
				}
				for name, p := range props {
					keys++
					m := p.(map[string]any)
					if m["description"] == nil && m["$ref"] == nil {
						t.Errorf("%s.%s has no description", where, name)
					}
				}
			}
			for k, e := range v {
				walk(where+"."+k, e)
			}
		}
	}
	walk("", root)
	if keys < 90 {
		t.Errorf("walked over %d keys only", keys)
	}
}

func TestDecodeUndoesEncode(t *testing.T) {
	for name, s := range map[string]tracer.Snapshot{
		"sample":   sample.Snapshot(),
		"small":    small(),
		"interval": sample.Snapshot().Since(small()),
	} {
		for _, indent := range []bool{false, true} {
			var b bytes.Buffer
			if err := Encode(&b, s, Options{Indent: indent}); err != nil {
				t.Fatal(err)
			}
			got, err := Decode(&b)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(encoded(t, got), encoded(t, s)) {
				t.Errorf("%s: the document changed on its way", name)
			}
			for i := range s.Targets {
				if !reflect.DeepEqual(got.Targets[i].Paths, s.Targets[i].Paths) {
					t.Errorf("%s: paths of %s changed on their way", name, s.Targets[i].Name)
				}
			}
		}
	}
	want := sample.Snapshot()
	want.Final = false // a document does not tell
	if got, err := DecodeLine(encoded(t, sample.Snapshot())); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the snapshot changed on its way (%v)", err)
	}
}

func TestRawSumIsExact(t *testing.T) {
	s := small()
	h := &s.Targets[0].Paths[0].Latency.Hist
	h.Sum = 1<<63 + 1 // no float64 holds it
	got, err := DecodeLine(encoded(t, s))
	if err != nil || got.Targets[0].Paths[0].Latency.Hist.Sum != h.Sum {
		t.Errorf("sum %d, want %d (%v)", got.Targets[0].Paths[0].Latency.Hist.Sum, h.Sum, err)
	}
}

func TestLinesAreLines(t *testing.T) {
	s := sample.Snapshot()
	s.Targets[0].Name = "a\nb<c>\u2028"
	data := encoded(t, s)
	if n := bytes.Count(data, []byte("\n")); n != 1 || data[len(data)-1] != '\n' {
		t.Errorf("%d line ends", n)
	}
	got, err := DecodeLine(data)
	if err != nil || got.Targets[0].Name != s.Targets[0].Name {
		t.Errorf("name %q (%v)", got.Targets[0].Name, err)
	}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	good := string(encoded(t, small()))
	for _, c := range []struct{ name, doc, want string }{
		{"empty", " \n", "it is empty"},
		{"not json", "{\n\n  nope}", "line 3"},
		{"cut off", good[:len(good)/2], "unexpected end"},
		{"two documents", good + good, "after top-level value"},
		{"unknown key", strings.Replace(good, `"kernel"`, `"colonel"`, 1), `unknown field "colonel"`},
		{"wrong type", strings.Replace(good, `"pid":1465`, `"pid":"1465"`, 1), "targets.pid"},
		{"detail", strings.Replace(good, `"detail":"hooks"`, `"detail":"most"`, 1), `"most" is not devices, hooks, tables or functions`},
		{"start", strings.Replace(good, `"start":"2026`, `"start":"x`, 1), "start:"},
		{"duration", strings.Replace(good, `"duration_s":2`, `"duration_s":-2`, 1), "-2 s is no duration"},
		{"direction", strings.Replace(good, `"direction":"ingress"`, `"direction":"in"`, 1), `targets[0]: paths[0]: direction: "in"`},
		{"side", strings.Replace(good, `"side":"host"`, `"side":"left"`, 1), `paths[0]: hops[0]: side: "left"`},
		{"address", strings.Replace(good, `172.17.0.2`, `172.17.0`, 1), "interfaces[0]: addrs[0]"},
		{"count", strings.Replace(good, `"count":42,"corrected"`, `"count":41,"corrected"`, 1), "count is 41, the buckets have 42"},
		{"bucket", strings.Replace(good, `"buckets":[[`, `"buckets":[[33,1],[`, 1), "no bucket starts at 33 ns"},
		{"order", strings.Replace(good, `"buckets":[[`, `"buckets":[[1073741824,1],[`, 1), "comes after 1073741824 ns"},
	} {
		_, err := Decode(strings.NewReader(c.doc))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
}

func TestDecodeOfAnotherVersion(t *testing.T) {
	for doc, want := range map[string]int{`{"schema":7,"new":{}}`: 7, `{}`: 0} {
		_, err := Decode(strings.NewReader(doc))
		var v *VersionError
		if !errors.As(err, &v) || v.Schema != want {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, errors.New("no disk") }
func (broken) Write([]byte) (int, error) { return 0, errors.New("no disk") }

func TestErrorsOfTheDisk(t *testing.T) {
	if _, err := Decode(broken{}); err == nil || !strings.Contains(err.Error(), "read json document: no disk") {
		t.Error(err)
	}
	if err := EncodeLine(broken{}, small()); err == nil || !strings.Contains(err.Error(), "write json document: no disk") {
		t.Error(err)
	}
}

func TestGoldenDocument(t *testing.T) {
	var b bytes.Buffer
	if err := Encode(&b, small(), Options{Indent: true}); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/document.json"
	golden.Compare(t, *update, file, b.String())
}

// A document of a version that wrote no environment, no reason of a recorded drop and no rules, and had no
// budgets, is read as it was.
func TestDocumentsOfOlderVersions(t *testing.T) {
	data, err := os.ReadFile("testdata/document-without-environment.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeLine(data)
	if err != nil {
		t.Fatal(err)
	}
	want := small()
	want.Environment, want.Hooks, want.Missing = nil, nil, nil
	want.Observer.Budget, want.Observer.SelfCheck, want.Observer.Observed = nil, nil, want.Duration
	want.Observer.Recorded = 0
	for i := range want.Targets {
		want.Targets[i].Totals = nil
		for j := range want.Targets[i].Drops {
			want.Targets[i].Drops[j].Rules = nil
		}
	}
	for i := range want.Journeys {
		want.Journeys[i].Reason = ""
	}
	if !bytes.Equal(encoded(t, got), encoded(t, want)) {
		t.Error("it is read as something else")
	}
}

func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	if err := EncodeLine(&b, small()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":1,"detail":"hooks","start":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeLine(data)
		if err != nil {
			return
		}
		first := encoded(t, s)
		again, err := DecodeLine(first)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if second := encoded(t, again); !bytes.Equal(first, second) {
			t.Fatalf("the document changes on its way:\n%s\n%s", first, second)
		}
	})
}
