// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/exporter/json"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/loadgen"
)

func TestMain(m *testing.M) {
	lab.MaybeChild()
	loadgen.MaybeChild()
	testscript.Main(m, map[string]func(){
		"vethtrace": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScript runs the command-line stories of testdata/script.
func TestScript(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Values["kept"] = map[string]any{"repository": root}
			e.Setenv("NO_COLOR", "")
			e.Setenv("DOCKER_HOST", "unix://"+filepath.Join(e.WorkDir, "docker.sock"))
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "kprobes" { // this kernel lets functions be probed
				return false, fmt.Errorf("no condition %s", name)
			}
			_, err := os.Stat("/sys/bus/event_source/devices/kprobe/type")
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"only":    cmdOnly,
			"status":  cmdStatus,
			"oneline": cmdOneLine,
			"world":   cmdWorld,
			"endof":   cmdEndOf,
			"engine":  cmdEngine,
			"await":   cmdAwait,
			"valid":   cmdValid,

			"validresult":   cmdValidResult,
			"validtopology": cmdValidTopology,
			"validdoctor":   cmdValidDoctor,
			"sums":          cmdSums,
			"once":          cmdOnce,
			"held":          cmdHeld,
			"freed":         cmdFreed,
			"saved":         cmdSaved,
		},
	})
}

// cmdSaved copies a result that an older version wrote: saved NAME.
func cmdSaved(ts *testscript.TestScript, _ bool, args []string) {
	root, ok := ts.Value("kept").(map[string]any)["repository"].(string)
	if !ok || len(args) != 1 {
		ts.Fatalf("usage: saved NAME")
	}
	content, err := os.ReadFile(filepath.Join(root, "internal", "result", "testdata", args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content, 0o600))
}

// cmdStatus runs a command that must end with exactly that status: status 2 vethtrace.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// cmdOnly leaves nothing in PATH but that command: only vethtrace.
func cmdOnly(ts *testscript.TestScript, _ bool, args []string) {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		from := filepath.Join(dir, args[0])
		if _, err := os.Stat(from); err != nil {
			continue
		}
		bin := ts.MkAbs("only")
		ts.Check(os.Mkdir(bin, 0o700))
		ts.Check(os.Symlink(from, filepath.Join(bin, args[0])))
		ts.Setenv("PATH", bin)
		return
	}
	ts.Fatalf("no %s in PATH", args[0])
}

// cmdOneLine checks that the last command wrote one line on stderr and nothing on stdout.
func cmdOneLine(ts *testscript.TestScript, neg bool, _ []string) {
	out, msg := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if one := out == "" && strings.Count(msg, "\n") == 1 && strings.HasSuffix(msg, "\n"); one == neg {
		ts.Fatalf("stdout %q, stderr %q", out, msg)
	}
}

// cmdWorld makes a lab world under load and tells where its parts are: $HOSTNS,
// $NGINX and $OTHER (pids) and $WEB (pid, in host mode).
func cmdWorld(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithCancel(context.Background())
	w, err := lab.New(ctx, lab.Config{Names: []string{"nginx", "other"}})
	ts.Check(err)
	web, err := w.StartHostMode(ctx, hostModePort)
	ts.Check(err)
	var load sync.WaitGroup
	for _, port := range []int{publishedPort, hostModePort} {
		load.Go(func() {
			(&demoWorld{world: w}).load(ctx, fmt.Sprintf("http://%s:%d/", w.Host.IP4, port))
		})
	}
	ts.Defer(func() {
		cancel()
		load.Wait()
		ts.Check(w.Close())
	})
	ts.Setenv("HOSTNS", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), w.Host.NS.FD()))
	ts.Setenv("NGINX", strconv.Itoa(w.Container("nginx").PID))
	ts.Setenv("OTHER", strconv.Itoa(w.Container("other").PID))
	ts.Setenv("WEB", strconv.Itoa(web.PID))
	kept(ts)["world"] = w
}

// cmdEndOf ends a container of the world: endof nginx.
func cmdEndOf(ts *testscript.TestScript, _ bool, args []string) {
	w, ok := kept(ts)["world"].(*lab.World)
	if !ok || len(args) != 1 {
		ts.Fatalf("usage: world, then endof NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// Returns when the host's ends of its veths are gone: so when nobody holds the namespace.
	ts.Check(w.RemoveContainer(ctx, args[0]))
}

// kept is what a script keeps between its lines.
func kept(ts *testscript.TestScript) map[string]any {
	values, ok := ts.Value("kept").(map[string]any)
	if !ok {
		ts.Fatalf("no state: Setup makes it")
	}
	return values
}

// cmdAwait waits until a file has a line that matches: await FILE REGEXP.
func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	var got []byte
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		got, err = os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && pattern.Match(got) {
			return
		}
	}
	ts.Fatalf("%s has no %q after 30 s: %q, %v", args[0], args[1], got, err)
}

// cmdValid checks each line of a file (or stdout), or the whole of it, against
// docs/schema.json, and that our own reader takes it: valid FILE LINES.
func cmdValid(ts *testscript.TestScript, _ bool, args []string) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(repository(ts), "docs", "schema.json"))
	ts.Check(err)
	docs := documents(ts, args[0])
	if want := args[1]; want != "some" && strconv.Itoa(len(docs)) != want || len(docs) == 0 {
		ts.Fatalf("%d documents, want %s", len(docs), want)
	}
	for i, doc := range docs {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
		ts.Check(err)
		if err := schema.Validate(value); err != nil {
			ts.Fatalf("document %d: %v", i, err)
		}
		s, err := json.DecodeLine(doc)
		if err != nil {
			ts.Fatalf("document %d is not read back: %v", i, err)
		}
		if all := unforeseen(s); len(all) > 0 {
			ts.Fatalf("document %d: %s", i, strings.Join(all, "; "))
		}
	}
}

func repository(ts *testscript.TestScript) string {
	root, ok := kept(ts)["repository"].(string)
	if !ok {
		ts.Fatalf("where is the repository?")
	}
	return root
}

func documents(ts *testscript.TestScript, file string) []stdjson.RawMessage {
	decoder := stdjson.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	var docs []stdjson.RawMessage
	for decoder.More() {
		var doc stdjson.RawMessage
		ts.Check(decoder.Decode(&doc))
		docs = append(docs, doc)
	}
	return docs
}

// cmdSums checks that the accounts of a file's documents, added up over its
// lines, balance, and that packets went both ways: sums FILE.
func cmdSums(ts *testscript.TestScript, _ bool, args []string) {
	type account struct {
		Started, Cloned, Completed, Dropped, Merged, Evicted, Expired, Cut uint64
		InFlight                                                           uint64 `json:"in_flight"`
	}
	total := map[string]account{}
	for _, doc := range documents(ts, args[0]) {
		var read struct {
			Targets []struct {
				Name       string
				Accounting map[string]account
			}
		}
		ts.Check(stdjson.Unmarshal(doc, &read))
		for _, target := range read.Targets {
			for direction, a := range target.Accounting {
				sum := total[target.Name+" "+direction]
				sum.Started += a.Started
				sum.Cloned += a.Cloned
				sum.Completed += a.Completed
				sum.Dropped += a.Dropped
				sum.Merged += a.Merged
				sum.Evicted += a.Evicted
				sum.Expired += a.Expired
				sum.Cut += a.Cut
				sum.InFlight = a.InFlight // a state: the last one counts
				total[target.Name+" "+direction] = sum
			}
		}
	}
	for who, a := range total {
		if a.Started == 0 || a.Completed == 0 {
			ts.Fatalf("%s: no packets: %+v", who, a)
		}
		if a.Started+a.Cloned != a.Completed+a.Dropped+a.Merged+a.Evicted+a.Expired+a.Cut+a.InFlight {
			ts.Fatalf("%s: does not balance: %+v", who, a)
		}
	}
	if len(total) == 0 {
		ts.Fatalf("no targets")
	}
}

// cmdOnce checks that there are journeys, and each in one document only: once FILE.
func cmdOnce(ts *testscript.TestScript, _ bool, args []string) {
	seen := map[uint64]int{}
	for i, doc := range documents(ts, args[0]) {
		s, err := json.DecodeLine(doc)
		ts.Check(err)
		for _, j := range s.Journeys {
			if first, twice := seen[j.ID]; twice {
				ts.Fatalf("journey %d is in documents %d and %d", j.ID, first, i)
			}
			seen[j.ID] = i
		}
	}
	if len(seen) == 0 {
		ts.Fatalf("no journeys")
	}
}

// heldIDs are the kernel objects that a process holds.
type heldIDs struct {
	programs []ebpf.ProgramID
	maps     []ebpf.MapID
	links    []link.ID
}

// cmdHeld notes what the background process holds: held.
func cmdHeld(ts *testscript.TestScript, _ bool, _ []string) {
	var h heldIDs
	for _, background := range ts.BackgroundCmds() {
		dir := fmt.Sprintf("/proc/%d/fdinfo", background.Process.Pid)
		entries, err := os.ReadDir(dir)
		ts.Check(err)
		for _, entry := range entries {
			info, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			h.add(string(info))
		}
	}
	if len(h.programs) < 5 || len(h.links) < 10 || len(h.maps) < 5 {
		ts.Fatalf("holds too little to be tracing: %+v", h)
	}
	kept(ts)["held"] = h
}

func (h *heldIDs) add(fdinfo string) {
	ids := map[string]uint32{}
	for line := range strings.Lines(fdinfo) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
			ids[name] = uint32(id)
		}
	}
	switch {
	case ids["link_id"] != 0:
		h.links = append(h.links, link.ID(ids["link_id"]))
	case ids["map_id"] != 0:
		h.maps = append(h.maps, ebpf.MapID(ids["map_id"]))
	case ids["prog_id"] != 0:
		h.programs = append(h.programs, ebpf.ProgramID(ids["prog_id"]))
	}
}

// cmdFreed waits until the kernel has none of it any more, at most 5 s: freed.
func cmdFreed(ts *testscript.TestScript, _ bool, _ []string) {
	h, ok := kept(ts)["held"].(heldIDs)
	if !ok {
		ts.Fatalf("usage: held, then freed")
	}
	left := h
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = left.alive(); len(left.programs)+len(left.maps)+len(left.links) == 0 {
			return
		}
	}
	ts.Fatalf("after 5 s the kernel still has %+v", left)
}

func (h *heldIDs) alive() heldIDs {
	var left heldIDs
	for _, id := range h.programs {
		if p, err := ebpf.NewProgramFromID(id); !errors.Is(err, os.ErrNotExist) {
			_ = p.Close()
			left.programs = append(left.programs, id)
		}
	}
	for _, id := range h.maps {
		if m, err := ebpf.NewMapFromID(id); !errors.Is(err, os.ErrNotExist) {
			_ = m.Close()
			left.maps = append(left.maps, id)
		}
	}
	for _, id := range h.links {
		l, err := link.NewFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			_ = l.Close()
		}
		left.links = append(left.links, id)
	}
	return left
}
