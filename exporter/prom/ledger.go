package prom

import (
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// family is one metric.
type family uint8

// series is one line of a family: a counter or a histogram.
type series struct {
	family family
	labels []string // in the order of the family's description
	value  float64
	hist   *histogram.Histogram // nil: a counter
}

func (s *series) key() string {
	return string(rune('a'+s.family)) + strings.Join(s.labels, "\xff")
}

// book is a set of series.
type book map[string]*series

// count adds to a counter.
func (b book) count(f family, value float64, labels ...string) {
	s := &series{family: f, labels: labels, value: value}
	if have := b[s.key()]; have != nil {
		have.value += value
		return
	}
	b[s.key()] = s
}

// observe adds to a histogram. h is not changed, and kept while it is the only one.
func (b book) observe(f family, h *histogram.Histogram, labels ...string) {
	s := &series{family: f, labels: labels, hist: h}
	key := s.key()
	have := b[key]
	if have == nil {
		b[key] = s
		return
	}
	sum := *have.hist
	sum.Merge(h)
	have.hist = &sum
}

// merge adds all of another book.
func (b book) merge(other book) {
	for _, s := range other {
		if s.hist != nil {
			b.observe(s.family, s.hist, s.labels...)
		} else {
			b.count(s.family, s.value, s.labels...)
		}
	}
}

// ledger keeps what containers have had, by name, over all their lives.
type ledger struct {
	grace time.Duration
	names map[string]*lives
}

// lives are those of the containers of one name.
type lives struct {
	since   time.Time // first seen
	last    time.Time // last seen running
	past    book      // of lives that the tracer no longer tells of
	present map[string]book
	highest map[string]float64 // what each counter has shown
}

func newLedger(grace time.Duration) *ledger {
	return &ledger{grace: grace, names: map[string]*lives{}}
}

// life is what a snapshot tells of one target.
type life struct {
	name    string
	id      string // tells it from another life of that name
	running bool
	book    book
}

// enter takes what a snapshot tells of all targets.
func (l *ledger) enter(now time.Time, all []life) {
	seen := map[string]map[string]bool{}
	for _, one := range all {
		of := l.names[one.name]
		if of == nil {
			of = &lives{since: now, last: now, past: book{}, present: map[string]book{}, highest: map[string]float64{}}
			l.names[one.name] = of
		}
		if one.running {
			of.last = now
		}
		// what the tracer has stopped telling of a life that has ended stays as it was
		for key, s := range of.present[one.id] {
			if one.book[key] == nil {
				one.book[key] = s
			}
		}
		of.present[one.id] = one.book
		if seen[one.name] == nil {
			seen[one.name] = map[string]bool{}
		}
		seen[one.name][one.id] = true
	}
	for name, of := range l.names {
		for id, b := range of.present {
			if !seen[name][id] {
				of.past.merge(b)
				delete(of.present, id)
			}
		}
		if now.Sub(of.last) > l.grace {
			delete(l.names, name)
		}
	}
}

// total is what a name's containers have had so far. Counters never go back: the
// tracer may take back a start that turns out to be another target's.
func (of *lives) total() book {
	all := book{}
	all.merge(of.past)
	for _, b := range of.present {
		all.merge(b)
	}
	for key, s := range all {
		if s.hist == nil {
			s.value = max(s.value, of.highest[key])
			of.highest[key] = s.value
		}
	}
	return all
}
