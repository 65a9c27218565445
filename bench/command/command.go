// SPDX-License-Identifier: Apache-2.0

// Package command is what the commands below bench/ have in common: their end.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/internal/lab"
)

// Run is a command: until it is done or ctx ends, which an interrupt does.
type Run func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// Main runs a command, or what a world or a load started this program for, and
// exits: 0 done, 1 failed, which is told with the command's name, 2 usage.
func Main(name string, run Run) {
	load.MaybeChild()
	lab.MaybeChild()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(status(name, err, os.Stderr))
}

func status(name string, err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 2
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return 1
}
