// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"testing"

	"github.com/vethtrace/vethtrace/internal/docschema"
	"github.com/vethtrace/vethtrace/internal/golden"
)

const schemaFile = "../../docs/doctor-schema.json"

var update = golden.Update("the schema")

// The contract in docs/ is what the structs say.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := docschema.Make(Document{}, docschema.Head{
		ID: "https://github.com/vethtrace/vethtrace/docs/doctor-schema.json", Title: "vethtrace doctor",
		Description: "Whether vethtrace works on a machine, and what to do where it does not: the document of vethtrace doctor -o json. Generated from the structs of internal/doctor.",
	})
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, *update, schemaFile, string(want))
}
