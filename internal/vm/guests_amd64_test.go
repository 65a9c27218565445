package vm

import (
	"path/filepath"
	"strings"
	"testing"
)

// Kernels that the list has marked for it run the part of their tests that
// "make test" wants of them: all guests at once, each takes one CPU.
func TestGuests(t *testing.T) {
	store, err := OpenStore("", false)
	if err != nil {
		t.Fatal(err)
	}
	runner := NewRunner(Config{Root: filepath.Join("..", ".."), Work: t.TempDir(), Store: store, Out: t.Output()})
	guests := 0
	for _, k := range Kernels() {
		if len(k.InTest) == 0 {
			continue
		}
		guests++
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			guest(t, runner, k)
		})
	}
	if guests < 2 {
		t.Errorf("%d guests: the oldest kernel that works, and one that takes the main object, are wanted", guests)
	}
}

func guest(t *testing.T, runner *Runner, k Kernel) {
	groups, err := runner.groups(k, k.InTest)
	if err != nil {
		t.Fatal(err)
	}
	s, err := runner.run(t.Context(), k, groups)
	if err != nil {
		t.Fatal(err)
	}
	_, verdicts := s.result(true)
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) {
			if v.err != nil {
				run, _, _ := strings.Cut(v.name, "/")
				t.Errorf("%v\n%s", v.err, strings.Join(s.told(run), "\n"))
			}
		})
	}
}
