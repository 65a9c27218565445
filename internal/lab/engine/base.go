// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// base is what each engine has: a world, a directory, and how to end.
type base struct {
	*lab.World
	Socket string // of the API: use "unix://" + Socket as the engine's host

	dir      string
	log      *slog.Logger
	thread   *netns.Thread // starts the daemons, which die with it
	mounts   int           // the process whose mount namespace is the engine's
	once     *sync.Once
	closeErr error
}

func newBase(cfg Config) base {
	b := base{dir: cfg.Dir, log: cfg.Log, thread: netns.NewThread(), once: &sync.Once{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	return b
}

func (e *base) path(name string) string { return filepath.Join(e.dir, name) }

// open makes the directory and the world.
func (e *base) open(ctx context.Context, cfg Config) (err error) {
	if e.dir == "" {
		// Short: a socket's path has room for 107 bytes.
		e.dir, err = os.MkdirTemp("", "vt-engine-")
	} else {
		err = os.MkdirAll(e.dir, 0o700)
	}
	if err != nil {
		return err
	}
	e.World, err = lab.New(ctx, lab.Config{Bare: true, Wire: cfg.Wire, IPv6: cfg.IPv6, Log: cfg.Log})
	return err
}

// close stops the daemons by stop, ends whatever they left, and removes directory and world, once.
func (e *base) close(stop func(ctx context.Context) []error) error {
	e.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		errs := stop(ctx)
		if e.dir != "" {
			errs = append(errs, endLeftovers(ctx, e.dir))
		}
		e.thread.Close()
		if world := e.World; world != nil {
			errs = append(errs, world.Close())
		}
		if e.dir != "" {
			errs = append(errs, os.RemoveAll(e.dir))
		}
		if err := errors.Join(errs...); err != nil {
			e.closeErr = fmt.Errorf("close engine: %w", err)
		}
	})
	return e.closeErr
}

// Inside is what to put in front of a command that is to see the engine's own mounts.
func (e *base) Inside() []string {
	return []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", e.mounts), "--"}
}

// ListenAt makes the API reachable at another path too, in the engine's own mount namespace, where
// the path's directory has to be the engine's own.
func (e *base) ListenAt(ctx context.Context, path string) error {
	args := append(e.Inside(), "ln", "-s", e.Socket, path)
	_, err := output(exec.CommandContext(ctx, args[0], args[1:]...), nil, args[1:])
	return err
}

// output runs a client's command and returns its standard output without the last newline; its
// standard error goes into the error.
func output(cmd *exec.Cmd, stdin io.Reader, args []string) (string, error) {
	var out, msg bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &msg
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(args, " "), err, strings.TrimSpace(msg.String()))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
