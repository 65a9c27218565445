// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Where engines listen when nobody says otherwise.
const (
	dockerSocket     = "/var/run/docker.sock"
	podmanSocket     = "/run/podman/podman.sock"
	containerdSocket = "/run/containerd/containerd.sock"
	k3sSocket        = "/run/k3s/containerd/containerd.sock"
)

// newPodman asks Podman by its Docker-compatible socket.
func newPodman(cfg Config) (Engine, error) {
	host := cmp.Or(cfg.Host, os.Getenv(envPodmanHost))
	if host == "" {
		found := slices.DeleteFunc(podmanSockets(), func(path string) bool { return !isSocket(path) })
		host = "unix://" + append(found, podmanSocket)[0]
	}
	engine, err := NewDocker(Config{Host: host})
	if err != nil {
		return nil, err
	}
	engine.kind = RuntimePodman
	return engine, nil
}

// podmanSockets are the machine's and those of its users: root sees all of these.
func podmanSockets() []string {
	list := []string{podmanSocket}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		list = append(list, filepath.Join(dir, "podman/podman.sock"))
	}
	users, err := filepath.Glob("/run/user/*/podman/podman.sock")
	if err == nil {
		list = append(list, users...)
	}
	slices.Sort(list[1:])
	return slices.Compact(list)
}

// place is where an engine may be found.
type place struct {
	runtime Runtime
	path    string
}

func (p place) open(s *several) (Engine, error) {
	switch p.runtime {
	case RuntimePodman:
		return newPodman(Config{Host: "unix://" + p.path})
	case RuntimeContainerd:
		c, err := NewContainerd(Config{Host: "unix://" + p.path})
		if err != nil {
			return nil, err
		}
		c.skips = s.skips
		return c, nil
	}
	return NewDocker(Config{Host: "unix://" + p.path})
}

// candidates lists where engines may be found, afresh at each call: users come
// and go.
func candidates() func() []place {
	return func() []place {
		list := []place{{RuntimeDocker, dockerSocket}}
		for _, path := range podmanSockets() {
			list = append(list, place{RuntimePodman, path})
		}
		address := strings.TrimPrefix(os.Getenv(envContainerdHost), "unix://")
		for _, path := range slices.Compact([]string{cmp.Or(address, containerdSocket), k3sSocket}) {
			list = append(list, place{RuntimeContainerd, path})
		}
		return slices.DeleteFunc(list, func(p place) bool { return !isSocket(p.path) })
	}
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// String is the engine in words.
func (p place) String() string { return fmt.Sprintf("%s at unix://%s", p.runtime, p.path) }
