// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/internal/netns"
)

// pluginsDir is where Debian has the CNI plugins.
const pluginsDir = "/usr/lib/cni"

// Containerd is a running containerd, without any client that makes networks.
type Containerd struct {
	base
	daemon *daemon
	spaces []*netns.NS // of the containers
}

// StartContainerd starts containerd and returns when its socket answers. It needs Debian's
// containerd and containernetworking-plugins. If it fails, or ctx ends before, nothing stays.
func StartContainerd(ctx context.Context, cfg Config) (*Containerd, error) {
	e := &Containerd{base: newBase(cfg)}
	if err := e.start(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("start containerd: %w", err), e.Close())
	}
	return e, nil
}

func (e *Containerd) start(ctx context.Context, cfg Config) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := e.open(ctx, cfg); err != nil {
		return err
	}
	e.Socket = e.path("containerd.sock")
	e.daemon, err = e.startContainerd(ctx)
	return err
}

// Ctr runs the ctr command in a namespace of containerd and returns its standard output without
// the last newline; its standard error goes into the error.
func (e *Containerd) Ctr(ctx context.Context, space string, args ...string) (string, error) {
	return e.ctr(ctx, nil, space, args...)
}

func (e *Containerd) ctr(ctx context.Context, stdin io.Reader, space string, args ...string) (string, error) {
	all := append(e.Inside(), append([]string{"ctr", "-a", e.Socket, "-n", space}, args...)...)
	return output(exec.CommandContext(ctx, all[0], all[1:]...), stdin, all[1:])
}

// Import makes an image and gives it to a namespace of containerd, as docker.io/library/NAME:latest.
func (e *Containerd) Import(ctx context.Context, space string, img Image) error {
	var layer bytes.Buffer
	if err := img.write(ctx, &layer); err != nil {
		return fmt.Errorf("import image %s: %w", img.Name, err)
	}
	archive, err := img.archive(layer.Bytes())
	if err != nil {
		return fmt.Errorf("import image %s: %w", img.Name, err)
	}
	_, err = e.ctr(ctx, bytes.NewReader(archive), space, "images", "import", "-")
	return err
}

// archive makes what docker save writes of one layer.
func (img Image) archive(layer []byte) ([]byte, error) {
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": img.command()},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{
		{"Config": "config.json", "RepoTags": []string{img.Name + ":latest"}, "Layers": []string{"layer.tar"}},
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		text []byte
	}{{"layer.tar", layer}, {"config.json", config}, {"manifest.json", manifest}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// Run starts a container of a namespace and returns its process. Its network namespace is a new one
// with nothing but lo, unless args, which are more arguments of ctr run, say otherwise.
func (e *Containerd) Run(ctx context.Context, space, image, id string, args ...string) (pid int, err error) {
	all := append(append([]string{"run", "-d"}, args...), "docker.io/library/"+image+":latest", id)
	if _, err := e.Ctr(ctx, space, all...); err != nil {
		return 0, err
	}
	out, err := e.Ctr(ctx, space, "tasks", "ls")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == id {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("run %s: no task of it in %q", id, out)
}

// Forward is a port of the host that CNI's portmap plugin sends to a container.
type Forward struct {
	Host      uint16 `json:"hostPort"`
	Container uint16 `json:"containerPort"`
	Protocol  string `json:"protocol"`
}

// RunConnected does what a client with CNI does: it makes a network namespace, connects it to the
// bridge cni0 (10.4.0.0/24), publishes ports, and runs a container in it. It returns the container's
// address. Args are more arguments of ctr run.
func (e *Containerd) RunConnected(ctx context.Context, space, image, id string, ports []Forward, args ...string) (string, error) {
	ns, err := netns.New()
	if err != nil {
		return "", err
	}
	e.spaces = append(e.spaces, ns)
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD())
	addr, err := e.connect(ctx, id, path, ports)
	if err != nil {
		return "", err
	}
	_, err = e.Run(ctx, space, image, id, append([]string{"--with-ns", "network:" + path}, args...)...)
	return addr, err
}

// connect returns the address that the namespace of a path gets.
func (e *Containerd) connect(ctx context.Context, id, path string, ports []Forward) (string, error) {
	bridge := map[string]any{
		"cniVersion": "0.4.0", "name": "cnet", "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
		"ipam": map[string]any{
			"type": "host-local", "dataDir": e.path("ipam"), "ranges": [][]map[string]string{{{"subnet": "10.4.0.0/24"}}},
			"routes": []map[string]string{{"dst": "0.0.0.0/0"}},
		},
	}
	result, err := e.plugin(ctx, id, path, bridge)
	if err != nil {
		return "", err
	}
	if len(ports) > 0 {
		portmap := map[string]any{
			"cniVersion": "0.4.0", "name": "cnet", "type": "portmap", "snat": true, "prevResult": json.RawMessage(result),
			"runtimeConfig": map[string]any{"portMappings": ports},
		}
		if _, err := e.plugin(ctx, id, path, portmap); err != nil {
			return "", err
		}
	}
	var r struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal([]byte(result), &r); err != nil || len(r.IPs) == 0 {
		return "", fmt.Errorf("connect %s: no address in %s", id, result)
	}
	addr, _, _ := strings.Cut(r.IPs[0].Address, "/")
	return addr, nil
}

// plugin runs one plugin in the host's network namespace.
func (e *Containerd) plugin(ctx context.Context, id, path string, config map[string]any) (string, error) {
	stdin, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	name, ok := config["type"].(string)
	if !ok {
		return "", fmt.Errorf("plugin without a type: %s", stdin)
	}
	cmd := exec.CommandContext(ctx, pluginsDir+"/"+name)
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_NETNS="+path,
		"CNI_IFNAME=eth0", "CNI_PATH="+pluginsDir)
	var out string
	err = e.Host.NS.Do(func() error {
		var err error
		out, err = output(cmd, bytes.NewReader(stdin), []string{"ADD"})
		if err != nil && out == "" {
			return fmt.Errorf("%w: %s", err, cmd.Stdout)
		}
		return err
	})
	return out, err
}

// Close removes the containers, stops containerd, ends whatever it left, and removes the directory
// and the world. A second Close returns the same.
func (e *Containerd) Close() error {
	return e.close(func(ctx context.Context) []error {
		var errs []error
		for _, ns := range e.spaces {
			errs = append(errs, ns.Close())
		}
		if e.daemon != nil {
			e.removeAll(ctx)
			errs = append(errs, e.daemon.stop(ctx))
		}
		return errs
	})
}

// removeAll ends the containers of all namespaces; what it can't is ended by process id.
func (e *Containerd) removeAll(ctx context.Context) {
	spaces, err := e.Ctr(ctx, "default", "namespaces", "ls", "-q")
	for space := range strings.FieldsSeq(spaces) {
		var ids string
		if ids, err = e.Ctr(ctx, space, "tasks", "ls", "-q"); err != nil {
			break
		}
		for id := range strings.FieldsSeq(ids) {
			if _, err := e.Ctr(ctx, space, "tasks", "rm", "-f", id); err != nil {
				e.log.Warn("container not removed by the engine", "id", id, "error", err)
			}
		}
	}
	if err != nil {
		e.log.Warn("containers not removed by the engine", "error", err)
	}
}
