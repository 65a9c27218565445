package prom

import (
	"testing"
	"time"
)

func TestSpansAreOfTheLifeAlone(t *testing.T) {
	s := spans{known: map[lifeID]*span{}, names: newBound(10)}
	first, second := lifeID{id: "a", pid: 1}, lifeID{id: "a", pid: 2}
	want := func(what string, id lifeID, running bool, observed, want time.Duration) {
		t.Helper()
		if one := s.of(id, running, observed); one.end-one.begin != want {
			t.Errorf("%s: %+v, want %v", what, one, want)
		}
	}
	want("there from the start", first, true, 5, 5)
	s.keep([]life{{id: first}})
	want("it goes on", first, true, 9, 9)
	want("it has ended", first, false, 20, 9)
	want("another life begins", second, true, 20, 0)
	want("and goes on", second, true, 23, 3)
	s.keep([]life{{id: second}})
	if s.known[first] != nil || s.known[second] == nil {
		t.Error("the one that is no longer told of stays, or the other has gone")
	}
}
