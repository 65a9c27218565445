// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/docschema"
	"github.com/vethtrace/vethtrace/internal/golden"
)

var update = golden.Update("the definitions into docs/schema.json")

const schemaFile = "../../docs/schema.json"

// docs/schema.json defines an environment as the structs do.
func TestSchemaHasTheEnvironment(t *testing.T) {
	want, err := docschema.Definitions(Environment{})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		write(t, want)
	}
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var have struct {
		Defs map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(data, &have); err != nil {
		t.Fatal(err)
	}
	for _, d := range want {
		var def any
		if err := json.Unmarshal(d.Schema, &def); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(have.Defs[d.Name], def) {
			t.Errorf("docs/schema.json: $defs/%s is not what the struct says: go test ./internal/environment -update", d.Name)
		}
	}
}

// write puts the definitions behind all others, or in the place of older ones.
func write(t *testing.T, defs []docschema.Definition) {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin = "\n    \"environment\": {"
	defsAt := bytes.Index(data, []byte(`"$defs"`))
	if at := bytes.Index(data[defsAt:], []byte(begin)); at >= 0 {
		data = data[:defsAt+at] // they are the last ones
	} else {
		data = append(bytes.TrimSuffix(data, []byte("\n  }\n}\n")), ',')
	}
	var b bytes.Buffer
	b.Write(data)
	for i, d := range defs {
		if i > 0 {
			b.WriteByte(',')
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, d.Schema, "    ", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n    \"" + d.Name + "\": " + indented.String())
	}
	b.WriteString("\n  }\n}\n")
	if !json.Valid(b.Bytes()) {
		t.Fatalf("what would be written is no JSON:\n%s", b.String()[max(0, b.Len()-3000):])
	}
	if err := os.WriteFile(schemaFile, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDifferences(t *testing.T) {
	a := Environment{
		Host: Host{Boot: "x"}, Sysctls: map[string]string{"net.ipv4.ip_forward": "0", "net.core.dev_weight": "64"},
		Devices: []Device{{Name: "eth0", MTU: 1500, Offloads: []string{"gro", "tso"}}, {Name: "veth1234567"}},
	}
	b := Environment{
		Host: Host{Boot: "x"}, Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net.core.busy_poll": "50", "net.core.dev_weight": "64"},
		Devices: []Device{{Name: "eth0", MTU: 1500, Offloads: []string{"tso"}}, {Name: "veth7654321"}},
		Docker:  &Docker{Version: "20.10"}, Unread: []string{"rules: not allowed"},
	}
	got, err := Differences(a, b)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range got {
		lines = append(lines, d.Key+": "+d.A+" "+d.B)
	}
	for _, want := range []string{
		"devices.eth0.offloads: gro tso tso", "sysctls.net.core.busy_poll:  50", "sysctls.net.ipv4.ip_forward: 0 1", "docker.version:  20.10",
	} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("%q is not among\n%s", want, strings.Join(lines, "\n"))
		}
	}
	for _, d := range got {
		if strings.HasPrefix(d.Key, "devices.veth") || strings.HasPrefix(d.Key, "unread") || strings.Contains(d.Key, "dev_weight") {
			t.Errorf("%+v does not tell the two apart", d)
		}
	}
	if got, err := Differences(b, b); err != nil || len(got) > 0 {
		t.Errorf("an environment differs from itself: %v %v", got, err)
	}
}
