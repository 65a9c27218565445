// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func port(host string, container uint16) Port {
	return Port{Host: netip.MustParseAddrPort(host), Container: container, Protocol: "tcp"}
}

func TestFindDescribes(t *testing.T) {
	e, pid := newEngine(t), sleeper(t).Process.Pid
	for _, f := range []string{"nginx", "nginx-host-mode", "web", "sidecar", "mvweb", "isolated", "cli"} {
		e.add("inspect-"+f+".json", pid)
	}
	d := e.client()
	appnet := Network{Name: "appnet", Driver: "bridge", Bridge: "br-1710921eae5c", IP4: netip.MustParseAddr("172.28.0.2"), MAC: "02:42:ac:1c:00:02"}
	tests := []struct {
		name, mode, shares string
		ports              []Port
		networks           []Network
	}{
		{
			name: "nginx", mode: "bridge", ports: []Port{port("0.0.0.0:8080", 80), port("[::]:8080", 80)},
			networks: []Network{{Name: "bridge", Driver: "bridge", Bridge: "docker0", IP4: netip.MustParseAddr("172.17.0.2"), MAC: "02:42:ac:11:00:02"}},
		},
		{name: "nginx-host-mode", mode: "host", networks: []Network{{Name: "host", Driver: "host"}}},
		{name: "web", mode: "appnet", ports: []Port{port("0.0.0.0:8081", 80), port("[::]:8081", 80)}, networks: []Network{appnet}},
		{name: "sidecar", mode: "container:web", shares: "eb7eb80475bbe2ad66264d37a2bccd9aeb31c6d4d1a4a1fa72c3c6ed0fe42746"},
		{name: "mvweb", mode: "mv0", networks: []Network{{Name: "mv0", Driver: "macvlan", IP4: netip.MustParseAddr("198.51.100.64"), MAC: "02:42:c6:33:64:40"}}},
		{name: "isolated", mode: "none", networks: []Network{{Name: "none", Driver: "null"}}},
		{
			name: "cli", mode: "appnet", networks: []Network{
				{Name: "appnet", Driver: "bridge", Bridge: "br-1710921eae5c", IP4: netip.MustParseAddr("172.28.0.3"), MAC: "02:42:ac:1c:00:03"},
				{Name: "net2", Driver: "bridge", Bridge: "br-d5ace2070b5b", IP4: netip.MustParseAddr("172.29.0.2"), MAC: "02:42:ac:1d:00:02"},
			},
		},
	}
	own, err := nsInode("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := d.Find(t.Context(), tt.name)
			if err != nil {
				t.Fatal(err)
			}
			if c.Name != tt.name || c.Mode != tt.mode || c.Shares != tt.shares {
				t.Errorf("name %q, mode %q, shares %q", c.Name, c.Mode, c.Shares)
			}
			if !reflect.DeepEqual(c.Ports, tt.ports) || !reflect.DeepEqual(c.Networks, tt.networks) {
				t.Errorf("ports %v, networks %+v", c.Ports, c.Networks)
			}
			if len(c.ID) != 64 || c.PID != pid || c.Netns != own || c.Image == "" || c.Started.IsZero() || len(c.CgroupPaths) == 0 {
				t.Errorf("%+v", c)
			}
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.methods) > 2 || !e.methods["GET"] || len(e.methods) == 2 && !e.methods["HEAD"] {
		t.Errorf("the engine was asked by other methods than GET and HEAD: %v", e.methods)
	}
}

func TestFindIPv6AndPodman(t *testing.T) {
	pid := sleeper(t).Process.Pid
	e := newEngine(t)
	e.add("inspect-ipv6.json", pid)
	c, err := e.client().Find(t.Context(), "nginx")
	if err != nil || len(c.Networks) != 1 || c.Networks[0].IP6 != netip.MustParseAddr("2001:db8:17::242:ac11:2") {
		t.Errorf("IPv6: %+v, %v", c.Networks, err)
	}
	// Podman leaves the host's address empty.
	p := newEngine(t)
	p.add("inspect-podman.json", pid)
	c, err = p.client().Find(t.Context(), "nginx")
	if err != nil || c.Mode != "bridge" || !slices.Equal(c.Ports, []Port{port("0.0.0.0:8080", 80)}) {
		t.Errorf("Podman: mode %q, ports %v, %v", c.Mode, c.Ports, err)
	}
}

func TestFindByID(t *testing.T) {
	e, pid := newEngine(t), sleeper(t).Process.Pid
	a, b := e.add("inspect-nginx.json", pid), e.add("inspect-web.json", pid)
	d := e.client()
	for ref, want := range map[string]string{
		a.id: "nginx", a.id[:12]: "nginx", a.id[:1]: "nginx", strings.ToUpper(b.id[:7]): "web", "/web": "web",
	} {
		if c, err := d.Find(t.Context(), ref); err != nil || c.Name != want {
			t.Errorf("%s: found %q, %v", ref, c.Name, err)
		}
	}
	// An exact name wins, even where it is another one's prefix.
	e.change(b, "rename", func() { b.name = a.id[:4] })
	if c, err := d.Find(t.Context(), a.id[:4]); err != nil || c.ID != b.id {
		t.Errorf("name that is a prefix: %q, %v", c.Name, err)
	}
}

func TestFindErrors(t *testing.T) {
	e, pid := newEngine(t), sleeper(t).Process.Pid
	nginx := e.add("inspect-nginx.json", pid)
	stopped := e.add("inspect-web.json", 0)
	twin := e.add("inspect-mvweb.json", pid)
	hidden := e.add("inspect-cli.json", 1<<22+1) // above any pid_max
	e.mu.Lock()
	stopped.state = "exited"
	twin.id = nginx.id[:8] + strings.Repeat("0", 56)
	e.mu.Unlock()
	d := e.client()

	_, err := d.Find(t.Context(), "ngnix")
	var notFound *NotFoundError
	if !errors.As(err, &notFound) || !slices.Equal(notFound.Near, []string{"nginx"}) || !strings.Contains(err.Error(), "did you mean nginx?") {
		t.Errorf("misspelled: %v", err)
	}
	_, err = d.Find(t.Context(), "web")
	var notRunning *NotRunningError
	if !errors.As(err, &notRunning) || notRunning.State != "exited" || notRunning.Name != "web" {
		t.Errorf("stopped: %v", err)
	}
	_, err = d.Find(t.Context(), nginx.id[:6])
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || len(ambiguous.Matches) != 2 || !strings.Contains(err.Error(), "mvweb") {
		t.Errorf("ambiguous: %v", err)
	}
	_, err = d.Find(t.Context(), hidden.name)
	var notVisible *HiddenError
	if !errors.As(err, &notVisible) || notVisible.PID != 1<<22+1 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("hidden: %v", err)
	}
	if _, err = d.Find(t.Context(), ""); !errors.As(err, &notFound) {
		t.Errorf("no name: %v", err)
	}
	e.mu.Lock()
	e.fail = true
	e.mu.Unlock()
	var engine *EngineError
	if _, err = d.Find(t.Context(), "nginx"); !errors.As(err, &engine) || !strings.Contains(err.Error(), "confused") {
		t.Errorf("failing engine: %v", err)
	}
}

func TestEngineErrors(t *testing.T) {
	var engine *EngineError
	host := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	d, err := NewDocker(Config{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.List(t.Context())
	if !errors.As(err, &engine) || engine.Host != host || !strings.Contains(err.Error(), "--docker-host") {
		t.Errorf("no engine: %v", err)
	}
	if _, err := NewDocker(Config{Host: "not a url"}); !errors.As(err, &engine) {
		t.Errorf("bad host: %v", err)
	}
	e := newEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.client().Names(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestDockerHostFromEnvironment(t *testing.T) {
	e := newEngine(t)
	e.add("inspect-nginx.json", sleeper(t).Process.Pid)
	t.Setenv("DOCKER_HOST", "unix://"+e.socket)
	d, err := NewDocker(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if names, err := d.Names(t.Context()); err != nil || !slices.Equal(names, []string{"nginx"}) {
		t.Errorf("names %v, %v", names, err)
	}
	if d.Host() != "unix://"+e.socket {
		t.Errorf("host %s", d.Host())
	}
}

func TestListLeavesOutWhatEnds(t *testing.T) {
	e, pid := newEngine(t), sleeper(t).Process.Pid
	e.add("inspect-nginx.json", pid)
	e.add("inspect-web.json", 0)           // ends between list and inspect
	e.add("inspect-cli.json", 1<<22+1)     // its process is gone
	e.add("inspect-mvweb.json", pid)       // stays
	e.add("inspect-isolated.json", pid)    // is removed between list and inspect
	e.containers[4].doc = map[string]any{} // (an id that inspect will not find)
	e.containers[4].id = "gone"
	list, err := e.client().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	if !slices.Equal(names, []string{"nginx", "mvweb"}) {
		t.Errorf("listed %v", names)
	}
}

func TestMode(t *testing.T) {
	id := strings.Repeat("ab", 32)
	b := book{containers: map[string]string{id: "web"}}
	tests := []struct{ in, mode, shares string }{
		{"default", "bridge", ""},
		{"", "bridge", ""},
		{"host", "host", ""},
		{"container:" + id, "container:web", id},
		{"container:web", "container:web", id},
		{"container:" + strings.Repeat("cd", 32), "container:cdcdcdcdcdcd", strings.Repeat("cd", 32)},
		{"backend", "backend", ""},
	}
	for _, tt := range tests {
		mode, shares := b.mode(modeOf(tt.in))
		if mode != tt.mode || shares != tt.shares {
			t.Errorf("%q: mode %q, shares %q; want %q, %q", tt.in, mode, shares, tt.mode, tt.shares)
		}
	}
	var e book
	load(t, "networks-many.json", &e.networks)
	if mode, _ := e.mode("1710921eae5c"); mode != "appnet" {
		t.Errorf("network given by id: %q", mode)
	}
}

func TestNear(t *testing.T) {
	all := []string{"nginx", "nginx-host-mode", "postgres", "redis", "app_web_1", "Web"}
	tests := []struct {
		name string
		want []string
	}{
		{"ngnix", []string{"nginx"}},
		{"nginx-", []string{"nginx", "nginx-host-mode"}},
		{"web", []string{"Web", "app_web_1"}},
		{"postgre", []string{"postgres"}},
		{"zzzzz", nil},
		{"", nil},
	}
	for _, tt := range tests {
		if got := near(tt.name, all); !slices.Equal(got, tt.want) {
			t.Errorf("near %q: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := near("a", []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7"}); len(got) != maxNear {
		t.Errorf("%d names", len(got))
	}
}

func TestEditDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"abc", "abc", 0}, {"ngnix", "nginx", 1}, {"kitten", "sitting", 3}} {
		if ab, ba := editDistance(tt.a, tt.b), editDistance(tt.b, tt.a); ab != tt.want || ba != tt.want {
			t.Errorf("%q, %q: %d and %d, want %d", tt.a, tt.b, ab, ba, tt.want)
		}
	}
}

// Podman leaves its bridges' names out of Docker's API: its own is asked.
func TestPodmanNetworks(t *testing.T) {
	e, pid := newEngine(t), sleeper(t).Process.Pid
	e.add("inspect-podman.json", pid)
	e.mu.Lock()
	e.podman = true
	e.mu.Unlock()
	d := e.client()
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if c := list[0]; c.Runtime != RuntimePodman || len(c.Networks) != 1 || c.Networks[0].Bridge != "podman0" {
		t.Errorf("%+v", c)
	}
	networks, err := d.Networks(t.Context())
	if i := slices.IndexFunc(networks, func(n NetworkInfo) bool { return n.Bridge == "podman0" }); err != nil || i < 0 {
		t.Errorf("%+v, %v", networks, err)
	}
	if _, ok := AsDocker(d); ok {
		t.Error("taken for Docker")
	}
}
