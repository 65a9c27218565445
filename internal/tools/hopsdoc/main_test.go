package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/journey"
)

// The committed page is what the tables say.
func TestPageIsCurrent(t *testing.T) {
	var page bytes.Buffer
	if err := run(nil, &page); err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../../docs/hops.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page.Bytes(), committed) {
		t.Error("docs/hops.md is not what the tables say: make docs")
	}
}

func TestPageHasAllRows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hops.md")
	if err := run([]string{file}, nil); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range journey.Definitions() {
		if !strings.Contains(string(page), "| `"+d.Name+"` |") {
			t.Errorf("hop %s is missing", d.Name)
		}
	}
	for _, h := range tracer.Hooks() {
		if !strings.Contains(string(page), "| `"+h.Program+"` |") {
			t.Errorf("hook %s is missing", h.Program)
		}
	}
}

func TestRunReportsWhatItCannotWrite(t *testing.T) {
	if err := run([]string{filepath.Join(t.TempDir(), "no", "such", "folder")}, nil); err == nil {
		t.Error("no error")
	}
}
