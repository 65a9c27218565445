package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The committed page is what the definitions say.
func TestPageIsCurrent(t *testing.T) {
	var page bytes.Buffer
	if err := run(nil, &page); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page.Bytes(), want) {
		t.Error(`docs/metrics.md is not what exporter/prom says: run "make docs"`)
	}
	if !strings.Contains(page.String(), "| `vethtrace_hop_latency_seconds` | histogram | `container`, `direction`, `side`, `hop` |") {
		t.Error("no row of hops")
	}
	file := filepath.Join(t.TempDir(), "page.md")
	if err := run([]string{file}, nil); err != nil {
		t.Error(err)
	}
	if err := run([]string{filepath.Join(file, "no")}, nil); err == nil {
		t.Error("a file that cannot be written is no error")
	}
}
