// SPDX-License-Identifier: Apache-2.0

package docschema

import (
	"strings"
	"testing"
)

type device struct {
	Name string `json:"name" doc:"of the device"`
}

// Device would be the same definition as device.
type Device struct {
	Index int `json:"index" doc:"of the device"`
}

// Two structs of one name would share a definition, which one of them does not follow.
func TestMakeRefusesTwoOfOneName(t *testing.T) {
	type document struct {
		A device   `json:"a" doc:"one"`
		B []Device `json:"b" doc:"another"`
	}
	_, err := Make(document{}, Head{})
	if err == nil || !strings.Contains(err.Error(), "docschema.device and docschema.Device have one name") {
		t.Errorf("got %v", err)
	}
	type fine struct {
		A device   `json:"a" doc:"one"`
		B []device `json:"b" doc:"the same again"`
	}
	if _, err := Make(fine{}, Head{}); err != nil {
		t.Error(err)
	}
}
