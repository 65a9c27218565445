// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/bench/stats"
)

func store(result report.Result, stem string) error {
	raw, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(stem), 0o755); err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	for suffix, content := range map[string][]byte{".json": append(raw, '\n'), ".txt": []byte(result.Text())} {
		if err := os.WriteFile(stem+suffix, content, 0o644); err != nil {
			return fmt.Errorf("store the result: %w", err)
		}
	}
	return nil
}

func storeRaw(raw []report.Raw, file string) error {
	encoded, err := json.Marshal(raw)
	if err != nil {
		return fmt.Errorf("encode the windows: %w", err)
	}
	if err := os.WriteFile(file, append(encoded, '\n'), 0o644); err != nil {
		return fmt.Errorf("store the windows: %w", err)
	}
	return nil
}

func stored(file string) (report.Result, error) {
	var result report.Result
	raw, err := os.ReadFile(file)
	if err != nil {
		return result, fmt.Errorf("read the stored result: %w", err)
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return result, fmt.Errorf("read the stored result %s: %w", file, err)
	}
	return result, nil
}

// refill computes the figures of a stored result anew from its windows, where the
// arithmetic has changed since.
func refill(from, windows string, out io.Writer) error {
	result, err := stored(from)
	if err != nil {
		return err
	}
	encoded, err := os.ReadFile(windows)
	if err != nil {
		return fmt.Errorf("read the windows: %w", err)
	}
	var raw []report.Raw
	if err := json.Unmarshal(encoded, &raw); err != nil {
		return fmt.Errorf("read the windows in %s: %w", windows, err)
	}
	if len(raw) != len(result.Rows) {
		return fmt.Errorf("refill: windows of %d rows, the result has %d", len(raw), len(result.Rows))
	}
	pairs := make([][]stats.Pair, len(raw))
	for i, row := range raw {
		if row.Row != result.Rows[i].Name() {
			return fmt.Errorf("refill: windows of %q, the result has %q", row.Row, result.Rows[i].Name())
		}
		pairs[i] = row.Pairs
	}
	conclude(&result, pairs)
	fmt.Fprint(out, result.Text())
	return store(result, strings.TrimSuffix(from, ".json"))
}

func writeDocs(from, to string) error {
	result, err := stored(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, []byte(result.Markdown()), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
