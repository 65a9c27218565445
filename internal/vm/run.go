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
	"sync"
	"time"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/vm/wire"
)

// Limits of time, which only what hangs reaches.
const (
	runLimit   = 20 * time.Minute // of a program in a guest
	guestLimit = 60 * time.Minute // of a guest
)

// mostBoots is how often a guest is started that does not boot: what one did not
// do by a fault of emulation, the next one does.
const mostBoots = 3

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
	Tests []Group // instead of those of the list, and of doctor and the verifier's cost
}

// Runner runs guests.
type Runner struct {
	cfg Config

	mu    sync.Mutex        // builds are one after the other: each takes all CPUs
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
func (r *Runner) Run(ctx context.Context, k Kernel) (Result, error) {
	groups, err := r.groups(k, k.Groups)
	if err != nil {
		return Result{}, err
	}
	s, err := r.run(ctx, k, groups)
	if err != nil {
		return Result{}, err
	}
	result, verdicts := s.result(r.examines())
	var errs []error
	for _, v := range verdicts {
		if v.err != nil {
			errs = append(errs, fmt.Errorf("kernel %s: %s: %w", k.Name, v.name, v.err))
		}
	}
	return result, errors.Join(errs...)
}

// run boots a kernel and runs these groups, doctor and the verifier's cost in it.
func (r *Runner) run(ctx context.Context, k Kernel, groups []Group) (*session, error) {
	if runtime.GOARCH != mainArch {
		return nil, fmt.Errorf("guests are run on %s, this machine is %s", mainArch, runtime.GOARCH)
	}
	l, err := r.load(ctx, k.arch(), groups)
	if err != nil {
		return nil, err
	}
	img, err := r.cfg.Store.image(ctx, k)
	if err != nil {
		return nil, err
	}
	m := machine{
		arch: k.arch(), kernel: img.kernel, initramfs: filepath.Join(r.cfg.Work, k.Name+".cpio"),
		console: filepath.Join(r.cfg.Work, k.Name+".console"), limit: guestLimit + time.Minute,
	}
	if err := writeInitramfs(ctx, m.initramfs, img, l); err != nil {
		return nil, err
	}
	s, err := r.boot(ctx, k, groups, m, img.release)
	return s, errors.Join(err, os.Remove(m.initramfs))
}

// boot runs a guest, once more where it has not booted.
func (r *Runner) boot(ctx context.Context, k Kernel, groups []Group, m machine, release string) (*session, error) {
	for try := 1; ; try++ {
		fmt.Fprintf(r.cfg.Out, "=== kernel %s: %s\n", k.Name, release)
		begin := time.Now()
		s := &session{kernel: k, groups: groups, out: r.cfg.Out, runs: map[string]*ran{}}
		cpu, err := m.boot(ctx, s.take)
		fmt.Fprintf(r.cfg.Out, "=== kernel %s: %.0f s, %.0f s of CPU\n", k.Name, time.Since(begin).Seconds(), cpu.Seconds())
		if err == nil {
			return s, nil
		}
		err = fmt.Errorf("kernel %s: %w", k.Name, err)
		if s.release != "" || try == mostBoots || ctx.Err() != nil {
			s.unfinished()
			return s, err
		}
		fmt.Fprintf(r.cfg.Out, "again\t%s\tit did not boot: %v\n", k.Name, err)
	}
}

// groups are those of these names that a kernel is to run, or GROUP:TEST,... for tests of one.
func (r *Runner) groups(k Kernel, names []string) (groups []Group, err error) {
	if len(r.cfg.Tests) > 0 {
		return r.cfg.Tests, nil
	}
	for _, name := range names {
		name, tests, some := strings.Cut(name, ":")
		i := slices.IndexFunc(Groups(), func(g Group) bool { return g.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("kernel %s of the list: there is no group %q", k.Name, name)
		}
		group := Groups()[i]
		if some {
			group.Tests = strings.Split(tests, ",")
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// pattern is what go test's -run takes for a group's tests and parts of tests.
func (g Group) pattern() string {
	var tests []string
	for _, test := range g.Tests {
		tests = append(tests, "^"+strings.ReplaceAll(test, "/", "$/^")+"$")
	}
	return strings.Join(tests, "|")
}

// examines tells whether the kernel itself is looked at too: not where tests were asked for by name.
func (r *Runner) examines() bool { return len(r.cfg.Tests) == 0 }

// load builds what guests run, and plans it.
func (r *Runner) load(ctx context.Context, arch string, groups []Group) (l load, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
	if r.examines() {
		l.plan.Runs = []wire.Run{
			{Name: runDoctor, Dir: "/root", Argv: []string{"/usr/bin/vethtrace", "doctor", "-o", "json"}, Limit: runLimit},
			{Name: runCost, Dir: "/root", Argv: []string{"/usr/bin/cost"}, Limit: runLimit},
		}
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
			file, "-test.v", "-test.count=1", "-test.timeout=" + runLimit.String(), "-test.run=" + g.pattern(),
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
	// Without symbols a guest has less to copy; cgo would need libraries. Packages
	// are compiled as for the tests of this machine, from whose cache they come.
	cmd := exec.CommandContext(ctx, "go", append(how, "-ldflags=-s -w", "-o", to, "./"+pkg)...)
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

// told is what a run has written.
func (s *session) told(name string) []string {
	if s.runs[name] == nil {
		return nil
	}
	return s.runs[name].output
}

// verdict is what became of something that a guest was to show.
type verdict struct {
	name string // GROUP/TEST, GROUP of its process, or that of another run
	err  error
}

// judge says what is wrong with a group's run: each of its tests has to pass.
func judge(g Group, one *ran) error {
	var errs []error
	for _, v := range judgeTests(g, one) {
		errs = append(errs, v.err)
	}
	return errors.Join(errs...)
}

// judgeTests judges each test of a group, and its process.
func judgeTests(g Group, one *ran) []verdict {
	switch {
	case one == nil || one.end.Kind == "":
		return []verdict{{g.Name, errors.New("it was not run")}}
	case one.end.Limit:
		return []verdict{{g.Name, fmt.Errorf("killed after %.0f s", one.end.Seconds)}}
	}
	text := strings.Join(one.output, "\n")
	var verdicts []verdict
	for _, test := range g.Tests {
		v := verdict{name: g.Name + "/" + test}
		line := `--- (\w+): ` + regexp.QuoteMeta(test) + ` `
		if strings.Contains(test, "/") { // what tells of parts stands below its test
			line = ` +` + line
		}
		told := regexp.MustCompile(`(?m)^` + line).FindStringSubmatch(text)
		switch {
		case told == nil:
			v.err = fmt.Errorf("%s did not run to its end", test)
		case told[1] != "PASS":
			v.err = fmt.Errorf("%s: %s", test, strings.ToLower(told[1]))
		}
		verdicts = append(verdicts, v)
	}
	process := verdict{name: g.Name}
	if one.end.Text != "" {
		process.err = errors.New("the test binary: " + one.end.Text)
	}
	return append(verdicts, process)
}

// result judges all that the guest has told.
func (s *session) result(examined bool) (Result, []verdict) {
	result := Result{Kernel: s.kernel.Name, Release: s.release, Tests: []string{}}
	var verdicts []verdict
	for _, g := range s.groups {
		verdicts = append(verdicts, judgeTests(g, s.runs[g.Name])...)
		if judge(g, s.runs[g.Name]) == nil {
			result.Tests = append(result.Tests, g.Name)
		}
	}
	if !examined {
		return result, verdicts
	}
	var document doctor.Document
	works := s.decode(runDoctor, &document)
	result.examined(document)
	fmt.Fprintf(s.out, "doctor\t%s\t%s\n", s.kernel.Name, document.Verdict)
	if works == nil && document.Works != s.kernel.Works {
		works = fmt.Errorf("that the default detail works is %v, expected is %v", document.Works, s.kernel.Works)
	}
	cost := s.decode(runCost, &result.Programs)
	if cost == nil && s.kernel.Main {
		cost = rejected(result.Programs)
	}
	if cost == nil {
		cost = CheckPrograms([]Result{result})
	}
	return result, append(verdicts, verdict{runDoctor, works}, verdict{runCost, cost})
}

// decode reads what a run has written as JSON.
func (s *session) decode(name string, into any) error {
	one := s.runs[name]
	if one == nil || one.end.Kind == "" {
		return errors.New("it was not run")
	}
	if err := json.Unmarshal([]byte(strings.Join(one.stdout, "\n")), into); err != nil {
		return fmt.Errorf("%w: %s", err, strings.Join(one.output, "\n"))
	}
	return nil
}
