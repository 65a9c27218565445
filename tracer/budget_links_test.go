package tracer_test

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// ownLinks are the BPF links that this process holds, counted by what they are attached to.
func ownLinks(t *testing.T) map[string]int {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	hooks := []string{"prerouting", "input", "forward", "output", "postrouting"} // enum nf_inet_hooks
	found := map[string]int{}
	for _, path := range infos {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // closed meanwhile
		}
		id := field(string(raw), "link_id:")
		if id < 0 {
			continue
		}
		l, err := link.NewFromID(link.ID(id))
		if err != nil {
			continue
		}
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case info.Netfilter() != nil:
			found[hooks[info.Netfilter().Hook]]++
		case info.RawTracepoint() != nil: // tp_btf
			found["tracepoint"]++
		case info.TCX() != nil:
			found["tcx"]++
		default:
			found["other"]++
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// field is the number behind a name, -1 if there is none.
func field(text, name string) int {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(rest)); err == nil {
				return n
			}
		}
	}
	return -1
}

// seenLinks watches windows come and go, until what is attached between them is want.
func (s *stage) seenLinks(want map[string]int) (attached map[string]int) {
	s.t.Helper()
	var last map[string]int
	defer func() {
		if s.t.Failed() {
			s.t.Logf("in a window %v, last seen between two %v, want %v", attached, last, want)
		}
	}()
	s.await("a window's end, and the next window", func() bool {
		before := s.snapshot().Observer.Budget
		links := ownLinks(s.t)
		after := s.snapshot().Observer.Budget
		if links["tcx"] > 0 {
			s.t.Fatalf("tcx with a budget: %v", links)
		}
		if before.State != after.State || before.Windows != after.Windows {
			return false
		}
		if before.State == tracer.BudgetAttached {
			attached = links
		} else {
			last = links
		}
		return attached != nil && before.Windows > 1 && maps.Equal(last, want)
	})
	return attached
}

// Between windows all is detached, but what tells of drops.
func TestBudgetDetaches(t *testing.T) {
	for detail, want := range map[tracer.Detail]map[string]int{
		tracer.DetailDevices: {"input": 2, "output": 2},
		tracer.DetailHooks:   {"prerouting": 2, "input": 4, "forward": 4, "output": 6},
	} {
		t.Run(string(detail), func(t *testing.T) {
			s := newStage(t, budgetWorld(lab.WireVeth))
			s.open(tracer.Config{MaxOverhead: tight, Detail: detail}, "nginx")
			s.underLoad(func() {
				attached := s.seenLinks(map[string]int{"tracepoint": 1})
				for hook, n := range want {
					if attached[hook] < n {
						t.Errorf("in a window %v, want %v", attached, want)
					}
				}
				if attached["tracepoint"] < 3 {
					t.Errorf("in a window %v", attached)
				}
			})
			s.stopBudget()
		})
	}
}
