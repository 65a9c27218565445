// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v2"
)

// What the compose file starts vethtrace with is accepted: a command, its flags and their values.
func TestComposeCommandIsAccepted(t *testing.T) {
	text, err := os.ReadFile("../../deploy/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct{ Command []string }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	accept := func(args []string) error {
		cmd, rest, err := newRoot(streams{}).Find(args)
		if err != nil {
			return err
		}
		if cmd.Name() != "export" {
			return usagef("%s is started, Prometheus wants export", cmd.Name())
		}
		if err := cmd.ParseFlags(rest); err != nil {
			return err
		}
		o := newExportOptions()
		cmd = newExport(streams{})
		cmd.ResetFlags()
		o.register(cmd)
		if err := cmd.ParseFlags(rest); err != nil {
			return err
		}
		return o.check(cmd, cmd.Flags().Args())
	}
	args := file.Services["vethtrace"].Command
	if err := accept(args); err != nil {
		t.Errorf("vethtrace %v: %v", args, err)
	}
	for _, wrong := range []string{"--no-such-flag", "--detail=x", "stray"} {
		if err := accept(slices.Concat(args, []string{wrong})); err == nil {
			t.Errorf("%s is accepted too", wrong)
		}
	}
}
