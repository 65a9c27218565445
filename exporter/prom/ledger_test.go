package prom

import (
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

func times(ns ...uint64) *histogram.Histogram {
	h := &histogram.Histogram{}
	for _, v := range ns {
		h.Add(v)
	}
	return h
}

func lifeOf(name, id string, running bool, n float64, h *histogram.Histogram) life {
	return life{name: name, id: lifeID{id: id}, running: running, tell: func(b *book) {
		b.count(started, n, name, "ingress")
		if h != nil {
			b.observe(pathLatency, h, name, "ingress", "uplink", "established")
		}
	}}
}

// figures are the counter and the histogram's count of a name.
func figures(t *testing.T, l *ledger, name string) (counter float64, count uint64) {
	t.Helper()
	of := l.names[name]
	if of == nil {
		t.Fatalf("nothing is known of %s", name)
	}
	of.each(func(s *series, value float64) {
		if s.hist != nil {
			count += s.hist.Count()
		} else {
			counter += value
		}
	})
	return counter, count
}

func TestLedgerGoesOnWhereALifeEnded(t *testing.T) {
	l := newLedger(time.Minute)
	now := time.Unix(1000, 0)
	steps := []struct {
		what    string
		lives   []life
		counter float64
		count   uint64
	}{
		{"first life", []life{lifeOf("web", "1", true, 5, times(10, 20))}, 5, 2},
		{"its end, still told", []life{lifeOf("web", "1", false, 7, times(10, 20, 30))}, 7, 3},
		{"a second life beside it", []life{lifeOf("web", "1", false, 7, times(10, 20, 30)), lifeOf("web", "2", true, 1, times(5))}, 8, 4},
		{"the first is no longer told", []life{lifeOf("web", "2", true, 2, times(5, 6))}, 9, 5},
		{"the histogram is no longer told", []life{lifeOf("web", "2", true, 2, nil)}, 9, 5},
		{"a start is taken back", []life{lifeOf("web", "2", true, 1, times(5, 6))}, 9, 5},
		{"and counts again", []life{lifeOf("web", "2", true, 3, times(5, 6, 7))}, 10, 6},
	}
	for _, step := range steps {
		now = now.Add(time.Second)
		l.enter(now, step.lives)
		if counter, count := figures(t, l, "web"); counter != step.counter || count != step.count {
			t.Errorf("%s: %v and %d, want %v and %d", step.what, counter, count, step.counter, step.count)
		}
	}
}

func TestLedgerForgetsAfterTheGraceTime(t *testing.T) {
	l := newLedger(time.Minute)
	now := time.Unix(1000, 0)
	l.enter(now, []life{lifeOf("web", "1", true, 5, nil), lifeOf("db", "2", true, 5, nil)})
	l.enter(now.Add(59*time.Second), []life{lifeOf("db", "2", true, 5, nil)})
	if counter, _ := figures(t, l, "web"); counter != 5 {
		t.Errorf("within the grace time: %v", counter)
	}
	l.enter(now.Add(61*time.Second), []life{lifeOf("db", "2", true, 6, nil), lifeOf("web", "1", false, 5, nil)})
	if l.names["web"] != nil {
		t.Error("still there after the grace time, though it has ended")
	}
	if counter, _ := figures(t, l, "db"); counter != 6 {
		t.Errorf("the one that runs: %v", counter)
	}
}

func TestBookDoesNotChangeWhatItWasGiven(t *testing.T) {
	one, two := times(1, 2), times(3)
	b := newBook()
	b.begin()
	b.observe(hopLatency, one, "web", "ingress", "host", "bridge")
	b.observe(hopLatency, two, "web", "ingress", "host", "bridge")
	if one.Count() != 2 || two.Count() != 1 {
		t.Error("a snapshot's histogram was changed")
	}
	for _, s := range b.all {
		if s.hist.Count() != 3 {
			t.Errorf("sum has %d", s.hist.Count())
		}
	}
}

func TestBoundLetsTheFirstIn(t *testing.T) {
	b := newBound(2)
	for i, value := range []string{"a", "b", "c", "a"} {
		want := []string{"a", "b", other, "a"}[i]
		if got := b.of(value); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
	b.keep(func(value string) bool { return value != "a" })
	if got := b.of("c"); got != "c" {
		t.Errorf("after one has gone: %s", got)
	}
}
