// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/vethtrace/vethtrace/internal/docschema"
)

const schemaFile = "../../docs/topology-schema.json"

var update = flag.Bool("update", false, "write the schema")

// The contract in docs/ is what the structs say.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := docschema.Make(Document{}, docschema.Head{
		ID: "https://github.com/vethtrace/vethtrace/docs/topology-schema.json", Title: "vethtrace topology",
		Description: "How containers are connected, and the way of a packet: the document of vethtrace topology -o json. Generated from the structs of tracer/wiring.",
	})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("docs/topology-schema.json is not what the structs say: go test ./tracer/wiring -update")
	}
}
