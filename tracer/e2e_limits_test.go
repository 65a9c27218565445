package tracer_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer"
)

// lowerFiles lowers this process's limit of open files to so many more than are
// open now. With what it returns it is raised again, by some.
func lowerFiles(t *testing.T, more int) (raise func(by uint64)) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	lower := unix.Rlimit{Cur: uint64(openFiles(t) + more), Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lower); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
	return func(by uint64) {
		t.Helper()
		lower.Cur += by
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lower); err != nil {
			t.Fatal(err)
		}
	}
}

// What does not fit is named before anything is attached, and as many as are
// said to fit do.
func TestLimits(t *testing.T) {
	s := newCrowd(t, 40)
	specs := s.specs()
	before, descriptors := held(t), namespaces(t)
	refused := func(cfg tracer.Config, specs []tracer.TargetSpec, limit tracer.Limit) *tracer.LimitError {
		t.Helper()
		cfg.Host = s.world.Host.NS
		_, err := tracer.Open(s.ctx, cfg, specs...)
		var e *tracer.LimitError
		if !errors.As(err, &e) || e.Limit != limit || e.Needs <= e.Has || !strings.Contains(err.Error(), string(limit)) {
			t.Fatalf("%d targets beyond the limit of %s: %v", len(specs), limit, err)
		}
		if after := held(t); after.total() != before.total() || namespaces(t) != descriptors {
			t.Fatalf("held before %+v, after %+v", before, after)
		}
		return e
	}

	e := refused(tracer.Config{Capacity: 1000, Memory: 64 << 20}, specs, tracer.LimitMemory)
	if e.Targets != 1000 || e.Fit <= 40 || e.Fit >= 1000 || len(e.Left) != 0 {
		t.Errorf("memory: %+v", e)
	}
	if e := refused(tracer.Config{Memory: 1 << 20}, specs, tracer.LimitMemory); e.Fit != 0 || len(e.Left) != len(specs) {
		t.Errorf("next to no memory: %+v", e)
	}
	s.open(tracer.Config{Capacity: e.Fit, Memory: 64 << 20}, "nginx")
	s.must(s.tracer.Close())

	raise := lowerFiles(t, 300)
	e = refused(tracer.Config{}, specs, tracer.LimitFiles)
	if e.Fit < 5 || e.Fit > 35 || len(e.Left) != 40-e.Fit || !strings.Contains(e.Error(), "no room for "+specs[e.Fit].Name+",") {
		t.Fatalf("open files: %+v", e)
	}
	raise(4) // the world's own sockets come and go: one more of them, and the last target would not fit
	s.openSpecs(tracer.Config{Capacity: 40}, specs[:e.Fit]...)
	left := slices.Clone(specs[e.Fit:])
	added := 0
	for _, spec := range left { // the reserve is left alone by those that are added later, too
		err := s.tracer.Add(spec)
		if err == nil {
			added++
			continue
		}
		if !errors.As(err, &e) || !slices.Equal(e.Left, []string{spec.Name}) {
			t.Errorf("add %s: %v", spec.Name, err)
		}
		break
	}
	if added > 5 {
		t.Errorf("%d more found room than was said", added)
	}
	s.stop()
}
