// SPDX-License-Identifier: Apache-2.0

// Command vethtrace shows, per hop and live, how long packets take on their way
// to and from a container.
//
//	flags -> targets (who) ┐
//	                       ├-> session (attach, show, end) -> sink (text, live view, JSON)
//	demo (a lab world)     ┘
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/loadgen"
)

// version is set by -ldflags "-X main.version=...".
var version = ""

func main() {
	lab.MaybeChild()
	loadgen.MaybeChild()
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command. What it returns is the exit status; see exit.go.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	quits, stop := catchQuits()
	defer stop()
	root := newRoot(streams{in: stdin, out: stdout, err: stderr, quits: quits})
	root.SetArgs(args)
	root.SetIn(stdin)
	out := &told{to: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil && out.failed != nil {
		err = fmt.Errorf("write standard output: %w", out.failed)
	}
	return report(stderr, err)
}

// versionText is the version of a release, or what the Go tool knows of the build.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
