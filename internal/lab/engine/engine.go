// SPDX-License-Identifier: Apache-2.0

// Package engine runs a real Docker engine inside a bare world of the lab, for tests.
//
//	Client eth0 ──wire── eth0 Host {containerd, dockerd, containers}
//
// The engine has a root, socket and mount namespace of its own, so that neither the machine's
// network nor its mounts nor another engine are touched. It needs Debian's docker.io and nginx.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
)

// Bounds, for faults: an engine is ready in 0.5 s, and gone in 0.2 s, on an idle
// machine, and takes ten times as long in a guest by emulation.
const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// privateRun starts containerd with the two directories of /run to itself whose paths can't be
// configured: shims put their sockets there, and leave them when they are killed.
const privateRun = `for d in /run/containerd /run/docker; do mkdir -p $d; mount -t tmpfs tmpfs $d; done; exec containerd -c "$1"`

// Config says what engine to start. Its zero value works.
type Config struct {
	Dir  string // of everything the engine writes, made if need be and removed by Close; empty means a new temporary one
	Wire lab.WireKind
	IPv6 bool         // gives the wire IPv6 addresses; the engine wants Args for it
	Args []string     // more arguments of dockerd
	Log  *slog.Logger // nil means silence
}

// Engine is a running Docker engine. Client, Host and Wire are those of its world.
type Engine struct {
	base
	containerd *daemon
	dockerd    *daemon
}

// Start starts an engine and returns when its API answers. If it fails, or ctx ends before, nothing
// stays. The engine lives until Close; the end of ctx later does not stop it.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	e := &Engine{base: newBase(cfg)}
	if err := e.start(ctx, cfg); err != nil {
		err = fmt.Errorf("start engine: %w", err)
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) start(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := e.open(ctx, cfg); err != nil {
		return err
	}
	var err error
	if e.containerd, err = e.startContainerd(ctx); err != nil {
		return err
	}
	return e.startDockerd(ctx, cfg.Args)
}

// startContainerd starts a containerd of our own, in a new mount namespace: the one that dockerd
// would start by itself takes 2 s to stop.
func (e *base) startContainerd(ctx context.Context) (_ *daemon, err error) {
	sock := e.path("containerd.sock")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		e.path("containerd-root"), e.path("containerd-state"), sock)
	if err := os.WriteFile(e.path("containerd.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("sh", "-ec", privateRun, "containerd", e.path("containerd.toml"))
	d, err := e.launch("containerd", cmd, true)
	if err != nil {
		return nil, err
	}
	return d, d.await(ctx, func() error { return dialUnix(ctx, sock) })
}

// startDockerd starts dockerd where containerd is: they must see the same mounts.
func (e *Engine) startDockerd(ctx context.Context, args []string) (err error) {
	e.Socket = e.path("docker.sock")
	if err := os.WriteFile(e.path("daemon.json"), []byte("{}\n"), 0o600); err != nil {
		return err
	}
	argv := []string{
		fmt.Sprintf("--mount=/proc/%d/ns/mnt", e.mounts), "--",
		"dockerd", "--containerd", e.path("containerd.sock"),
		"--data-root", e.path("data"), "--exec-root", e.path("exec"), "--pidfile", e.path("docker.pid"),
		"--config-file", e.path("daemon.json"), "-H", "unix://" + e.Socket,
	}
	e.dockerd, err = e.launch("dockerd", exec.Command("nsenter", append(argv, args...)...), false)
	if err != nil {
		return err
	}
	return e.dockerd.await(ctx, func() error { return ping(ctx, e.Socket) })
}

func dialUnix(ctx context.Context, path string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

// ping asks an engine that speaks Docker's API whether it is ready.
func ping(ctx context.Context, socket string) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16))
	if err == nil && string(body) != "OK" {
		err = fmt.Errorf("ping answered %s %q", resp.Status, body)
	}
	return err
}

// Docker runs the docker command against the engine and returns its standard output without the
// last newline; its standard error goes into the error.
func (e *Engine) Docker(ctx context.Context, args ...string) (string, error) {
	return e.docker(ctx, nil, args...)
}

func (e *Engine) docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"-H", "unix://" + e.Socket}, args...)...)
	// A configuration of its own: no context, plug-in or credentials of whoever runs the test.
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+e.path("cli"), "DOCKER_CONTEXT=", "DOCKER_HOST=")
	return output(cmd, stdin, args)
}

// Close removes the containers, stops the daemons, ends whatever they left, and removes the
// directory and the world. A second Close returns the same.
func (e *Engine) Close() error {
	return e.close(func(ctx context.Context) []error {
		var errs []error
		if e.dockerd != nil {
			errs = append(errs, e.removeContainers(ctx), e.dockerd.stop(ctx))
		}
		if e.containerd != nil {
			errs = append(errs, e.containerd.stop(ctx))
		}
		return errs
	})
}

// removeContainers is skipped when the engine does not answer any more: its leftovers are ended by pid.
func (e *Engine) removeContainers(ctx context.Context) error {
	ids, err := e.Docker(ctx, "ps", "-aq")
	if err != nil {
		e.log.Warn("containers not removed by the engine", "error", err)
		return nil
	}
	if ids == "" {
		return nil
	}
	_, err = e.Docker(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	return err
}
