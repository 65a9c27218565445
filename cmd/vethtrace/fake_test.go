// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// fakeEngine answers Docker's API for containers that stand for processes.
type fakeEngine struct {
	containers []fakeContainer
}

type fakeContainer struct {
	id, name string
	pid      int // 0: not running
}

// cmdEngine starts an engine on $WORK/docker.sock, with containers: engine nginx=4711 stopped=0.
func cmdEngine(ts *testscript.TestScript, _ bool, args []string) {
	var e fakeEngine
	for i, arg := range args {
		name, pid, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(pid)
		ts.Check(err)
		e.containers = append(e.containers, fakeContainer{id: strings.Repeat(fmt.Sprintf("%02x", 0xa0+i), 32), name: name, pid: n})
	}
	listener, err := net.Listen("unix", filepath.Join(ts.Getenv("WORK"), "docker.sock"))
	ts.Check(err)
	server := &http.Server{Handler: &e, ReadHeaderTimeout: time.Second}
	go server.Serve(listener)
	ts.Defer(func() { server.Close() })
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.WriteHeader(http.StatusMethodNotAllowed) // we only read
	case path == "/_ping":
		fmt.Fprint(w, "OK")
	case path == "/containers/json":
		e.list(w, r.URL.Query().Get("all") == "1")
	case path == "/networks":
		fmt.Fprint(w, "[]")
	case path == "/events":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		e.inspect(w, strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json"))
	}
}

func (e *fakeEngine) list(w http.ResponseWriter, all bool) {
	list := []any{}
	for _, c := range e.containers {
		if all || c.pid != 0 {
			list = append(list, map[string]any{"Id": c.id, "Names": []string{"/" + c.name}, "State": c.state()})
		}
	}
	json.NewEncoder(w).Encode(list)
}

func (c fakeContainer) state() string {
	if c.pid == 0 {
		return "exited"
	}
	return "running"
}

func (e *fakeEngine) inspect(w http.ResponseWriter, id string) {
	for _, c := range e.containers {
		if c.id != id {
			continue
		}
		json.NewEncoder(w).Encode(map[string]any{
			"Id": c.id, "Name": "/" + c.name,
			"State":      map[string]any{"Status": c.state(), "Running": c.pid != 0, "Pid": c.pid},
			"Config":     map[string]any{"Image": "test"},
			"HostConfig": map[string]any{"NetworkMode": "default"},
			"NetworkSettings": map[string]any{
				"Ports": map[string]any{"80/tcp": []any{map[string]any{"HostIp": "0.0.0.0", "HostPort": "8080"}}},
				"Networks": map[string]any{"bridge": map[string]any{
					"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1", "EndpointID": "ee",
				}},
			},
		})
		return
	}
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, `{"message":"No such container"}`)
}
