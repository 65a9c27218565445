package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// stream encodes events as go test does.
func stream(t *testing.T, events ...event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

func ev(action, pkg, test, output string) event {
	return event{Action: action, Package: pkg, Test: test, Output: output}
}

func TestResults(t *testing.T) {
	tests := []struct {
		name   string
		events []event
		want   string // everything printed
		line   string
	}{
		{
			name: "subtests count, not their parents",
			events: []event{
				ev("start", "p", "", ""),
				ev("run", "p", "TestA", ""), ev("run", "p", "TestA/x", ""), ev("run", "p", "TestA/y", ""),
				ev("output", "p", "TestA", "noise\n"),
				ev("pass", "p", "TestA/x", ""), ev("pass", "p", "TestA/y", ""), ev("pass", "p", "TestA", ""),
				ev("run", "p", "TestB", ""), ev("pass", "p", "TestB", ""),
				ev("output", "p", "", "PASS\n"), ev("pass", "p", "", ""),
			},
			want: "ok    p                                                               0.00s  3 passed\n",
			line: "3 passed, 0 failed, 0 skipped",
		},
		{
			name: "a failure is shown in full, with its parent's words",
			events: []event{
				ev("run", "p", "TestA", ""), ev("output", "p", "TestA", "=== RUN TestA\n"),
				ev("run", "p", "TestA/x", ""), ev("output", "p", "TestA/x", "    a_test.go:1: wrong\n"),
				ev("fail", "p", "TestA/x", ""), ev("fail", "p", "TestA", ""),
				ev("run", "p", "TestB", ""), ev("output", "p", "TestB", "quiet\n"), ev("pass", "p", "TestB", ""),
				ev("output", "p", "", "FAIL\n"), ev("output", "p", "", "FAIL\tp\t0.1s\n"), ev("fail", "p", "", ""),
			},
			want: "=== RUN TestA\n    a_test.go:1: wrong\n" +
				"FAIL  p                                                               0.00s  1 passed, 1 failed\n" +
				"FAILED (1):\n  p TestA/x\n",
			line: "1 passed, 1 failed, 0 skipped",
		},
		{
			name: "a parent that failed by itself counts",
			events: []event{
				ev("run", "p", "TestA", ""), ev("run", "p", "TestA/x", ""), ev("pass", "p", "TestA/x", ""),
				ev("output", "p", "TestA", "cleanup failed\n"), ev("fail", "p", "TestA", ""), ev("fail", "p", "", ""),
			},
			want: "cleanup failed\n" +
				"FAIL  p                                                               0.00s  1 passed, 1 failed\n" +
				"FAILED (1):\n  p TestA\n",
			line: "1 passed, 1 failed, 0 skipped",
		},
		{
			name: "skips are named with their reason",
			events: []event{
				ev("run", "p", "TestA", ""), ev("output", "p", "TestA", "=== RUN   TestA\n"),
				ev("output", "p", "TestA", "    a_test.go:9: no moon tonight\n"), ev("output", "p", "TestA", "--- SKIP: TestA (0.00s)\n"),
				ev("skip", "p", "TestA", ""), ev("run", "p", "TestB", ""), ev("skip", "p", "TestB", ""), ev("pass", "p", "", ""),
			},
			want: "ok    p                                                               0.00s  0 passed, 2 SKIPPED\n" +
				"SKIPPED (2):\n  p TestA: a_test.go:9: no moon tonight\n  p TestB: no reason given\n",
			line: "0 passed, 0 failed, 2 skipped",
		},
		{
			name: "a build that failed counts once, and is shown once",
			events: []event{
				{Action: "build-output", ImportPath: "q", Output: "q.go:1: syntax error\n"},
				{Action: "build-fail", ImportPath: "q"},
				{Action: "output", Package: "p", Output: "FAIL\tp [build failed]\n"},
				{Action: "fail", Package: "p", FailedBuild: "q"},
				{Action: "fail", Package: "r", FailedBuild: "q"},
			},
			want: "q.go:1: syntax error\n" +
				"FAIL  p                                                               0.00s  0 passed, 1 failed\n" +
				"FAIL  r                                                               0.00s  0 passed, 1 failed\n" +
				"FAILED (2):\n  p\n  r\n",
			line: "0 passed, 2 failed, 0 skipped",
		},
		{
			name: "a package without tests",
			events: []event{
				ev("start", "p", "", ""), ev("output", "p", "", "?   \tp\t[no test files]\n"), ev("skip", "p", "", ""),
			},
			want: "--    p                                                               0.00s  no tests\n",
			line: "0 passed, 0 failed, 0 skipped",
		},
		{
			name: "what never ended has failed",
			events: []event{
				ev("run", "p", "TestA", ""), ev("pass", "p", "TestA", ""),
				ev("run", "p", "TestB", ""), ev("output", "p", "TestB", "waiting\n"),
				ev("start", "q", "", ""),
			},
			want: "waiting\n" +
				"FAIL  p                                                               0.00s  1 passed, 1 failed\n" +
				"FAIL  q                                                               0.00s  0 passed, 1 failed\n" +
				"FAILED (2):\n  p TestB\n  q\n",
			line: "1 passed, 2 failed, 0 skipped",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			r := newResults(&out)
			if err := r.read(strings.NewReader(stream(t, tt.events...))); err != nil {
				t.Fatal(err)
			}
			if line := r.close(); line != tt.line {
				t.Errorf("got %q, want %q", line, tt.line)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadPrintsWhatIsNoEvent(t *testing.T) {
	var out bytes.Buffer
	r := newResults(&out)
	in := "plain words\n{\"a\":1}\n" + stream(t, ev("pass", "p", "TestA", ""), ev("pass", "p", "", "")) + "no newline"
	if err := r.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{"plain words\n", "{\"a\":1}\n", "1 passed\n", "no newline"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
}

func TestReadError(t *testing.T) {
	err := newResults(&bytes.Buffer{}).read(iotest.ErrReader(errors.New("torn pipe")))
	if err == nil || err.Error() != "read events: torn pipe" {
		t.Errorf("got error %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"Action":"run","Package":"p","Test":"T/a"}` + "\n" + `{"Action":"fail","Package":"p"}`))
	f.Add([]byte(`{"Action":"build-output","ImportPath":"q","Output":"x"}` + "\nnot json\n"))
	f.Add([]byte(`{"Action":"skip","Package":"p","Test":"/"}` + "\n" + `{"Action":"run","Package":"p","Test":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newResults(&bytes.Buffer{})
		if err := r.read(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		r.close()
		if r.counts.failed != len(r.failures) || r.counts.skipped != len(r.skips) {
			t.Errorf("%+v counted, %d and %d named", r.counts, len(r.failures), len(r.skips))
		}
		if len(r.packages) != 0 {
			t.Errorf("%d packages left", len(r.packages))
		}
	})
}
