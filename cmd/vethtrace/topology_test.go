// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// cmdValidTopology checks a document against its schema: validtopology stdout.
func cmdValidTopology(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: validtopology FILE")
	}
	root, ok := kept(ts)["repository"].(string)
	if !ok {
		ts.Fatalf("no repository")
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(root, "docs", "topology-schema.json"))
	ts.Check(err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(schema.Validate(doc))
}

// TestTopologyDocker is the wiring of a real engine: each mode, and ways that are
// then gone.
func TestTopologyDocker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	for _, args := range [][]string{
		{"network", "create", "appnet"},
		{"network", "create", "--internal", "closed"},
		{"run", "-d", "-p", "8080:80", "--name", "nginx", "nginx"},
		{"run", "-d", "--network", "container:nginx", "--name", "sidecar", "tools"},
		{"run", "-d", "--network", "appnet", "--name", "app", "tools"},
		{"network", "connect", "closed", "app"},
		{"run", "-d", "--network", "none", "--name", "alone", "tools"},
		{"run", "-d", "--network", "host", "--name", "hosted", "nginx"},
	} {
		if out, err := e.Docker(ctx, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	visit(ctx, t, e, "http://"+e.Host.IP4.String()+":8080/")
	visit(ctx, t, e, "http://"+e.Host.IP4.String()+":80/")
	ask := func(args ...string) wiring.Document {
		t.Helper()
		v := startVethtrace(t, e.Host, append([]string{"topology", "-o", "json", "--docker-host", "unix://" + e.Socket}, args...)...)
		if status := v.wait(t); status != exitDone {
			t.Fatalf("status %d: %s", status, v.messages(t))
		}
		var d wiring.Document
		if err := stdjson.NewDecoder(bytes.NewReader(v.out.Bytes())).Decode(&d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := ask()
	have := map[string]wiring.Target{}
	for _, target := range d.Targets {
		have[target.Name] = target
	}
	nginx := have["nginx"]
	if len(nginx.Interfaces) != 1 || nginx.Interfaces[0].Bridge != "docker0" || len(nginx.Aliases) != 1 || nginx.Aliases[0] != "sidecar" {
		t.Errorf("nginx: %+v", nginx)
	}
	agree(t, d)
	if len(nginx.Published) == 0 || nginx.Published[0].Accept == nil || len(nginx.Published[0].Proxies) != 1 || !strings.HasPrefix(nginx.Published[0].Without, "dropped by ") {
		t.Errorf("published: %+v", nginx.Published)
	}
	if app := have["app"]; len(app.Interfaces) != 2 || app.Mode != "appnet" {
		t.Errorf("app: %+v", app)
	}
	if alone := have["alone"]; len(alone.Interfaces) != 0 || !strings.Contains(alone.Means, "no device but lo") {
		t.Errorf("alone: %+v", alone)
	}
	if hosted := have["hosted"]; !strings.HasPrefix(hosted.Means, "host mode: no bridge") || len(hosted.Listens) == 0 {
		t.Errorf("hosted: %+v", hosted)
	}
	for _, b := range d.Bridges {
		if b.Network == nil || b.Network.Internal != (b.Network.Name == "closed") {
			t.Errorf("bridge %s: %+v", b.Device.Name, b.Network)
		}
	}
	for _, tt := range []struct{ from, to, kind, target string }{
		{e.Client.IP4.String(), ":8080/tcp", wiring.Delivered, "nginx"},
		{e.Host.IP4.String(), ":8080/tcp", wiring.Delivered, "nginx"},
		{"127.0.0.1", ":8080/tcp", wiring.Proxied, "nginx"},
		{"172.17.0.2", ":8080/tcp", wiring.Proxied, "nginx"},
		{e.Client.IP4.String(), ":80/tcp", wiring.Delivered, "hosted"},
		{e.Client.IP4.String(), ":81/tcp", wiring.NothingListens, ""},
		{"172.17.0.2", "172.18.0.2:80/tcp", wiring.Dropped, ""},
		{"172.17.0.2", e.Client.IP4.String() + ":80/tcp", wiring.Leaves, ""},
	} {
		way := ask("--from", tt.from, "--to", tt.to).Ways[0]
		if way.Verdict.Kind != tt.kind || way.Verdict.Target != tt.target {
			t.Errorf("%s to %s: %+v", tt.from, tt.to, way.Verdict)
		}
	}
	if nginx := ask("--container", "nginx"); len(nginx.Targets) != 1 {
		t.Errorf("%d targets, want nginx alone", len(nginx.Targets))
	}
}

// agree holds that the engine tells each endpoint's MAC, and that it is that of the device and of the bridge's table.
func agree(t *testing.T, d wiring.Document) {
	t.Helper()
	for _, target := range d.Targets {
		for _, in := range target.Interfaces {
			if len(in.Differs) > 0 {
				t.Errorf("%s: %q", target.Name, in.Differs)
			}
			if !slices.ContainsFunc(target.Networks, func(n wiring.Attachment) bool { return n.MAC == in.Device.MAC }) {
				t.Errorf("%s: no network has the MAC %s of %s: %+v", target.Name, in.Device.MAC, in.Device.Name, target.Networks)
			}
		}
	}
}
