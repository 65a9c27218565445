// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// fakeContainerd answers containerd's API on a unix socket.
type fakeContainerd struct {
	socket string
	server *grpc.Server

	mu      sync.Mutex
	units   []*fakeUnit
	streams map[chan *types.Envelope]bool
	asked   int // documents
}

type fakeUnit struct {
	space, id string
	pid       int
	status    task.Status
	labels    map[string]string
	notes     map[string]string // annotations
}

func newContainerd(t *testing.T) *fakeContainerd {
	t.Helper()
	e := &fakeContainerd{socket: filepath.Join(t.TempDir(), "c.sock"), streams: map[chan *types.Envelope]bool{}}
	e.start(t)
	t.Cleanup(func() { e.server.Stop() })
	return e
}

func (e *fakeContainerd) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	e.server = grpc.NewServer()
	containers.RegisterContainersServer(e.server, documentServer{fake: e})
	tasks.RegisterTasksServer(e.server, taskServer{fake: e})
	namespaces.RegisterNamespacesServer(e.server, spaceServer{})
	events.RegisterEventsServer(e.server, eventServer{fake: e})
	go e.server.Serve(l)
}

func (e *fakeContainerd) client(t *testing.T) *Containerd {
	t.Helper()
	d, err := NewContainerd(Config{Host: "unix://" + e.socket})
	if err != nil {
		t.Fatal(err)
	}
	d.cni = cniStore{results: "testdata/cni/results", configs: "testdata/cni/net.d"}
	t.Cleanup(func() { d.Close() })
	return d
}

func spaceOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get(spaceHeader), "")
}

func (u *fakeUnit) doc() *containers.Container {
	raw, _ := json.Marshal(map[string]any{"annotations": u.notes, "linux": map[string]any{"namespaces": []any{map[string]string{"type": "network"}}}})
	return &containers.Container{ID: u.id, Labels: u.labels, Image: "docker.io/library/nginx:latest", Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: raw}}
}

// The services, as far as they are read from; every other call is an error.
type (
	documentServer struct {
		containers.UnimplementedContainersServer
		fake *fakeContainerd
	}
	taskServer struct {
		tasks.UnimplementedTasksServer
		fake *fakeContainerd
	}
	spaceServer struct {
		namespaces.UnimplementedNamespacesServer
	}
	eventServer struct {
		events.UnimplementedEventsServer
		fake *fakeContainerd
	}
)

func (s documentServer) Get(ctx context.Context, r *containers.GetContainerRequest) (*containers.GetContainerResponse, error) {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	s.fake.asked++
	for _, u := range s.fake.units {
		if u.space == spaceOf(ctx) && u.id == r.GetID() {
			return &containers.GetContainerResponse{Container: u.doc()}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such container")
}

func (s documentServer) ListStream(_ *containers.ListContainersRequest, stream containers.Containers_ListStreamServer) error {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	for _, u := range s.fake.units {
		if u.space == spaceOf(stream.Context()) {
			if err := stream.Send(&containers.ListContainerMessage{Container: u.doc()}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s taskServer) List(ctx context.Context, _ *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	r := &tasks.ListTasksResponse{}
	for _, u := range s.fake.units {
		if u.space == spaceOf(ctx) && u.pid != 0 {
			r.Tasks = append(r.Tasks, &task.Process{ID: u.id, Pid: uint32(u.pid), Status: u.status})
		}
	}
	return r, nil
}

func (spaceServer) List(context.Context, *namespaces.ListNamespacesRequest) (*namespaces.ListNamespacesResponse, error) {
	r := &namespaces.ListNamespacesResponse{}
	for _, name := range []string{"default", "k8s.io", "moby"} {
		r.Namespaces = append(r.Namespaces, &namespaces.Namespace{Name: name})
	}
	return r, nil
}

func (s eventServer) Subscribe(_ *events.SubscribeRequest, to events.Events_SubscribeServer) error {
	stream := make(chan *types.Envelope, 100)
	s.fake.mu.Lock()
	s.fake.streams[stream] = true
	s.fake.mu.Unlock()
	for {
		select {
		case <-to.Context().Done():
			return nil
		case event := <-stream:
			if err := to.Send(event); err != nil {
				return err
			}
		}
	}
}

// change changes what runs and sends an event of the container.
func (e *fakeContainerd) change(u *fakeUnit, topic string, how func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	how()
	b := protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), uint64(u.pid)) // another field first
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), u.id)
	for s := range e.streams {
		s <- &types.Envelope{Namespace: u.space, Topic: topic, Event: &anypb.Any{Value: b}}
	}
}

func (e *fakeContainerd) add(u *fakeUnit) *fakeUnit {
	e.mu.Lock()
	defer e.mu.Unlock()
	u.status = task.Status_RUNNING
	e.units = append(e.units, u)
	return u
}

var (
	nerdctlID = strings.Repeat("5f", 32)
	podID     = strings.Repeat("a7", 32)
	inPodID   = strings.Repeat("b8", 32)
)

// populated has a container of each client.
func populated(t *testing.T) (*fakeContainerd, int) {
	e, pid := newContainerd(t), isolated(t)
	e.add(&fakeUnit{space: "default", id: "plain", pid: pid})
	e.add(&fakeUnit{space: "default", id: nerdctlID, pid: pid, labels: map[string]string{
		labelNerdctlName: "web", labelNerdctlNetworks: `["bridge"]`, projectLabel: "shop",
	}})
	e.add(&fakeUnit{space: "default", id: "labelled", pid: pid, labels: map[string]string{
		labelNerdctlPorts: `[{"HostPort":8081,"ContainerPort":81,"Protocol":"tcp","HostIP":"::"}]`, labelNerdctlNetworks: `["container:` + nerdctlID + `"]`,
	}})
	pod := map[string]string{annotationSandbox: podID, annotationPod: "front", annotationPodSpace: "shop"}
	e.add(&fakeUnit{space: "k8s.io", id: podID, pid: pid, notes: pod})
	e.add(&fakeUnit{space: "k8s.io", id: inPodID, pid: pid, notes: map[string]string{
		annotationSandbox: podID, annotationPod: "front", annotationPodSpace: "shop", annotationContainer: "nginx",
	}})
	e.add(&fakeUnit{space: "moby", id: strings.Repeat("c9", 32), pid: pid})
	e.add(&fakeUnit{space: "moby", id: "plain", pid: 0})
	return e, pid
}

func TestContainerdFind(t *testing.T) {
	e, pid := populated(t)
	d := e.client(t)
	addr := netip.MustParseAddr
	tests := []struct {
		name, id, found string
		mode, shares    string
		space           string
		ports           []Port
		networks        []Network
	}{
		{name: "plain", id: "plain", mode: "netns", space: "default"},
		{
			name: "web", id: nerdctlID, mode: "bridge", space: "default",
			ports: []Port{
				{Host: netip.MustParseAddrPort("0.0.0.0:8080"), Container: 80, Protocol: "tcp"},
				{Host: netip.MustParseAddrPort("127.0.0.1:53"), Container: 5353, Protocol: "udp"},
			},
			networks: []Network{{Name: "bridge", Driver: "bridge", Bridge: "nerdctl0", IP4: addr("10.4.0.2"), IP6: addr("fd00:4::2"), MAC: "1a:63:fb:46:dd:6b"}},
		},
		{name: nerdctlID[:8], found: "web", id: nerdctlID, mode: "bridge", space: "default"},
		{name: "labelled", id: "labelled", mode: "container:" + nerdctlID[:12], space: "default", ports: []Port{{Host: netip.MustParseAddrPort("[::]:8081"), Container: 81, Protocol: "tcp"}}},
		{
			name: "front.shop", id: podID, mode: "cbr0", space: "k8s.io", ports: []Port{{Host: netip.MustParseAddrPort("0.0.0.0:8443"), Container: 443, Protocol: "tcp"}},
			networks: []Network{{Name: "cbr0", Driver: "bridge", Bridge: "cni0", IP4: addr("10.244.0.5")}},
		},
		{
			name: "nginx.front.shop", id: inPodID, mode: "container:front.shop", shares: podID, space: "k8s.io",
			networks: []Network{{Name: "cbr0", Driver: "bridge", Bridge: "cni0", IP4: addr("10.244.0.5")}},
		},
		{name: strings.Repeat("c9", 32), id: strings.Repeat("c9", 32), mode: "netns", space: "moby"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := d.Find(t.Context(), tt.name)
			if err != nil {
				t.Fatal(err)
			}
			if want := max(tt.name, tt.found); tt.found == "" && c.Name != want || tt.found != "" && c.Name != tt.found {
				t.Errorf("name %q", c.Name)
			}
			if c.ID != tt.id || c.Mode != tt.mode || c.Shares != tt.shares || c.Space != tt.space || c.Runtime != RuntimeContainerd || c.PID != pid {
				t.Errorf("%+v", c)
			}
			if c.Image != "docker.io/library/nginx:latest" || c.Started.IsZero() || c.Netns == 0 {
				t.Errorf("%+v", c)
			}
			if tt.found == "" && (!slices.Equal(c.Ports, tt.ports) || !reflect.DeepEqual(c.Networks, tt.networks)) {
				t.Errorf("ports %v, networks %+v", c.Ports, c.Networks)
			}
		})
	}
	if c, err := d.Find(t.Context(), "web"); err != nil || c.Project() != "shop" {
		t.Errorf("project %q, %v", c.Project(), err)
	}
}

func TestContainerdErrors(t *testing.T) {
	e, pid := populated(t)
	e.add(&fakeUnit{space: "k8s.io", id: "ended"})
	e.add(&fakeUnit{space: "default", id: "twin", pid: pid})
	e.add(&fakeUnit{space: "moby", id: "twin", pid: pid})
	hidden := e.add(&fakeUnit{space: "default", id: "hidden", pid: 1 << 30})
	d := e.client(t)
	var notFound *NotFoundError
	var notRunning *NotRunningError
	var ambiguous *AmbiguousError
	var invisible *HiddenError
	var engine *EngineError
	if _, err := d.Find(t.Context(), "fron.shop"); !errors.As(err, &notFound) || !slices.Contains(notFound.Near, "front.shop") {
		t.Error(err)
	}
	if _, err := d.Find(t.Context(), "ended"); !errors.As(err, &notRunning) {
		t.Error(err)
	}
	if _, err := d.Find(t.Context(), "twin"); !errors.As(err, &ambiguous) || len(ambiguous.Matches) != 2 || ambiguous.Matches[1] != "twin (moby/twin)" {
		t.Error(err)
	}
	if c, err := d.Find(t.Context(), "moby/tw"); err != nil || c.ID != "moby/twin" {
		t.Error(c.ID, err)
	}
	if _, err := d.Find(t.Context(), "hidden"); !errors.As(err, &invisible) || invisible.PID != hidden.pid {
		t.Error(err)
	}
	list, err := d.List(t.Context())
	if err != nil || len(list) != 8 {
		t.Errorf("%d containers, want all that run and are seen; %v", len(list), err)
	}
	e.server.Stop()
	if _, err := d.List(t.Context()); !errors.As(err, &engine) || engine.Host != "unix://"+e.socket {
		t.Error(err)
	}
}

func TestContainerdNetworks(t *testing.T) {
	list, err := newContainerd(t).client(t).Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range list {
		got = append(got, strings.Join([]string{n.Name, n.Driver, n.Bridge, n.Project, n.Options["com.docker.network.driver.mtu"]}, " "))
		if n.Internal != (n.Name == "closed") {
			t.Errorf("%s: internal %v", n.Name, n.Internal)
		}
	}
	want := []string{"bridge bridge nerdctl0  ", "cbr0 bridge cni0  ", "closed bridge br-closed shop ", "plain macvlan   1400", "podman bridge cni-podman0  "}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestContainerdWatch(t *testing.T) {
	e := newContainerd(t)
	first, second := sleeper(t), sleeper(t)
	kept := e.add(&fakeUnit{space: "default", id: "kept", pid: first.Process.Pid})
	ctx, cancel := context.WithCancel(t.Context())
	events := e.client(t).Watch(ctx)
	t.Cleanup(func() {
		cancel()
		for range events { // closed when the watch has ended
		}
	})
	expect(t, events, Started, "kept", first.Process.Pid)
	later := &fakeUnit{space: "k8s.io", id: "later", pid: second.Process.Pid}
	e.add(later)
	e.change(later, "/tasks/start", func() {})
	expect(t, events, Started, "later", second.Process.Pid)
	e.change(later, "/containers/update", func() { later.labels = map[string]string{labelNerdctlName: "renamed"} })
	if r := expect(t, events, Renamed, "renamed", second.Process.Pid); r.OldName != "later" {
		t.Errorf("old name %q", r.OldName)
	}
	e.mu.Lock()
	before := e.asked
	e.mu.Unlock()
	e.change(later, "/tasks/exit", func() { later.status = task.Status_STOPPED })
	expect(t, events, Stopped, "renamed", second.Process.Pid)
	e.mu.Lock()
	if e.asked != before {
		t.Errorf("%d documents read for an end", e.asked-before)
	}
	e.mu.Unlock()
	third := sleeper(t)
	kill(first)
	e.change(kept, "/tasks/start", func() { kept.pid = third.Process.Pid })
	expect(t, events, Stopped, "kept", first.Process.Pid)
	expect(t, events, Started, "kept", third.Process.Pid)
	e.server.Stop()
	if u := next(t, events); u.Kind != Unreachable {
		t.Fatalf("%s, want unreachable", u.Kind)
	}
	e.start(t)
	if r := next(t, events); r.Kind != Reachable {
		t.Fatalf("%s, want reachable", r.Kind)
	}
}

// What is no event of a container, or cut short, is nobody's.
func FuzzSubject(f *testing.F) {
	f.Add([]byte{0x0a, 0x03, 'a', 'b', 'c'})
	f.Add([]byte{0x10, 0x05, 0x0a, 0x03, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		id := subject(&types.Envelope{Namespace: "default", Event: &anypb.Any{Value: b}})
		if len(id) > len(b) {
			t.Errorf("%q of %d bytes", id, len(b))
		}
	})
}
