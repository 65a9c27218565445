// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vethtrace/vethtrace/exporter/json"
	pages "github.com/vethtrace/vethtrace/exporter/report"
	"github.com/vethtrace/vethtrace/internal/result"
)

const reportHelp = `Makes a page out of the result of vethtrace bench -o json or vethtrace compare -o json: the answer in one sentence,
a bar of hops for each way, distributions, differences with their intervals, the path, the slowest journeys, what
measuring cost, and the environment.

With a name that ends in .html it is one file that loads nothing else; with one that ends in .md it is Markdown.`

const reportExample = `  vethtrace bench -o json > result.json && vethtrace report result.json --out report.html
  vethtrace report result.json --out report.md
  vethtrace compare before.json after.json -o json | vethtrace report - --out report.html`

func newReport(s streams) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "report RESULT.json --out FILE",
		Short:   "A page of a result, to look at and to hand on",
		Long:    reportHelp,
		Example: reportExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("report: want one result, for example: vethtrace report result.json --out report.html")
			}
			return writeReport(s, args[0], out)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write: its name ends in .html or .md")
	return cmd
}

// writeReport reads a result and writes its page. A page that could not be made
// leaves a file that was there alone.
func writeReport(s streams, from, to string) error {
	var write func(io.Writer, result.Document, pages.Options) error
	switch filepath.Ext(to) {
	case ".html", ".htm":
		write = pages.HTML
	case ".md", ".markdown":
		write = pages.Markdown
	default:
		return usagef("report: --out %q: want a name that ends in .html or .md", to)
	}
	d, err := readResult(s.in, from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	var b bytes.Buffer
	if err := write(&b, d, pages.Options{Decode: json.DecodeLine}); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	const readable = 0o644 // it is made to be handed on
	if err := replaceFile(to, b.Bytes(), readable); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// replaceFile writes a file as a whole or not at all: a full disk leaves neither
// half a page nor none of the one that was there.
func replaceFile(to string, data []byte, mode fs.FileMode) (err error) {
	if existing, err := filepath.EvalSymlinks(to); err == nil {
		to = existing // a link stays one
	}
	if info, err := os.Stat(to); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(to, data, mode) // a pipe; a directory is an error
	}
	f, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*")
	if err != nil {
		return asFile(to, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that is returned says why
			err = asFile(to, err)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// asFile gives an error of the file that is written first the name that was asked for.
func asFile(to string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return &fs.PathError{Op: path.Op, Path: to, Err: path.Err}
	}
	return err
}

// readResult reads a file, or standard input for -.
func readResult(stdin io.Reader, from string) (result.Document, error) {
	if from == "-" {
		return result.Decode(stdin)
	}
	f, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return result.Document{}, errors.New("no such file")
	}
	if err != nil {
		return result.Document{}, err
	}
	defer f.Close()
	return result.Decode(f)
}
