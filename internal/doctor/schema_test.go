// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/vethtrace/vethtrace/internal/docschema"
)

const schemaFile = "../../docs/doctor-schema.json"

var update = flag.Bool("update", false, "write the schema")

// The contract in docs/ is what the structs say.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := docschema.Make(Document{}, docschema.Head{
		ID: "https://github.com/vethtrace/vethtrace/docs/doctor-schema.json", Title: "vethtrace doctor",
		Description: "Whether vethtrace works on a machine, and what to do where it does not: the document of vethtrace doctor -o json. Generated from the structs of internal/doctor.",
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
		t.Error("docs/doctor-schema.json is not what the structs say: go test ./internal/doctor -update")
	}
}
