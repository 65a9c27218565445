// SPDX-License-Identifier: Apache-2.0

package container

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("CONTAINER_TEST_SLEEP") != "" { // we are the fake docker-proxy
		fmt.Println("ready")
		time.Sleep(time.Minute)
		return
	}
	goleak.VerifyTestMain(m)
}

// engine is a fake of Docker's API on a unix socket. Its documents are of real
// engines; process ids and what changes are the test's.
type engine struct {
	t      *testing.T
	socket string
	server *http.Server

	mu         sync.Mutex
	containers []*fake
	networks   []any
	fail       bool
	podman     bool // says that it is Podman
	inspected  int
	listed     int
	methods    map[string]bool
	streams    map[chan string]bool
}

// fake is a container of the engine.
type fake struct {
	id, name, state string
	doc             map[string]any
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{
		t: t, socket: filepath.Join(t.TempDir(), "docker.sock"),
		methods: map[string]bool{}, streams: map[chan string]bool{},
	}
	for _, f := range []string{"networks-default.json", "networks-many.json", "networks-podman.json"} {
		var list []any
		load(t, f, &list)
		e.networks = append(e.networks, list...)
	}
	e.start()
	t.Cleanup(e.stop)
	return e
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// start listens; after stop it does so again.
func (e *engine) start() {
	e.t.Helper()
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		e.t.Fatal(err)
	}
	e.server = &http.Server{Handler: e}
	go e.server.Serve(l)
}

// stop cuts all connections, as an engine that dies.
func (e *engine) stop() { e.server.Close() }

// add makes a container of a document, with the process of the test's choice.
func (e *engine) add(file string, pid int) *fake {
	e.t.Helper()
	var raw json.RawMessage
	load(e.t, file, &raw)
	var doc map[string]any
	if raw[0] == '[' {
		var list []map[string]any
		load(e.t, file, &list)
		doc = list[0]
	} else {
		load(e.t, file, &doc)
	}
	f := &fake{id: doc["Id"].(string), name: strings.TrimPrefix(doc["Name"].(string), "/"), state: "running", doc: doc}
	f.setPID(pid)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers = append(e.containers, f)
	return f
}

func (f *fake) setPID(pid int) {
	state := f.doc["State"].(map[string]any)
	state["Pid"], state["Running"], state["Status"] = pid, pid != 0, f.state
	state["StartedAt"] = time.Now().Format(time.RFC3339Nano)
}

// change changes a container and sends an event.
func (e *engine) change(f *fake, action string, how func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	how()
	f.doc["Name"] = "/" + f.name
	event := fmt.Sprintf(`{"Type":"container","Action":%q,"Actor":{"ID":%q,"Attributes":{"name":%q}},"time":1}`, action, f.id, f.name)
	for s := range e.streams {
		s <- event
	}
}

func (e *engine) die(f *fake) {
	e.change(f, "die", func() { f.state = "exited"; f.setPID(0) })
}

func (e *engine) launch(f *fake, pid int) {
	e.change(f, "start", func() { f.state = "running"; f.setPID(pid) })
}

// ServeHTTP answers as API 1.41 (Docker 20.10) does.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	e.mu.Lock()
	e.methods[r.Method] = true
	failing := e.fail
	e.mu.Unlock()
	switch {
	case path == "/_ping":
		fmt.Fprint(w, "OK")
	case failing:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"message":"the daemon is confused"}`)
	case path == "/version" && e.isPodman():
		fmt.Fprint(w, `{"Version":"4.3.1","ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}`)
	case path == "/version":
		fmt.Fprint(w, `{"Version":"20.10.24","ApiVersion":"1.41","Components":[{"Name":"Engine","Version":"20.10.24"}]}`)
	case path == "/v4.0.0/libpod/networks/json":
		fmt.Fprint(w, `[{"name":"podman","id":"2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9","driver":"bridge","network_interface":"podman0"}]`)
	case path == "/containers/json":
		e.list(w, r.URL.Query().Get("all") == "1")
	case path == "/networks":
		e.mu.Lock()
		defer e.mu.Unlock()
		json.NewEncoder(w).Encode(e.networks)
	case path == "/events":
		e.events(w, r)
	default:
		e.inspect(w, strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json"))
	}
}

func (e *engine) isPodman() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.podman
}

func (e *engine) list(w http.ResponseWriter, all bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listed++
	list := []any{}
	for _, f := range e.containers {
		if all || f.state == "running" || f.state == "paused" {
			list = append(list, map[string]any{"Id": f.id, "Names": []string{"/elsewhere/" + f.name, "/" + f.name}, "State": f.state})
		}
	}
	json.NewEncoder(w).Encode(list)
}

func (e *engine) inspect(w http.ResponseWriter, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inspected++
	for _, f := range e.containers {
		if f.id == id {
			json.NewEncoder(w).Encode(f.doc)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprintf(w, `{"message":"No such container: %s"}`, id)
}

func (e *engine) events(w http.ResponseWriter, r *http.Request) {
	stream := make(chan string, 1000)
	e.mu.Lock()
	e.streams[stream] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.streams, stream)
	}()
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-stream:
			fmt.Fprintln(w, event)
			w.(http.Flusher).Flush()
		}
	}
}

func (e *engine) remove(f *fake) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.containers {
		if e.containers[i] == f {
			e.containers = append(e.containers[:i], e.containers[i+1:]...)
			return
		}
	}
}

func (e *engine) client() *Docker {
	e.t.Helper()
	d, err := NewDocker(Config{Host: "unix://" + e.socket})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { d.Close() })
	return d
}

// sleeper starts a process that does nothing, and returns it; kill ends it.
func sleeper(t *testing.T, adapt ...func(*exec.Cmd)) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	for _, a := range adapt {
		a(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

// isolated starts a sleeper in a network namespace of its own, and returns its id.
func isolated(t *testing.T) int {
	t.Helper()
	return sleeper(t, func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} }).Process.Pid
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}
