package prom

import (
	"strings"
	"time"
)

// spans are for how long each life's packets were traced, from when it is first
// told of to its end, and by which name.
type spans struct {
	known map[lifeID]*span
	names *bound
	begun bool // the first snapshot has been taken: what it tells of was there from the start
}

// span is of the tracer's time: begin and end of one life. Its name stays what it
// was at first: if one that has found no room below the ceiling took the room that
// others leave, its packets would be counted in two places.
type span struct {
	begin, end time.Duration
	name       string
	shared     bool // the name stands for others too
}

// of returns the span of a life, up to now. observed is the tracer's own time.
func (s *spans) of(id lifeID, running bool, observed time.Duration) *span {
	one := s.known[id]
	if one == nil {
		own := valid(id.name)
		one = &span{name: s.names.of(own)}
		one.shared = one.name != own
		if s.begun {
			one.begin, one.end = observed, observed
		}
		s.known[id] = one
	}
	if running {
		one.end = observed
	}
	return one
}

// seconds are how long it was traced.
func (s *span) seconds() float64 { return (s.end - s.begin).Seconds() }

// valid is a text that can be a label's value: a process may call itself anything,
// and a scraper refuses a whole answer for one byte that is no UTF-8.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// keep forgets all lives but those.
func (s *spans) keep(lives []life) {
	s.begun = true
	if len(s.known) == len(lives) {
		return
	}
	told := map[lifeID]bool{}
	for _, one := range lives {
		told[one.id] = true
	}
	for id := range s.known {
		if !told[id] {
			delete(s.known, id)
		}
	}
}
