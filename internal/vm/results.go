// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/vethtrace/vethtrace/internal/doctor"
)

// Result is what became of a kernel: what docs/kernels.md is made of.
type Result struct {
	Kernel  string `json:"kernel"`  // its name in THE list
	Release string `json:"release"` // that was run
	Verdict string `json:"verdict"` // of doctor
	Hooks   []Hook `json:"hooks"`
	// the providers of functions, in the order of preference
	Functions []doctor.Attempt `json:"functions"`
	Programs  []Program        `json:"programs"`
	Tests     []string         `json:"tests"` // groups that passed
}

// Hook is the provider that a hook gets.
type Hook struct {
	Name     string `json:"hook"`
	Provider string `json:"provider,omitempty"` // "": none
}

// Program is what the verifier had to do for a program.
type Program struct {
	Name         string `json:"program"`
	Instructions int    `json:"instructions,omitempty"` // that it processed, at most
	Error        string `json:"error,omitempty"`        // why the program cannot be loaded
}

// examined takes over what doctor says.
func (r *Result) examined(d doctor.Document) {
	r.Verdict, r.Functions = d.Verdict, d.Functions
	for _, h := range d.Hooks {
		r.Hooks = append(r.Hooks, Hook{Name: h.Hook, Provider: h.Provider})
	}
}

// ReadResults reads what was recorded; nothing where nothing was.
func ReadResults(file string) (results []Result, err error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &results)
	}
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return results, nil
}

// Record puts results into a file, in the place of older ones of the same
// kernels, in the order of the list; those of kernels that are not in the list go.
func Record(file string, results []Result) error {
	recorded, err := ReadResults(file)
	if err != nil {
		return err
	}
	kept := []Result{}
	for _, k := range Kernels() {
		of := func(r Result) bool { return r.Kernel == k.Name }
		if i := slices.IndexFunc(results, of); i >= 0 {
			kept = append(kept, results[i])
		} else if i := slices.IndexFunc(recorded, of); i >= 0 {
			kept = append(kept, recorded[i])
		}
	}
	raw, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("record results: %w", err)
	}
	return nil
}
