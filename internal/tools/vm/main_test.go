// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/vm"
)

// What cannot be run as asked is told before anything is built.
func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"-kernels 2.4":                  `kernel "2.4" is not in the list`,
		"-kernels 6.12,2.4":             `kernel "2.4" is not in the list`,
		"-tests tracer":                 `-tests "tracer": want a group`,
		"-tests tracer:":                `-tests "tracer:": want a group`,
		"-record -tests hops":           "-record with -tests",
		"6.12":                          `unexpected argument "6.12"`,
		"-nonsense":                     "flag provided but not defined",
		"-docs x -results /nonexistent": "nothing is recorded",
	} {
		var out bytes.Buffer
		if err := run(t.Context(), strings.Fields(args), &out, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// Tests are named by a group of the list, or by package.
func TestGroups(t *testing.T) {
	named, err := groups(vm.Groups()[1].Name)
	if err != nil || len(named) != 1 || named[0].Name != vm.Groups()[1].Name || len(named[0].Tests) != len(vm.Groups()[1].Tests) {
		t.Errorf("%+v, %v", named, err)
	}
	asked, err := groups("./tracer:TestA,TestB")
	if err != nil || len(asked) != 1 || asked[0].Package != "tracer" || strings.Join(asked[0].Tests, " ") != "TestA TestB" {
		t.Errorf("%+v, %v", asked, err)
	}
}

// Without a name all kernels are run; names keep their order.
func TestChosen(t *testing.T) {
	all, err := chosen("")
	if err != nil || len(all) != len(vm.Kernels()) {
		t.Errorf("%d kernels, %v", len(all), err)
	}
	some, err := chosen(all[1].Name + "," + all[0].Name)
	if err != nil || len(some) != 2 || some[0].Name != all[1].Name || some[1].Name != all[0].Name {
		t.Errorf("%+v, %v", some, err)
	}
}
