// SPDX-License-Identifier: Apache-2.0

package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// told is a test that notes what it is told.
type told struct{ words []string }

func (f *told) Helper()           {}
func (f *told) Error(args ...any) { f.words = append(f.words, fmt.Sprint(args...)) }
func (f *told) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func TestCompare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table.txt")
	fatal := func(update bool, file string) (words string) {
		defer func() { words = fmt.Sprint(recover()) }()
		Compare(&told{}, update, file, "a\n")
		return ""
	}
	if words := fatal(false, file); !strings.Contains(words, "read the golden file") || !strings.Contains(words, "-update") {
		t.Errorf("there is no file: %s", words)
	}
	if words := fatal(true, filepath.Join(file, "x")); !strings.Contains(words, "write the golden file") {
		t.Errorf("it can't be written: %s", words)
	}
	same, other := &told{}, &told{}
	Compare(same, true, file, "first\nsecond\n")
	Compare(same, false, file, "first\nsecond\n")
	if data, err := os.ReadFile(file); err != nil || string(data) != "first\nsecond\n" || len(same.words) > 0 {
		t.Errorf("written as %q, %v; told %v", data, err, same.words)
	}
	Compare(other, false, file, "first\nthird\n")
	if len(other.words) != 1 || !strings.Contains(other.words[0], "second") || !strings.Contains(other.words[0], "third") || !strings.Contains(other.words[0], file) {
		t.Errorf("they differ, but told is %q", other.words)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "first\nsecond\n" {
		t.Errorf("a comparison wrote %q, %v", data, err)
	}
}
