// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// THE list holds together: names once, groups that exist, tests that exist.
func TestList(t *testing.T) {
	names := map[string]bool{}
	for _, k := range Kernels() {
		if names[k.Name] {
			t.Errorf("%s twice", k.Name)
		}
		names[k.Name] = true
		if _, err := k.imagePattern(); err != nil {
			t.Error(err)
		}
		if groups, err := NewRunner(Config{}).groups(k, k.Groups); err != nil || len(groups) != len(k.Groups) {
			t.Errorf("%s: %d groups, %v", k.Name, len(groups), err)
		}
		inTest, err := NewRunner(Config{}).groups(k, k.InTest)
		if err != nil {
			t.Error(err)
		}
		for _, g := range inTest {
			if !slices.Contains(k.Groups, g.Name) {
				t.Errorf("%s: make test runs %s, make vm does not", k.Name, g.Name)
			}
			whole := Groups()[slices.IndexFunc(Groups(), func(of Group) bool { return of.Name == g.Name })]
			for _, test := range g.Tests {
				if name, _, _ := strings.Cut(test, "/"); !slices.Contains(whole.Tests, name) {
					t.Errorf("%s: group %s has no %s", k.Name, g.Name, name)
				}
			}
		}
	}
	for _, g := range Groups() {
		files, err := filepath.Glob(filepath.Join("..", "..", g.Package, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var source strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
		for _, test := range g.Tests {
			if !strings.Contains(source.String(), "\nfunc "+test+"(t *testing.T)") {
				t.Errorf("group %s: package %s has no %s", g.Name, g.Package, test)
			}
		}
	}
}

// What cpio reads from an archive is what was put into it.
func TestArchive(t *testing.T) {
	var raw bytes.Buffer
	a := newArchive(&raw)
	files := map[string]string{"/a/b/c": "12345", "/a/d": "", "/e": strings.Repeat("x", 4097)}
	for name, content := range files {
		a.file(name, []byte(content))
	}
	a.link("/a/l", "b/c")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &raw
	if _, err := run(cmd); err != nil {
		t.Fatal(err)
	}
	files["/a/l"] = files["/a/b/c"]
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, want %d (%v)", name, len(got), len(want), err)
		}
	}
}

// A writer that fails is told at the end.
func TestArchiveThatCannotBeWritten(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	a := newArchive(w)
	a.file("/a", []byte("1"))
	if err := a.close(); err == nil {
		t.Error("no error")
	}
}

// A group passes when each of its tests says so, and its process too.
func TestJudge(t *testing.T) {
	g := Group{Tests: []string{"TestA", "TestB"}}
	end := func(m wire.Message) wire.Message { m.Kind = wire.End; return m }
	both := []string{"--- PASS: TestA (0.00s)", "    --- PASS: TestA/x (0.00s)", "--- PASS: TestB (0.10s)", "PASS"}
	for _, c := range []struct {
		name string
		ran  *ran
		want string // in the error; "": it passes
	}{
		{"passes", &ran{output: both, end: end(wire.Message{})}, ""},
		{"never", nil, "not run"},
		{"guest ended", &ran{output: both}, "not run"},
		{"status", &ran{output: both, end: end(wire.Message{Status: 1, Text: "exit status 1"})}, "exit status 1"},
		{"too long", &ran{output: both, end: end(wire.Message{Limit: true, Status: -1})}, "killed after"},
		{"missing", &ran{output: both[:2], end: end(wire.Message{})}, "TestB did not run"},
		{"skipped", &ran{output: append([]string{"--- SKIP: TestB (0.00s)"}, both[:2]...), end: end(wire.Message{})}, "TestB: skip"},
		{"failed", &ran{output: append([]string{"--- FAIL: TestB (0.00s)"}, both[:2]...), end: end(wire.Message{Status: 1})}, "TestB: fail"},
		{"only inside", &ran{output: []string{both[0], "    --- PASS: TestB (0.00s)"}, end: end(wire.Message{})}, "TestB did not run"},
	} {
		err := judge(g, c.ran)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Parts of tests are run and judged as such.
func TestParts(t *testing.T) {
	g := Group{Tests: []string{"TestA/x/y", "TestB"}}
	if got, want := g.pattern(), "^TestA$/^x$/^y$|^TestB$"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	end := wire.Message{Kind: wire.End}
	output := []string{"--- PASS: TestA (0.00s)", "    --- PASS: TestA/x (0.00s)", "        --- PASS: TestA/x/y (0.00s)", "--- PASS: TestB (0.10s)"}
	if err := judge(g, &ran{output: output, end: end}); err != nil {
		t.Error(err)
	}
	if err := judge(g, &ran{output: slices.Delete(output, 2, 3), end: end}); err == nil || !strings.Contains(err.Error(), "TestA/x/y did not run") {
		t.Errorf("%v", err)
	}
}

// What a guest's serial port gives is told apart from what others write to it.
func TestWire(t *testing.T) {
	in := "\x1b[2Jfirmware\r\n{\"kind\":\"booted\",\"text\":\"6.1\"}\r\n{}\nnull\n{\"kind\":\"end\",\"name\":\"a\",\"status\":3}\n"
	var got []wire.Message
	var other []string
	if err := wire.Read(strings.NewReader(in), func(m wire.Message) { got = append(got, m) }, func(s string) { other = append(other, s) }); err != nil {
		t.Fatal(err)
	}
	want := []wire.Message{{Kind: wire.Booted, Text: "6.1"}, {Kind: wire.End, Name: "a", Status: 3}}
	if !slices.Equal(got, want) || len(other) != 3 {
		t.Errorf("%+v, %q", got, other)
	}
}

// example has a result of each kernel of the list.
func example() []Result {
	var results []Result
	for _, k := range Kernels() {
		results = append(results, Result{
			Kernel: k.Name, Release: k.Name + ".0-test", Tests: k.Groups,
			Hooks:     []Hook{{Name: "uplink/ingress", Provider: "tcx"}, {Name: "netif_rx"}},
			Functions: []doctor.Attempt{{Provider: "first", Error: "no"}, {Provider: "second"}, {Provider: "third"}},
			Programs:  []Program{{Name: "vt_a", Instructions: 1234}, {Name: "vt_b", Error: "invalid | argument"}},
		})
	}
	return results
}

func TestPage(t *testing.T) {
	page, err := Page(example())
	if err != nil {
		t.Fatal(err)
	}
	cells := func(cell string) string { return strings.Repeat(" "+cell+" |", len(Kernels())) }
	for _, want := range []string{
		"| `uplink/ingress` |" + cells("tcx"), "| `netif_rx` |" + cells("-"), "| `first` |" + cells("-"), "| `second` |" + cells("**taken**"),
		"| `third` |" + cells("works"), "| `vt_a` |" + cells("1234"), "| `vt_b` |" + cells("-"), "| 6.12 | `vt_b` | invalid \\| argument |",
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no line %q in\n%s", want, page)
		}
	}
}

// A kernel of which nothing is recorded is named, and has no column.
func TestPageWithoutAKernel(t *testing.T) {
	page, err := Page(example()[1:])
	if err != nil {
		t.Fatal(err)
	}
	missing := Kernels()[0]
	if !strings.Contains(page, "| "+missing.Name+" | "+missing.Users+" | not recorded yet |") {
		t.Errorf("%s is not named in\n%s", missing.Name, page)
	}
	if want := "| `vt_a` |" + strings.Repeat(" 1234 |", len(Kernels())-1) + "\n"; !strings.Contains(page, want) {
		t.Errorf("no line %q in\n%s", want, page)
	}
}

// Nothing recorded at all, and a program near the limit, are errors.
func TestPageThatCannotBe(t *testing.T) {
	if _, err := Page(nil); err == nil || !strings.Contains(err.Error(), "nothing is recorded") {
		t.Errorf("%v", err)
	}
	near := example()
	near[0].Programs[0].Instructions = limit/2 + 1
	if _, err := Page(near); err == nil || !strings.Contains(err.Error(), "500001 instructions of vt_a") {
		t.Errorf("%v", err)
	}
}

// A kernel that takes the main object rejects no program of it but some of those of functions.
func TestRejected(t *testing.T) {
	call := Program{Name: "vt_call_session", Error: "no"}
	if err := rejected([]Program{{Name: "vt_a", Instructions: 1}, call, {Name: FallbackPrefix + "vt_a", Error: "no"}}); err != nil {
		t.Error(err)
	}
	if err := rejected([]Program{{Name: "vt_a", Error: "no"}, call}); err == nil || strings.Contains(err.Error(), "call") {
		t.Errorf("%v", err)
	}
	if rejected(nil) == nil {
		t.Error("no program is no error")
	}
}

// Results of kernels that were run replace older ones; those of others stay, in the list's order.
func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	all := example()
	if err := Record(file, []Result{all[2], all[0], {Kernel: "2.4"}}); err != nil {
		t.Fatal(err)
	}
	newer := all[0]
	newer.Release = "newer"
	if err := Record(file, []Result{newer}); err != nil {
		t.Fatal(err)
	}
	got, err := ReadResults(file)
	if err != nil || len(got) != 2 || got[0].Release != "newer" || got[1].Kernel != all[2].Kernel {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadResults(file); err == nil {
		t.Error("a broken file is no error")
	}
}

// Modules come behind those that they depend on; what is built in needs none.
func TestKeepModules(t *testing.T) {
	dir := t.TempDir()
	module := func(name, depends string) string {
		source, file := filepath.Join(dir, name+".s"), filepath.Join(dir, name+".ko")
		text := ".section .modinfo,\"a\"\n.asciz \"license=GPL\"\n.asciz \"depends=" + depends + "\"\n"
		if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := run(exec.Command("clang-19", "-c", "-target", "x86_64-linux-gnu", "-o", file, source)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	f := found{builtin: map[string]bool{"crc32c": true}, modules: map[string]string{
		"bridge": module("bridge", "stp,llc,crc32c"), "stp": module("stp", "llc"), "llc": module("llc", ""), "other": module("other", ""),
		"br_netfilter": module("br-netfilter", "bridge"),
	}}
	if _, err := run(exec.Command("xz", f.modules["llc"])); err != nil {
		t.Fatal(err)
	}
	f.modules["llc"] += ".xz"
	to := t.TempDir()
	if err := f.keepModules(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	order, err := os.ReadFile(filepath.Join(to, "order"))
	if err != nil || strings.Join(strings.Fields(string(order)), " ") != "llc.ko stp.ko bridge.ko br_netfilter.ko" {
		t.Errorf("%s, %v", order, err)
	}
	f.builtin = nil
	if err := f.keepModules(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "bridge depends on crc32c") {
		t.Errorf("%v", err)
	}
}

// A group that fails is run again; what counts is how that went, and both are told.
func TestAgain(t *testing.T) {
	var out bytes.Buffer
	g := Group{Name: "g", Package: "p", Tests: []string{"TestA"}}
	s := session{kernel: Kernel{Name: "6.1"}, groups: []Group{g}, out: &out, runs: map[string]*ran{}}
	for _, m := range []wire.Message{
		{Kind: wire.Begin, Name: "g"},
		{Kind: wire.Output, Name: "g", Text: "--- FAIL: TestA (0.00s)"},
		{Kind: wire.End, Name: "g", Status: 1, Text: "exit status 1"},
		{Kind: wire.Begin, Name: "g"},
		{Kind: wire.Output, Name: "g", Text: "--- PASS: TestA (0.00s)"},
		{Kind: wire.End, Name: "g"},
	} {
		s.take(m)
	}
	if err := judge(g, s.runs["g"]); err != nil {
		t.Error(err)
	}
	told := out.String()
	for _, want := range []string{"--- FAIL: TestA", "FAIL\t6.1\tp\tg: TestA: fail", "again\t6.1\tg\n", "ok\t6.1\tp\tg: 1 tests"} {
		i := strings.Index(told, want)
		if i < 0 {
			t.Fatalf("not told, or not in this order: %q in %q", want, out.String())
		}
		told = told[i:]
	}
}
