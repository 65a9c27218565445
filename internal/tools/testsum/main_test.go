package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// module writes a module with one test file and goes there.
func module(t *testing.T, body string) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"go.mod":    "module m\n\ngo 1.26\n",
		"m_test.go": "package m\n\n" + body,
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestRun(t *testing.T) {
	const imports = "import (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Args\n\n"
	tests := []struct {
		name, body string
		ok         bool
		line       string
		out        string // must be printed
		err        string // must be on standard error
	}{
		{"passes", imports + "func TestA(t *testing.T) {}\nfunc TestB(t *testing.T) { t.Skip(\"later\") }", true, "1 passed, 0 failed, 1 skipped", "m TestB: m_test.go:", ""},
		{"fails", imports + "func TestA(t *testing.T) { t.Error(\"wrong\") }", false, "0 passed, 1 failed, 0 skipped", "wrong", "exit status 1"},
		{"panics", imports + "func TestA(t *testing.T) { panic(\"boom\") }\nfunc TestB(t *testing.T) {}", false, "0 passed, 1 failed, 0 skipped", "panic: boom", ""},
		{"exits", imports + "func TestMain(m *testing.M) { m.Run(); println(\"leak\"); os.Exit(3) }\nfunc TestA(t *testing.T) {}", false, "1 passed, 1 failed, 0 skipped", "leak", ""},
		{"does not build", imports + "func TestA(t *testing.T) { x }", false, "0 passed, 1 failed, 0 skipped", "undefined: x", ""},
		{"only skips", imports + "func TestA(t *testing.T) { t.Skip() }", false, "0 passed, 0 failed, 1 skipped", "", "no test passed"},
		{"has none", imports + "func helper(*testing.T) {}", false, "0 passed, 0 failed, 0 skipped", "", "no test passed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			module(t, tt.body)
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), []string{"-summary", "sum", "--", "./..."}, &stdout, &stderr)
			if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, errFailed) {
				t.Errorf("got error %v", err)
			}
			if got := lastLine(stdout.String()); got != tt.line {
				t.Errorf("last line %q, want %q\n%s", got, tt.line, stdout.String())
			}
			if !strings.Contains(stdout.String(), tt.out) || !strings.Contains(stderr.String(), tt.err) {
				t.Errorf("want %q in\n%s\nand %q in\n%s", tt.out, stdout.String(), tt.err, stderr.String())
			}
			if sum, err := os.ReadFile("sum"); err != nil || string(sum) != tt.line+"\n" {
				t.Errorf("summary %q, %v", sum, err)
			}
		})
	}
}

// hangs is a test that says its pid, ignores the interrupt and waits.
const hangs = `import (
	"os"
	"os/signal"
	"strconv"
	"testing"
	"time"
)

func TestA(t *testing.T) {
	signal.Ignore(os.Interrupt)
	os.WriteFile("pid", []byte(strconv.Itoa(os.Getpid())), 0o600)
	time.Sleep(time.Minute)
}
`

// stopped waits until the process of the hanging test is gone.
func stopped(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile("pid")
	if err != nil {
		t.Fatalf("the test did not start: %v", err)
	}
	pid, err := strconv.Atoi(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		stat, err := os.ReadFile("/proc/" + string(raw) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("test process %d outlived the run", pid)
}

func TestTotalTimeEndsEverything(t *testing.T) {
	module(t, hangs)
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{"-total", "5s", "-grace", "200ms", "--", "./..."}, &stdout, &stderr)
	if !errors.Is(err, errFailed) || !strings.Contains(stderr.String(), "not done after 5s") {
		t.Errorf("got error %v, standard error %q", err, stderr.String())
	}
	if got := lastLine(stdout.String()); got != "0 passed, 1 failed, 0 skipped" {
		t.Errorf("last line %q", got)
	}
	stopped(t)
}

func TestInterruptEndsEverything(t *testing.T) {
	module(t, hangs)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat("pid"); err == nil {
				cancel()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	var stdout, stderr bytes.Buffer
	err := run(ctx, []string{"-grace", "200ms", "--", "./..."}, &stdout, &stderr)
	if !errors.Is(err, errFailed) {
		t.Errorf("got error %v", err)
	}
	stopped(t)
}

func TestRunErrors(t *testing.T) {
	if err := run(t.Context(), []string{"-nope"}, &bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.HasPrefix(err.Error(), "parse flags: ") {
		t.Errorf("unknown flag: %v", err)
	}
	module(t, "import \"testing\"\n\nfunc TestA(t *testing.T) {}")
	err := run(t.Context(), []string{"-summary", "absent/sum", "--", "./..."}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.HasPrefix(err.Error(), "write the summary: ") {
		t.Errorf("summary that can't be written: %v", err)
	}
	t.Setenv("PATH", "")
	var stderr bytes.Buffer
	if err := run(t.Context(), []string{"--", "./..."}, &bytes.Buffer{}, &stderr); !errors.Is(err, errFailed) || !strings.Contains(stderr.String(), "executable file not found") {
		t.Errorf("no go: %v, %q", err, stderr.String())
	}
}
