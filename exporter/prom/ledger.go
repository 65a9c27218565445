package prom

import (
	"maps"
	"slices"
	"time"

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
	key   seriesKey
	value float64
	hist  *histogram.Histogram // nil: a counter
	turn  uint64               // of the book, in which this was told last
	shown *shown               // nil: not yet
}

// book is what one life has had. It is written anew at each turn, mostly in the
// order of the one before: what is told lies where the last one was followed by
// it, so that a turn of thousands of series looks few of them up. What a turn does
// not tell stays as it was.
type book struct {
	all   []*series // by first appearance
	index map[seriesKey]int
	next  int // in all: the one expected now
	turn  uint64
}

func newBook() *book { return &book{index: map[seriesKey]int{}} }

// begin begins a turn.
func (b *book) begin() { b.next, b.turn = 0, b.turn+1 }

// count adds to a counter of this turn.
func (b *book) count(f family, value float64, labels ...string) {
	b.add(keyOf(f, labels), value, nil)
}

// observe adds to a histogram of this turn. h is not changed, and kept while it is the only one.
func (b *book) observe(f family, h *histogram.Histogram, labels ...string) {
	b.add(keyOf(f, labels), 0, h)
}

func (b *book) add(key seriesKey, value float64, hist *histogram.Histogram) {
	s := b.find(key)
	switch {
	case s.turn != b.turn:
		s.value, s.hist, s.turn = value, hist, b.turn
	case hist == nil:
		s.value += value
	default:
		sum := *s.hist
		sum.Merge(hist)
		s.hist = &sum
	}
}

func (b *book) find(key seriesKey) *series {
	at := b.next
	if at >= len(b.all) || b.all[at].key != key {
		var known bool
		if at, known = b.index[key]; !known {
			at = len(b.all)
			b.index[key] = at
			b.all = append(b.all, &series{key: key})
		}
	}
	b.next = at + 1
	return b.all[at]
}

// merge adds all of another book to this turn.
func (b *book) merge(other *book) {
	for _, s := range other.all {
		b.add(s.key, s.value, s.hist)
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
	past    *book     // of lives that the tracer no longer tells of; nil: none
	present map[lifeID]*book
	order   []lifeID // of present, by first appearance
	shown   map[seriesKey]*shown
}

// shown is what scrapes have had of a series.
type shown struct {
	highest float64 // of a counter
	labels  labels
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
	shared  bool // by containers beyond the ceiling
	id      lifeID
	running bool
	tell    func(b *book) // writes what it has had
}

// enter takes what a snapshot tells of all targets.
func (l *ledger) enter(now time.Time, all []life) {
	told := make(map[*book]bool, len(all))
	for _, one := range all {
		of := l.names[one.name]
		if of == nil {
			of = &lives{since: now, last: now, present: map[lifeID]*book{}, shown: map[seriesKey]*shown{}}
			l.names[one.name] = of
		}
		if one.running {
			of.last = now
		}
		b := of.present[one.id]
		if b == nil {
			b = newBook()
			of.present[one.id] = b
			of.order = append(of.order, one.id)
		}
		b.begin()
		one.tell(b)
		told[b] = true
	}
	for name, of := range l.names {
		of.order = slices.DeleteFunc(of.order, func(id lifeID) bool {
			b := of.present[id]
			if told[b] {
				return false
			}
			of.bury(id, b)
			return true
		})
		if now.Sub(of.last) > l.grace {
			delete(l.names, name)
		}
	}
}

// bury adds a life to those that are past.
func (of *lives) bury(id lifeID, b *book) {
	if of.past == nil {
		of.past = newBook()
		of.past.begin() // the only turn: all lives add up
	}
	of.past.merge(b)
	delete(of.present, id)
}

// each calls f for all names, in their order.
func (l *ledger) each(f func(of *lives)) {
	for _, name := range slices.Sorted(maps.Keys(l.names)) {
		f(l.names[name])
	}
}

// total is what a name's containers have had so far, by series.
func (of *lives) total() *book {
	if of.past == nil && len(of.order) == 1 {
		return of.present[of.order[0]]
	}
	all := newBook()
	all.begin()
	if of.past != nil {
		all.merge(of.past)
	}
	for _, id := range of.order {
		all.merge(of.present[id])
	}
	return all
}

// each calls f for each series. Counters never go back: the tracer may take back
// a start that turns out to be another target's.
func (of *lives) each(f func(s *series, value float64)) {
	for _, s := range of.total().all {
		if s.shown == nil {
			s.shown = of.showing(s.key)
		}
		s.shown.highest = max(s.shown.highest, s.value)
		f(s, s.shown.highest)
	}
}

func (of *lives) showing(key seriesKey) *shown {
	have := of.shown[key]
	if have == nil {
		have = &shown{labels: labels{values: slices.Clone(key.labels[:])}}
		of.shown[key] = have
	}
	return have
}
