package prom

import (
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// family is one metric.
type family uint8

// mostLabels is how many labels a family has at most.
const mostLabels = 4

// seriesKey tells a series from all others: label values in the order of the
// family's description, "" behind the last.
type seriesKey struct {
	family family
	labels [mostLabels]string
}

func keyOf(f family, labels []string) seriesKey {
	key := seriesKey{family: f}
	copy(key.labels[:], labels)
	return key
}

// series is one line of a family: a counter or a histogram.
type series struct {
	value float64
	hist  *histogram.Histogram // nil: a counter
}

// book is a set of series.
type book map[seriesKey]*series

// count adds to a counter.
func (b book) count(f family, value float64, labels ...string) {
	b.add(keyOf(f, labels), &series{value: value})
}

// observe adds to a histogram. h is not changed, and kept while it is the only one.
func (b book) observe(f family, h *histogram.Histogram, labels ...string) {
	b.add(keyOf(f, labels), &series{hist: h})
}

func (b book) add(key seriesKey, s *series) {
	have := b[key]
	switch {
	case have == nil:
		b[key] = &series{value: s.value, hist: s.hist}
	case s.hist == nil:
		have.value += s.value
	default:
		sum := *have.hist
		sum.Merge(s.hist)
		have.hist = &sum
	}
}

// merge adds all of another book.
func (b book) merge(other book) {
	for key, s := range other {
		b.add(key, s)
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
	present map[lifeID]book
	shown   map[seriesKey]*shown
}

// shown is what scrapes have had of a series.
type shown struct {
	highest float64          // of a counter
	pairs   []*dto.LabelPair // never changed: encoders read them
}

func newLedger(grace time.Duration) *ledger {
	return &ledger{grace: grace, names: map[string]*lives{}}
}

// lifeID tells a life from others of its name.
type lifeID struct {
	id, name string
	pid      int
	netns    uint64
}

// life is what a snapshot tells of one target.
type life struct {
	name    string
	id      lifeID
	running bool
	book    book
}

// enter takes what a snapshot tells of all targets.
func (l *ledger) enter(now time.Time, all []life) {
	seen := map[string]map[lifeID]bool{}
	for _, one := range all {
		of := l.names[one.name]
		if of == nil {
			of = &lives{since: now, last: now, past: book{}, present: map[lifeID]book{}, shown: map[seriesKey]*shown{}}
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
			seen[one.name] = map[lifeID]bool{}
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

// total is what a name's containers have had so far, by series.
func (of *lives) total() book {
	if len(of.past) == 0 && len(of.present) == 1 {
		for _, b := range of.present {
			return b
		}
	}
	all := book{}
	all.merge(of.past)
	for _, b := range of.present {
		all.merge(b)
	}
	return all
}

// each calls f for each series. Counters never go back: the tracer may take back
// a start that turns out to be another target's.
func (of *lives) each(f func(key seriesKey, s series, seen *shown)) {
	for key, s := range of.total() {
		seen := of.shown[key]
		if seen == nil {
			seen = &shown{}
			of.shown[key] = seen
		}
		if s.hist == nil {
			seen.highest = max(seen.highest, s.value)
		}
		f(key, series{value: seen.highest, hist: s.hist}, seen)
	}
}
