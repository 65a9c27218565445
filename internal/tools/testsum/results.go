package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
)

// event is one line of "go test -json" (see "go doc test2json").
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// counts of tests. A test with subtests is not counted, they are; unless it
// failed and none of them did.
type counts struct {
	passed, failed, skipped int
}

// test is one test of a package that runs.
type test struct {
	output []string
	action string // pass, fail, skip; "" while it runs
	parent bool
}

// pkg is a package that runs.
type pkg struct {
	output []string
	tests  map[string]*test
}

// results gathers events, prints packages as they end and counts.
type results struct {
	w        io.Writer
	packages map[string]*pkg
	builds   map[string][]string // output of failed builds by import path
	shown    map[string]bool     // builds that were printed
	counts   counts
	failures []failure
	again    []string // tests that failed once and passed when run again
	skips    []string
}

// failure is a test that failed, or a whole package where Test is empty.
type failure struct {
	Package, Test string
}

// String names it as `go test -run` and a reader do.
func (f failure) String() string {
	return strings.TrimSpace(f.Package + " " + f.Test)
}

func newResults(w io.Writer) *results {
	return &results{
		w:        w,
		packages: make(map[string]*pkg),
		builds:   make(map[string][]string),
		shown:    make(map[string]bool),
	}
}

// read takes events until the end of r. What is no event is printed as it is.
func (r *results) read(in io.Reader) error {
	reader := bufio.NewReader(in)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if jsonErr := json.Unmarshal(line, &e); jsonErr != nil || e.Action == "" {
				fmt.Fprint(r.w, string(line))
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (r *results) add(e event) {
	if e.Package == "" {
		if e.Action == "build-output" {
			r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
		}
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{tests: make(map[string]*test)}
		r.packages[e.Package] = p
	}
	if e.Test == "" {
		r.addPackage(p, e)
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &test{}
		p.tests[e.Test] = t
		p.markParents(e.Test)
	}
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass", "fail", "skip":
		t.action = e.Action
	}
}

func (r *results) addPackage(p *pkg, e event) {
	switch e.Action {
	case "output":
		p.output = append(p.output, e.Output)
	case "pass", "fail", "skip":
		r.finish(e.Package, p, e)
		delete(r.packages, e.Package)
	}
}

func (p *pkg) markParents(name string) {
	for {
		cut := strings.LastIndexByte(name, '/')
		if cut < 0 {
			return
		}
		name = name[:cut]
		if parent := p.tests[name]; parent != nil {
			parent.parent = true
		}
	}
}

// finish counts and prints a package that ended.
func (r *results) finish(name string, p *pkg, e event) {
	before := r.counts
	for _, testName := range p.sorted() {
		r.count(name, testName, p)
	}
	failedHere := r.counts.failed - before.failed
	if e.Action == "fail" && failedHere == 0 {
		// A failed build, TestMain, an exit or a panic outside of any test.
		r.counts.failed++
		r.failures = append(r.failures, failure{Package: name})
		failedHere = 1
	}
	if failedHere > 0 {
		r.printFailed(p, e)
	}
	passed, skipped := r.counts.passed-before.passed, r.counts.skipped-before.skipped
	switch {
	case failedHere > 0:
		fmt.Fprintf(r.w, "FAIL  %-60s %7.2fs  %d passed, %d failed%s\n", name, e.Elapsed, passed, failedHere, skippedText(skipped))
	case passed == 0 && skipped == 0:
		fmt.Fprintf(r.w, "--    %-60s %7.2fs  no tests\n", name, e.Elapsed)
	default:
		fmt.Fprintf(r.w, "ok    %-60s %7.2fs  %d passed%s\n", name, e.Elapsed, passed, skippedText(skipped))
	}
}

func skippedText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d SKIPPED", n)
}

// sorted returns the tests' names, subtests before their parents, so that a
// parent knows whether one of them explains its failure.
func (p *pkg) sorted() []string {
	names := make([]string, 0, len(p.tests))
	for n := range p.tests {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		if di, dj := strings.Count(names[i], "/"), strings.Count(names[j], "/"); di != dj {
			return di > dj
		}
		return names[i] < names[j]
	})
	return names
}

func (r *results) count(pkgName, name string, p *pkg) {
	t := p.tests[name]
	switch t.action {
	case "pass":
		if !t.parent {
			r.counts.passed++
		}
	case "skip":
		if !t.parent {
			r.counts.skipped++
			r.skips = append(r.skips, fmt.Sprintf("%s %s: %s", pkgName, name, reason(t.output)))
		}
	default: // failed, or still running when the package ended
		if t.parent && p.failedBelow(name) {
			return
		}
		r.counts.failed++
		r.failures = append(r.failures, failure{pkgName, name})
	}
}

// failedBelow tells whether a subtest of the test failed.
func (p *pkg) failedBelow(name string) bool {
	for other, t := range p.tests {
		if strings.HasPrefix(other, name+"/") && t.action != "pass" && t.action != "skip" {
			return true
		}
	}
	return false
}

// printFailed prints in full what the failed tests and the package said.
func (r *results) printFailed(p *pkg, e event) {
	if lines := r.builds[e.FailedBuild]; len(lines) > 0 && !r.shown[e.FailedBuild] {
		r.shown[e.FailedBuild] = true
		fmt.Fprint(r.w, strings.Join(lines, ""))
	}
	names := p.sorted()
	sort.Strings(names)
	for _, n := range names {
		if t := p.tests[n]; t.action != "pass" && t.action != "skip" {
			fmt.Fprint(r.w, strings.Join(t.output, ""))
		}
	}
	for _, line := range p.output {
		if line != "FAIL\n" && !strings.HasPrefix(line, "FAIL\t") {
			fmt.Fprint(r.w, line)
		}
	}
}

// reason finds why a test was skipped in its output.
func reason(output []string) string {
	var lines []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return "no reason given"
	}
	return strings.Join(lines, " ")
}

// end counts packages that never ended.
func (r *results) end() {
	names := make([]string, 0, len(r.packages))
	for name := range r.packages {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		r.finish(name, r.packages[name], event{Action: "fail"})
	}
	r.packages = make(map[string]*pkg)
}

// close prints the lists of skipped and failed tests, and returns the closing
// line.
func (r *results) close() string {
	r.end()
	r.list("SKIPPED", r.skips)
	r.list("PASSED ONLY WHEN RUN AGAIN", r.again)
	failed := make([]string, len(r.failures))
	for i, f := range r.failures {
		failed[i] = f.String()
	}
	r.list("FAILED", failed)
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.counts.passed, r.counts.failed, r.counts.skipped)
}

func (r *results) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(r.w, "%s (%d):\n", title, len(lines))
	for _, l := range lines {
		fmt.Fprintf(r.w, "  %s\n", l)
	}
}
