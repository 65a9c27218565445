// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Backends of Podman's networks.
const (
	Netavark = "netavark"
	CNI      = "cni"
)

// podmanRun starts Podman's service with what it keeps at fixed places to itself: names of network
// namespaces, what CNI keeps, the state of runc. $1 is its directory, the rest its arguments.
const podmanRun = `for d in /run/netns /run/runc /run/containers /run/podman /var/lib/cni /run/libpod; do mkdir -p $d; mount -t tmpfs tmpfs $d; done
mount --make-shared /run/netns; d=$1; shift; exec podman --storage-driver overlay --root $d/root --runroot $d/run --tmpdir $d/tmp "$@"`

// podmanConf is its containers.conf. Limits of processes are left as they are: raising them takes a
// capability that not every machine gives root.
const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = %q
network_config_dir = %q
`

// Podman is a running Podman service.
type Podman struct {
	base
	service *daemon
}

// StartPodman starts Podman's service with networks of that backend, and returns when its API
// answers. It needs Debian's podman, netavark and containernetworking-plugins; Args are more
// arguments of podman. If it fails, or ctx ends before, nothing stays.
func StartPodman(ctx context.Context, backend string, cfg Config) (*Podman, error) {
	e := &Podman{base: newBase(cfg)}
	if err := e.start(ctx, backend, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("start podman: %w", err), e.Close())
	}
	return e, nil
}

func (e *Podman) start(ctx context.Context, backend string, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := e.open(ctx, cfg); err != nil {
		return err
	}
	for _, dir := range []string{"root", "run", "tmp", "net"} {
		if err := os.Mkdir(e.path(dir), 0o700); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf(podmanConf, backend, e.path("net"))
	if err := os.WriteFile(e.path("containers.conf"), []byte(conf), 0o600); err != nil {
		return err
	}
	e.Socket = e.path("podman.sock")
	args := append([]string{"-ec", podmanRun, "podman", e.dir}, cfg.Args...)
	cmd := exec.Command("sh", append(args, "system", "service", "-t", "0", "unix://"+e.Socket)...)
	cmd.Env = e.environ()
	var err error
	if e.service, err = e.launch("podman", cmd, true); err != nil {
		return err
	}
	return e.service.await(ctx, func() error { return ping(ctx, e.Socket) })
}

// Podman runs the podman command against the service and returns its standard output without the
// last newline; its standard error goes into the error.
func (e *Podman) Podman(ctx context.Context, args ...string) (string, error) {
	return e.podman(ctx, nil, args...)
}

func (e *Podman) podman(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "podman", append([]string{"--remote", "--url", "unix://" + e.Socket}, args...)...)
	cmd.Env = e.environ()
	return output(cmd, stdin, args)
}

// environ is ours without what would make podman a client of another service.
func (e *Podman) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "CONTAINER_HOST=") || strings.HasPrefix(s, "XDG_RUNTIME_DIR=")
	})
	return append(env, "CONTAINERS_CONF="+e.path("containers.conf"))
}

// Import makes an image and gives it to the engine, tagged latest.
func (e *Podman) Import(ctx context.Context, img Image) error {
	return img.give(ctx, func(r io.Reader, args []string) error {
		_, err := e.podman(ctx, r, append(args, img.Name+":latest")...)
		return err
	})
}

// Close removes the containers, stops the service, ends whatever it left, and removes the directory
// and the world. A second Close returns the same.
func (e *Podman) Close() error {
	return e.close(func(ctx context.Context) []error {
		if e.service == nil {
			return nil
		}
		if _, err := e.Podman(ctx, "rm", "-a", "-f", "-t", "0"); err != nil {
			e.log.Warn("containers not removed by the engine", "error", err)
		}
		return []error{e.service.stop(ctx), e.removeGroups()}
	})
}

// removeGroups removes the control groups that Podman makes and leaves, if no other Podman uses them.
func (e *Podman) removeGroups() error {
	groups, err := filepath.Glob("/sys/fs/cgroup/*/libpod_parent")
	if err != nil {
		return err
	}
	for _, g := range append(groups, "/sys/fs/cgroup/libpod_parent") {
		if err := os.Remove(g); err != nil && !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "busy") && !strings.Contains(err.Error(), "not empty") {
			return err
		}
	}
	return nil
}
