// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"testing"

	"github.com/vethtrace/vethtrace/internal/docschema"
	"github.com/vethtrace/vethtrace/internal/golden"
)

const schemaFile = "../../docs/topology-schema.json"

var update = golden.Update("the schema")

// The contract in docs/ is what the structs say.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := docschema.Make(Document{}, docschema.Head{
		ID: "https://github.com/vethtrace/vethtrace/docs/topology-schema.json", Title: "vethtrace topology",
		Description: "How containers are connected, and the way of a packet: the document of vethtrace topology -o json. Generated from the structs of tracer/wiring.",
	})
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, *update, schemaFile, string(want))
}
