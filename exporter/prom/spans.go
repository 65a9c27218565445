package prom

import "time"

// spans are for how long each life's packets were traced: from when it is first
// told of to its end.
type spans struct {
	known map[lifeID]*span
	begun bool // the first snapshot has been taken: what it tells of was there from the start
}

// span is of the tracer's time: begin and end of one life.
type span struct{ begin, end time.Duration }

// of returns how long a life has been traced. observed is the tracer's own time.
func (s *spans) of(id lifeID, running bool, observed time.Duration) time.Duration {
	one := s.known[id]
	if one == nil {
		one = &span{}
		if s.begun {
			one.begin, one.end = observed, observed
		}
		s.known[id] = one
	}
	if running {
		one.end = observed
	}
	return one.end - one.begin
}

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
