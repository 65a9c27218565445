// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// spaceHeader names the namespace of a question.
	spaceHeader = "containerd-namespace"
	// defaultSpace is that of ctr and nerdctl.
	defaultSpace = "default"
	// maxAnswer is the most bytes of one answer; containerd sends no more.
	maxAnswer = 16 << 20
)

// Containerd asks containerd, in all of its namespaces. It only reads. What it
// does not know itself, networks and ports, comes from what CNI has kept.
type Containerd struct {
	conn  *grpc.ClientConn
	host  string
	cni   cniStore
	skips func(space string) bool // namespaces that others tell of; nil: none
}

// NewContainerd makes a resolver. It does not connect yet: a containerd that
// can't be reached is an *EngineError of the first question. Close it after use.
func NewContainerd(cfg Config) (*Containerd, error) {
	path := strings.TrimPrefix(cmp.Or(cfg.Host, os.Getenv(envContainerdHost), containerdSocket), "unix://")
	host := "unix://" + path
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, &EngineError{Host: host, Err: err}
	}
	return &Containerd{conn: conn, host: host, cni: defaultCNI()}, nil
}

// Host is the engine's address.
func (d *Containerd) Host() string { return d.host }

// Close ends the connection.
func (d *Containerd) Close() error {
	if err := d.conn.Close(); err != nil {
		return fmt.Errorf("close the engine's client: %w", err)
	}
	return nil
}

// fails makes an error of the engine's.
func (d *Containerd) fails(err error) error {
	if s, ok := status.FromError(err); ok {
		err = errors.New(s.Message())
	}
	return &EngineError{Host: d.host, Err: err}
}

// in asks in a namespace, for as long as a question may take.
func in(ctx context.Context, space string) (context.Context, context.CancelFunc) {
	return context.WithTimeout(metadata.AppendToOutgoingContext(ctx, spaceHeader, space), requestTimeout)
}

// spaces lists the namespaces.
func (d *Containerd) spaces(ctx context.Context) ([]string, error) {
	ctx, cancel := in(ctx, defaultSpace)
	defer cancel()
	r, err := namespaces.NewNamespacesClient(d.conn).List(ctx, &namespaces.ListNamespacesRequest{})
	if err != nil {
		return nil, d.fails(err)
	}
	var list []string
	for _, n := range r.GetNamespaces() {
		if d.skips == nil || !d.skips(n.GetName()) {
			list = append(list, n.GetName())
		}
	}
	slices.Sort(list)
	return list, nil
}

// idOf makes an id that no other namespace has: ids are told apart within one
// only. The long random ones of nerdctl, Docker and Kubernetes are left alone.
func idOf(space, id string) string {
	if space == defaultSpace || len(id) == 64 {
		return id
	}
	return space + "/" + id
}

// unit is a container of a namespace.
type unit struct {
	space, id string
	pid       int
	doc       *containers.Container // nil where it was not asked for
}

// running lists the containers with a process, by key.
func (d *Containerd) running(ctx context.Context) ([]unit, error) {
	spaces, err := d.spaces(ctx)
	if err != nil {
		return nil, err
	}
	var all []unit
	for _, space := range spaces {
		list, err := d.tasks(ctx, space)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (d *Containerd) tasks(ctx context.Context, space string) ([]unit, error) {
	ctx, cancel := in(ctx, space)
	defer cancel()
	r, err := tasks.NewTasksClient(d.conn).List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, d.fails(err)
	}
	var list []unit
	for _, t := range r.GetTasks() {
		switch t.GetStatus() {
		case task.Status_RUNNING, task.Status_PAUSED, task.Status_PAUSING:
			list = append(list, unit{space: space, id: cmp.Or(t.GetID(), t.GetContainerID()), pid: int(t.GetPid())})
		case task.Status_UNKNOWN, task.Status_CREATED, task.Status_STOPPED:
		}
	}
	slices.SortFunc(list, func(a, b unit) int { return cmp.Compare(a.id, b.id) })
	return list, nil
}

// every lists all containers of all namespaces, with their documents.
func (d *Containerd) every(ctx context.Context) ([]unit, error) {
	spaces, err := d.spaces(ctx)
	if err != nil {
		return nil, err
	}
	var all []unit
	for _, space := range spaces {
		list, err := d.documents(ctx, space)
		if err != nil {
			return nil, err
		}
		runs, err := d.tasks(ctx, space)
		if err != nil {
			return nil, err
		}
		for i := range list {
			for _, r := range runs {
				if r.id == list[i].id {
					list[i].pid = r.pid
				}
			}
		}
		all = append(all, list...)
	}
	return all, nil
}

// documents reads the containers of a namespace one by one: together they may
// be more than one answer holds.
func (d *Containerd) documents(ctx context.Context, space string) ([]unit, error) {
	ctx, cancel := in(ctx, space)
	defer cancel()
	stream, err := containers.NewContainersClient(d.conn).ListStream(ctx, &containers.ListContainersRequest{})
	if err != nil {
		return nil, d.fails(err)
	}
	var list []unit
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, d.fails(err)
		}
		list = append(list, unit{space: space, id: m.GetContainer().GetID(), doc: m.GetContainer()})
	}
}

// Names implements Engine.
func (d *Containerd) Names(ctx context.Context) ([]string, error) {
	all, err := d.every(ctx)
	if err != nil {
		return nil, err
	}
	refs, _ := index(all)
	return sorted(refs), nil
}

// index makes names of units, and finds these by id.
func index(all []unit) ([]ref, map[string]unit) {
	byID := map[string]unit{}
	var refs []ref
	for _, u := range all {
		r := ref{id: idOf(u.space, u.id), state: "stopped"}
		if u.doc != nil {
			r.name = nameIn(u.doc)
			r.names = []string{u.id}
		}
		if u.pid != 0 {
			r.state = stateRunning
		}
		refs, byID[r.id] = append(refs, r), u
	}
	return refs, byID
}

// List implements Engine.
func (d *Containerd) List(ctx context.Context) ([]Container, error) {
	now, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	return describeAll(ctx, now)
}

// Find implements Engine.
func (d *Containerd) Find(ctx context.Context, nameOrID string) (Container, error) {
	all, err := d.every(ctx)
	if err != nil {
		return Container{}, err
	}
	refs, byID := index(all)
	r, err := choose(refs, nameOrID)
	if err != nil {
		return Container{}, err
	}
	if !r.runs() {
		return Container{}, &NotRunningError{Name: r.name, State: r.state}
	}
	u := byID[r.id]
	return d.describe(u, d.cni.read())
}

// look implements source.
func (d *Containerd) look(ctx context.Context) (running, error) {
	all, err := d.running(ctx)
	if err != nil {
		return running{}, err
	}
	refs, byID := index(all)
	var kept []attachment
	read := false
	return running{refs: refs, inspect: func(ctx context.Context, r ref) (Container, error) {
		if !read {
			kept, read = d.cni.read(), true
		}
		u := byID[r.id]
		var err error
		if u.doc, err = d.document(ctx, u); err != nil {
			return Container{}, err
		}
		return d.describe(u, kept)
	}}, nil
}

func (d *Containerd) document(ctx context.Context, u unit) (*containers.Container, error) {
	ctx, cancel := in(ctx, u.space)
	defer cancel()
	r, err := containers.NewContainersClient(d.conn).Get(ctx, &containers.GetContainerRequest{ID: u.id})
	if status.Code(err) == codes.NotFound {
		return nil, fmt.Errorf("inspect container %s: %w", short(u.id), errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, d.fails(err)
	}
	return r.GetContainer(), nil
}

// Networks implements Engine: those that CNI is configured for, or was when it
// connected a container.
func (d *Containerd) Networks(context.Context) ([]NetworkInfo, error) {
	return d.cni.networks(), nil
}

// Watch implements Engine.
func (d *Containerd) Watch(ctx context.Context) <-chan Event { return watchSource(ctx, d) }

// subscribe implements source.
func (d *Containerd) subscribe(ctx context.Context) func() (string, error) {
	stream, err := events.NewEventsClient(d.conn).Subscribe(ctx, &events.SubscribeRequest{Filters: []string{
		`topic=="/tasks/start"`, `topic=="/tasks/exit"`, `topic=="/tasks/delete"`, `topic=="/containers/update"`,
	}})
	return func() (string, error) {
		if err != nil {
			return "", err
		}
		e, err := stream.Recv()
		if err != nil {
			return "", errors.New(status.Convert(err).Message())
		}
		return subject(e), nil
	}
}

// pauses: that events are asked for says nothing of when they begin to be kept,
// so what runs is looked at again.
func (d *Containerd) pauses() []time.Duration {
	return []time.Duration{300 * time.Millisecond, 3 * time.Second, 30 * time.Second}
}

// subject is the id of the container that an event is about: the first field of
// each of these.
func subject(e *types.Envelope) string {
	b := e.GetEvent().GetValue()
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ""
		}
		b = b[n:]
		if number == 1 && kind == protowire.BytesType {
			id, n := protowire.ConsumeString(b)
			if n < 0 {
				return ""
			}
			return idOf(e.GetNamespace(), id)
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return ""
		}
		b = b[n:]
	}
	return ""
}
