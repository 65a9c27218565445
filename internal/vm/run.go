// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// Limits of time, which only what hangs reaches.
const (
	runLimit   = 10 * time.Minute // of a program in a guest
	guestLimit = 40 * time.Minute // of a guest
)

// Names of the runs that are no tests.
const (
	runDoctor = "vethtrace doctor"
	runCost   = "verifier"
)

// Config says what to run.
type Config struct {
	Root  string // of the module
	Work  string // directory for what is built, and for consoles of guests
	Store *Store
	Out   io.Writer
	Tests []Group // instead of those of the list
}

// Runner runs guests, one at a time.
type Runner struct {
	cfg   Config
	built map[string]string // files by architecture and name in the guest, but test binaries
	tests map[string]string // test binaries by architecture and package
}

// NewRunner returns a Runner.
func NewRunner(cfg Config) *Runner {
	return &Runner{cfg: cfg, built: map[string]string{}, tests: map[string]string{}}
}

// ran is a run in a guest.
type ran struct {
	end            wire.Message
	stdout, output []string // lines; output: of both
}

// Run boots a kernel, runs what the list says, and tells how it went. What is
// not as expected is an error; the result is there all the same if the guest got far enough.
func (r *Runner) Run(ctx context.Context, k Kernel) (result Result, err error) {
	if runtime.GOARCH != mainArch {
		return result, fmt.Errorf("guests are run on %s, this machine is %s", mainArch, runtime.GOARCH)
	}
	groups, err := r.groups(k)
	if err != nil {
		return result, err
	}
	l, err := r.load(ctx, k.arch(), groups)
	if err != nil {
		return result, err
	}
	packages, release, err := r.cfg.Store.packages(ctx, k)
	if err != nil {
		return result, err
	}
	img, err := r.cfg.Store.unpack(ctx, packages, release)
	if err != nil {
		return result, err
	}
	m := machine{
		arch: k.arch(), kernel: img.kernel, initramfs: filepath.Join(r.cfg.Work, k.Name+".cpio"),
		console: filepath.Join(r.cfg.Work, k.Name+".console"), limit: guestLimit + time.Minute,
	}
	if err := writeInitramfs(ctx, m.initramfs, img, l); err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, os.Remove(m.initramfs)) }()
	fmt.Fprintf(r.cfg.Out, "=== kernel %s: %s\n", k.Name, release)
	begin := time.Now()
	s := session{kernel: k, groups: groups, out: r.cfg.Out, runs: map[string]*ran{}}
	cpu, err := m.boot(ctx, s.take)
	if err != nil {
		s.unfinished()
		return result, fmt.Errorf("kernel %s: %w", k.Name, err)
	}
	result, err = s.result()
	fmt.Fprintf(r.cfg.Out, "=== kernel %s: %.0f s, %.0f s of CPU\n", k.Name, time.Since(begin).Seconds(), cpu.Seconds())
	return result, err
}

// groups are those that a kernel is to run.
func (r *Runner) groups(k Kernel) (groups []Group, err error) {
	if len(r.cfg.Tests) > 0 {
		return r.cfg.Tests, nil
	}
	for _, name := range k.Groups {
		i := slices.IndexFunc(Groups(), func(g Group) bool { return g.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("kernel %s of the list: there is no group %q", k.Name, name)
		}
		groups = append(groups, Groups()[i])
	}
	return groups, nil
}

// load builds what guests run, and plans it.
func (r *Runner) load(ctx context.Context, arch string, groups []Group) (l load, err error) {
	if err := os.MkdirAll(r.cfg.Work, 0o755); err != nil {
		return l, fmt.Errorf("make %s: %w", r.cfg.Work, err)
	}
	l = load{files: map[string]string{}, plan: wire.Plan{Limit: guestLimit}}
	if arch == runtime.GOARCH {
		l.programs = programs()
	}
	for name, pkg := range map[string]string{"/init": "internal/vm/guest", "/usr/bin/vethtrace": "cmd/vethtrace", "/usr/bin/cost": "internal/vm/cost"} {
		if l.files[name], err = r.build(ctx, r.built, arch+name, pkg, arch, "build"); err != nil {
			return l, err
		}
	}
	l.plan.Runs = []wire.Run{
		{Name: runDoctor, Dir: "/root", Argv: []string{"/usr/bin/vethtrace", "doctor", "-o", "json"}, Limit: runLimit},
		{Name: runCost, Dir: "/root", Argv: []string{"/usr/bin/cost"}, Limit: runLimit},
	}
	for _, g := range groups {
		if len(g.Programs) > 0 && arch != runtime.GOARCH {
			return l, fmt.Errorf("group %s needs programs, of which this machine has those of %s, the guest is %s", g.Name, runtime.GOARCH, arch)
		}
		binary, err := r.build(ctx, r.tests, arch+"/"+g.Package, g.Package, arch, "test", "-c", "-tags", guestTag)
		if err != nil {
			return l, err
		}
		dir := "/src/" + g.Package
		file := "/tests/" + strings.ReplaceAll(g.Package, "/", "-") + ".test"
		l.files[file] = binary
		l.programs = append(l.programs, g.Programs...)
		data := filepath.Join(r.cfg.Root, g.Package, "testdata")
		if _, err := os.Stat(data); err == nil {
			l.files[dir+"/testdata"] = data
		}
		l.plan.Runs = append(l.plan.Runs, wire.Run{Name: g.Name, Dir: dir, Limit: runLimit + time.Minute, Again: true, Argv: []string{
			file, "-test.v", "-test.count=1", "-test.timeout=" + runLimit.String(), "-test.run=^(" + strings.Join(g.Tests, "|") + ")$",
		}})
	}
	return l, nil
}

// build builds a package once; key is what it is known by in done.
func (r *Runner) build(ctx context.Context, done map[string]string, key, pkg, arch string, how ...string) (string, error) {
	if done[key] != "" {
		return done[key], nil
	}
	to := filepath.Join(r.cfg.Work, strings.ReplaceAll(strings.Trim(key, "/"), "/", "-")+"."+how[0])
	// Without symbols a guest has less to copy; cgo would need libraries.
	cmd := exec.CommandContext(ctx, "go", append(how, "-trimpath", "-ldflags=-s -w", "-o", to, "./"+pkg)...)
	cmd.Dir, cmd.Env = r.cfg.Root, append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if _, err := run(cmd); err != nil {
		return "", err
	}
	done[key] = to
	return to, nil
}

// session is what a guest has told so far.
type session struct {
	kernel  Kernel
	groups  []Group
	out     io.Writer
	release string
	runs    map[string]*ran
}

// take takes a message.
func (s *session) take(m wire.Message) {
	if s.runs[m.Name] == nil {
		s.runs[m.Name] = &ran{}
	}
	one := s.runs[m.Name]
	switch m.Kind {
	case wire.Booted:
		s.release = m.Text
	case wire.Output:
		if one.output = append(one.output, m.Text); !m.Stderr {
			one.stdout = append(one.stdout, m.Text)
		}
	case wire.End:
		one.end = m
		i := slices.IndexFunc(s.groups, func(g Group) bool { return g.Name == m.Name })
		if i < 0 {
			fmt.Fprintf(s.out, "ran\t%s\t%s\t%.1fs\n", s.kernel.Name, m.Name, m.Seconds)
			break
		}
		s.tell(s.groups[i], one)
	case wire.Begin:
		if one.end.Kind != "" { // as make test does: a busy machine is no fault, a fault comes again
			fmt.Fprintf(s.out, "again\t%s\t%s\n", s.kernel.Name, m.Name)
			s.runs[m.Name] = &ran{}
		}
	case wire.Failed, wire.Off:
	}
}

// tell tells how a group went, as go test does.
func (s *session) tell(g Group, one *ran) {
	if err := judge(g, one); err != nil {
		fmt.Fprintf(s.out, "%s\nFAIL\t%s\t%s\t%s: %v\t%.1fs\n", strings.Join(one.output, "\n"), s.kernel.Name, g.Package, g.Name, err, one.end.Seconds)
		return
	}
	fmt.Fprintf(s.out, "ok\t%s\t%s\t%s: %d tests\t%.1fs\n", s.kernel.Name, g.Package, g.Name, len(g.Tests), one.end.Seconds)
}

// unfinished tells what a run had written when its guest ended.
func (s *session) unfinished() {
	for name, one := range s.runs {
		if name != "" && one.end.Kind == "" {
			fmt.Fprintf(s.out, "%s\nFAIL\t%s\t%s: the guest ended meanwhile\n", strings.Join(one.output, "\n"), s.kernel.Name, name)
		}
	}
}

// judge says what is wrong with a group's run: each of its tests has to pass.
func judge(g Group, one *ran) error {
	if one == nil || one.end.Kind == "" {
		return errors.New("it was not run")
	}
	if one.end.Limit {
		return fmt.Errorf("killed after %.0f s", one.end.Seconds)
	}
	text := strings.Join(one.output, "\n")
	var errs []error
	for _, test := range g.Tests {
		verdict := regexp.MustCompile(`(?m)^--- (\w+): ` + regexp.QuoteMeta(test) + ` `).FindStringSubmatch(text)
		switch {
		case verdict == nil:
			errs = append(errs, fmt.Errorf("%s did not run to its end", test))
		case verdict[1] != "PASS":
			errs = append(errs, fmt.Errorf("%s: %s", test, strings.ToLower(verdict[1])))
		}
	}
	if one.end.Text != "" {
		errs = append(errs, errors.New("the test binary: "+one.end.Text))
	}
	return errors.Join(errs...)
}

// result judges all that the guest has told.
func (s *session) result() (Result, error) {
	result := Result{Kernel: s.kernel.Name, Release: s.release, Tests: []string{}}
	var errs []error
	for _, g := range s.groups {
		if err := judge(g, s.runs[g.Name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.Name, err))
			continue
		}
		result.Tests = append(result.Tests, g.Name)
	}
	var document doctor.Document
	if err := s.decode(runDoctor, &document); err != nil {
		errs = append(errs, err)
	}
	result.examined(document)
	fmt.Fprintf(s.out, "doctor\t%s\t%s\n", s.kernel.Name, document.Verdict)
	if document.Works != s.kernel.Works {
		errs = append(errs, fmt.Errorf("doctor: that the default detail works is %v, expected is %v", document.Works, s.kernel.Works))
	}
	if err := s.decode(runCost, &result.Programs); err != nil {
		errs = append(errs, err)
	} else if s.kernel.Main {
		errs = append(errs, rejected(result.Programs))
	}
	return result, kernelError(s.kernel, errs)
}

func kernelError(k Kernel, errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kernel %s: %w", k.Name, err)
	}
	return nil
}

// decode reads what a run has written as JSON.
func (s *session) decode(name string, into any) error {
	one := s.runs[name]
	if one == nil || one.end.Kind == "" {
		return fmt.Errorf("%s: it was not run", name)
	}
	if err := json.Unmarshal([]byte(strings.Join(one.stdout, "\n")), into); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.Join(one.output, "\n"))
	}
	return nil
}
