package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// falters fails in its first run and passes in the second; the other test fails always.
const falters = `import (
	"os"
	"testing"
)

func TestA(t *testing.T) {}

func TestFalters(t *testing.T) {
	t.Run("at first", func(t *testing.T) {
		if _, err := os.Stat("ran"); err != nil {
			os.WriteFile("ran", nil, 0o600)
			t.Error("not yet")
		}
	})
}
`

const fails = `
func TestFails(t *testing.T) { t.Error("never") }
`

func TestAgain(t *testing.T) {
	for _, tt := range []struct {
		name, body, again string
		ok                bool
		line              string
		out               string
	}{
		{"passes the second time", falters, "1", true, "2 passed, 0 failed, 0 skipped", "PASSED ONLY WHEN RUN AGAIN (1):\n  m TestFalters/at_first\n"},
		{"not asked for", falters, "0", false, "1 passed, 1 failed, 0 skipped", "FAILED (1):\n  m TestFalters/at_first\n"},
		{"one fails both times", falters + fails, "2", false, "2 passed, 1 failed, 0 skipped", "FAILED (1):\n  m TestFails\n"},
		{"more than a moment explains", falters + fails, "1", false, "1 passed, 2 failed, 0 skipped", "FAILED (2):\n"},
		{"a package that ends by itself", falters + "\nfunc TestMain(m *testing.M) { m.Run(); os.Exit(3) }\n", "2", false, "1 passed, 1 failed, 0 skipped", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			module(t, tt.body)
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), []string{"-again", tt.again, "--", "-count=1", "./..."}, &stdout, &stderr)
			if ok := err == nil; ok != tt.ok || !ok && !errors.Is(err, errFailed) {
				t.Errorf("got error %v", err)
			}
			if got := lastLine(stdout.String()); got != tt.line || !strings.Contains(stdout.String(), tt.out) {
				t.Errorf("last line %q, want %q and %q in\n%s", got, tt.line, tt.out, stdout.String())
			}
		})
	}
}

func TestArgsFor(t *testing.T) {
	got := argsFor([]string{"-count=1", "-timeout=1m", "./a", "./b"}, failure{"m/a", "TestX/1+1"})
	if want := []string{"-count=1", "-timeout=1m", `-run=^TestX$/^1\+1$`, "m/a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
