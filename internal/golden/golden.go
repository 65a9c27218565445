// SPDX-License-Identifier: Apache-2.0

// Package golden ties what code makes to files that are committed: tests
// compare them, and write them anew with -update, to be looked at.
package golden

import (
	"flag"
	"fmt"
	"os"

	"github.com/google/go-cmp/cmp"
)

// T is what a test reports to; *testing.T is one.
type T interface {
	Helper()
	Error(args ...any)
	Fatal(args ...any)
}

// Update declares a test binary's flag -update; what tells what it writes.
func Update(what string) *bool { return flag.Bool("update", false, "write "+what+" anew") }

// Compare fails the test where the file does not say what was got. With update
// it writes the file first.
func Compare(t T, update bool, file, got string) {
	t.Helper()
	if update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(fmt.Errorf("write the golden file: %w", err))
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(fmt.Errorf("read the golden file (-update writes it): %w", err))
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(fmt.Sprintf("-%s +now (-update writes it, to be looked at):\n%s", file, diff))
	}
}
