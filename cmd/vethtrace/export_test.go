// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/lab"
)

// TestExport is the exporter on a real engine: what it tells, that counters
// never go back over a restart, that nothing which scrapers do disturbs it, and
// that series go.
func TestExport(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	e := startEngine(ctx, t, lab.WireVeth)
	docker := dockerOf(ctx, t, e)
	docker("run", "-d", "-p", "8080:80", "--label", "com.docker.compose.project"+"=shop", "--label", "com.docker.compose.service"+"=web", "--name", "nginx", "nginx")
	docker("run", "-d", "--label", "traced=no", "--name", "other", "tools")
	page := fmt.Sprintf("http://%s:8080/", e.Host.IP4)
	args := []string{"export", "--docker-host", "unix://" + e.Socket, "--grace", "8s", // longer than a restart
		"--slow", "1us", "--max-overhead", "0", "--log.level", "debug"}
	v := startVethtrace(t, e.Host, args...)
	s := newScraper(t, e.Host)
	v.await(t, "msg=attached")
	if status, _, text, err := s.get("/-/ready", ""); err != nil || status != http.StatusOK {
		t.Fatal(status, err, string(text))
	}
	end := watchCounters(t, s)
	visit(ctx, t, e, page)

	first := s.must(t)
	checkFirst(t, first)
	checkForms(t, s)

	// A hundred at once, beside some that hang; packets go on being seen.
	hang(t, e.Host, 20)
	checkParallel(t, s)
	visit(ctx, t, e, page)
	docker("restart", "-t", "0", "nginx")
	v.await(t, `msg="container is traced" name=nginx`)
	visit(ctx, t, e, page)
	s.until(t, "packets of all lives", func(f families) bool {
		return f.sum("vethtrace_packets_total", "container", "nginx", "direction", "ingress", "outcome", "completed") >= 3*visits
	})
	docker("rm", "-f", "other")
	s.until(t, "the series of a removed container go", func(f families) bool {
		return len(f.with("vethtrace_packets_total", "container", "other")) == 0 && len(f.with("vethtrace_target_info", "container", "other")) == 0
	})
	if n := end(); n < 20 {
		t.Errorf("only %d scrapes watched the counters", n)
	}

	// Killed and started again: counters begin anew, and say so.
	before := s.must(t)
	killed := time.Now()
	v.cmd.Process.Kill()
	v.wait(t)
	v = startVethtrace(t, e.Host, args...)
	v.await(t, "msg=attached")
	visit(ctx, t, e, page)
	after := s.must(t)
	if was, is := before.sum("vethtrace_packets_total"), after.sum("vethtrace_packets_total"); is >= was || is == 0 {
		t.Errorf("%v packets before, %v after it was killed", was, is)
	}
	for _, name := range []string{"vethtrace_packets_total", "vethtrace_hop_latency_seconds", "vethtrace_stamps_total"} {
		for _, m := range after[name].GetMetric() {
			created := m.GetCounter().GetCreatedTimestamp()
			if h := m.GetHistogram(); h != nil {
				created = h.GetCreatedTimestamp()
			}
			if !created.AsTime().After(killed) {
				t.Errorf("%s: created %v, killed %v", name, created.AsTime(), killed)
			}
		}
	}
	hang(t, e.Host, 2) // does not keep it from ending
	v.cmd.Process.Signal(syscall.SIGTERM)
	if status := v.wait(t); status != exitDone {
		t.Errorf("status %d: %s", status, v.messages(t))
	}
}

// checkFirst looks at what the exporter tells of a busy container.
func checkFirst(t *testing.T, f families) {
	t.Helper()
	if n := f.sum("vethtrace_packets_total", "container", "nginx", "direction", "ingress", "outcome", "completed"); n < visits {
		t.Errorf("%v packets", n)
	}
	info := f.with("vethtrace_target_info", "container", "nginx", "image", "nginx", "compose_project", "shop",
		"compose_service", "web", "mode", "bridge", "network", "bridge")
	if len(info) != 1 {
		t.Errorf("target_info %v", f["vethtrace_target_info"])
	}
	for _, name := range []string{"vethtrace_path_latency_seconds", "vethtrace_hop_latency_seconds"} {
		if f.sum(name, "container", "nginx", "direction", "egress") == 0 {
			t.Errorf("no %s", name)
		}
	}
	if n := f.sum("vethtrace_engine_up"); n != 1 {
		t.Errorf("engine up %v", n)
	}
	for _, hook := range []string{"port/egress", "device/ingress", "host/forward/first", "target/output/first", "netif_rx", "kfree_skb"} {
		if f.sum("vethtrace_hook_attached", "hook", hook) != 1 {
			t.Errorf("%s is not attached", hook)
		}
	}
	if n := f.sum("vethtrace_hook_links", "hook", "port/egress"); n != 2 { // of nginx and other
		t.Errorf("%v links of port/egress", n)
	}
	if f.sum("vethtrace_build_info") != 1 || f.sum("go_goroutines") == 0 || f.sum("process_open_fds") == 0 {
		t.Error("no metrics of the process")
	}
}

// checkForms scrapes in each form, and follows an exemplar to its journey.
func checkForms(t *testing.T, s *scraper) {
	t.Helper()
	if f, err := s.scrape(acceptText); err != nil || f.sum("vethtrace_hop_latency_seconds", "container", "nginx") == 0 {
		t.Errorf("text: %v", err)
	}
	_, header, body, err := s.get("/metrics", acceptOpenMetrics)
	if err != nil || !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(string(body), "# EOF\n") {
		t.Fatalf("OpenMetrics: %v %v", err, header)
	}
	_, id, found := strings.Cut(string(body), `# {journey_id="`)
	if !found {
		t.Fatal("no exemplar among journeys of 1 us or longer")
	}
	id, _, _ = strings.Cut(id, `"`)
	status, _, text, err := s.get("/journeys?id="+id, "")
	if err != nil || status != http.StatusOK || !strings.Contains(string(text), `"id": `+id) {
		t.Errorf("journey %s: %d %v %s", id, status, err, text)
	}
	native := s.must(t).with("vethtrace_hop_latency_seconds", "container", "nginx")
	if len(native) == 0 || len(native[0].GetHistogram().GetPositiveSpan()) == 0 || len(native[0].GetHistogram().GetBucket()) == 0 {
		t.Error("protobuf has not both forms")
	}
}

// checkParallel scrapes a hundred times at once.
func checkParallel(t *testing.T, s *scraper) {
	t.Helper()
	var wait sync.WaitGroup
	var bad atomic.Int64
	for i := range 100 {
		wait.Go(func() {
			accept := []string{acceptText, acceptOpenMetrics, acceptProtobuf}[i%3]
			if status, _, body, err := s.get("/metrics", accept); err != nil || status != http.StatusOK || len(body) == 0 {
				bad.Add(1)
			}
		})
	}
	wait.Wait()
	if n := bad.Load(); n > 0 {
		t.Errorf("%d of 100 scrapes failed", n)
	}
}

// TestExportEngineAway: the exporter starts without an engine and waits for it;
// when it goes away tracing goes on, a gauge says so, and it is found again.
func TestExportEngineAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w, err := lab.New(ctx, lab.Config{Names: []string{"nginx", "other"}})
	if err != nil {
		t.Fatal(err)
	}
	var load sync.WaitGroup
	load.Go(func() {
		(&demoWorld{world: w}).load(ctx, fmt.Sprintf("http://%s:%d/", w.Host.IP4, publishedPort))
	})
	defer func() {
		cancel()
		load.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	containers := []fakeContainer{
		{id: strings.Repeat("a1", 32), name: "nginx", pid: w.Container("nginx").PID},
		{id: strings.Repeat("b2", 32), name: "other", pid: w.Container("other").PID},
	}
	v := startVethtrace(t, w.Host, "export", "--docker-host", "unix://"+socket, "--container", "nginx", "--max-overhead", "10%")
	v.await(t, "msg=attached")
	s := newScraper(t, w.Host)
	s.until(t, "no engine yet", func(f families) bool {
		return f["vethtrace_engine_up"] != nil && f.sum("vethtrace_engine_up") == 0 && f.sum("vethtrace_targets") == 0
	})
	completed := func(f families) float64 {
		return f.sum("vethtrace_packets_total", "container", "nginx", "outcome", "completed")
	}
	engine := serveFake(t, socket, containers)
	f := s.until(t, "the engine is there", func(f families) bool {
		return f.sum("vethtrace_engine_up") == 1 && f.sum("vethtrace_targets") == 1 && completed(f) > 0
	})
	if len(f.with("vethtrace_target_info", "container", "nginx", "image", "test")) != 1 || len(f.with("vethtrace_target_info")) != 1 {
		t.Errorf("target_info: %v", f["vethtrace_target_info"])
	}
	engine.Close()
	f = s.until(t, "the engine is away", func(f families) bool { return f.sum("vethtrace_engine_up") == 0 })
	before := completed(f)
	s.until(t, "tracing goes on", func(f families) bool {
		return f.sum("vethtrace_engine_up") == 0 && f.sum("vethtrace_targets") == 1 && completed(f) > before
	})
	serveFake(t, socket, containers)
	s.until(t, "the engine is back", func(f families) bool {
		return f.sum("vethtrace_engine_up") == 1 && f.sum("vethtrace_targets") == 1
	})
	v.cmd.Process.Signal(os.Interrupt)
	if status := v.wait(t); status != exitDone {
		t.Errorf("status %d: %s", status, v.messages(t))
	}
}

// serveFake starts a fake engine on a socket.
func serveFake(t *testing.T, socket string, containers []fakeContainer) *http.Server {
	t.Helper()
	_ = os.Remove(socket) // of one that was there before
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &fakeEngine{containers: containers}, ReadHeaderTimeout: 30 * time.Second}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return server
}
