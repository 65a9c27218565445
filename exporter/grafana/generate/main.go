// Command generate writes the dashboards as JSON into a directory.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vethtrace/vethtrace/exporter/grafana"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: generate DIRECTORY")
	}
	files, err := grafana.Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := grafana.Encode(f.Dashboard)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(args[0], f.Name), text, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
	}
	return nil
}
