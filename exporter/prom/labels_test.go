package prom

import (
	"log/slog"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
)

// crowd is a snapshot of containers of these names, each with so many packets.
func crowd(packets uint64, names ...string) tracer.Snapshot {
	s := sample.Snapshot()
	s.Targets, s.Journeys = nil, nil
	for _, name := range names {
		t := tracer.Target{Name: name, ID: name, Mode: "bridge", PID: int(name[0])}
		t.Accounting[tracer.Ingress] = tracer.Accounting{Started: packets, Completed: packets}
		s.Targets = append(s.Targets, t)
	}
	return s
}

// A container that found no room below the ceiling stays among the others when
// room comes: its packets would be counted in two places, from zero on in one.
func TestALifeKeepsItsName(t *testing.T) {
	source := &fixed{snapshot: crowd(10, "a", "b", "c")}
	now := time.Unix(1000, 0)
	c := New(Config{Source: source, Ceiling: Ceiling{Containers: 2}, Grace: time.Minute, Now: func() time.Time { return now }})
	sum := func() (all, others float64, names int) {
		for _, m := range gather(t, c)["vethtrace_journeys_started_total"].GetMetric() {
			if m.GetLabel()[1].GetValue() != "ingress" {
				continue
			}
			names++
			all += m.GetCounter().GetValue()
			if m.GetLabel()[0].GetValue() == other {
				others += m.GetCounter().GetValue()
			}
		}
		return all, others, names
	}
	if all, others, names := sum(); all != 30 || others != 10 || names != 3 {
		t.Errorf("%v, of which %v others, under %d names", all, others, names)
	}
	source.snapshot = crowd(15, "b", "c")
	sum()
	now = now.Add(2 * time.Minute) // a is forgotten
	sum()
	if all, others, names := sum(); all != 30 || others != 15 || names != 2 {
		t.Errorf("afterwards %v, of which %v others, under %d names", all, others, names)
	}
	source.snapshot = crowd(5, "b", "d") // room for a new one
	if all, _, names := sum(); all != 15+15+5 || names != 3 {
		t.Errorf("with a new one %v under %d names", all, names)
	}
	if pick(t, gather(t, c)["vethtrace_target_info"], "container", "d") == nil {
		t.Error("the new one has not its own name")
	}
}

// A container may be called as the rest beyond the ceiling is.
func TestAContainerNamedOther(t *testing.T) {
	all := gather(t, New(Config{Source: &fixed{snapshot: crowd(1, other, "web")}}))
	if pick(t, all["vethtrace_target_info"], "container", other, "id", other) == nil {
		t.Error("no info")
	}
	all = gather(t, New(Config{Source: &fixed{snapshot: crowd(1, "web", "db")}, Ceiling: Ceiling{Containers: 1}}))
	if n := len(all["vethtrace_target_info"].GetMetric()); n != 1 {
		t.Errorf("%d infos of one container that has a name and others that share one", n)
	}
}

// A process calls itself what it likes, and what cuts a name to 15 bytes cuts
// letters too. One byte that is no UTF-8 would have a scraper refuse all.
func TestLabelsAreUTF8(t *testing.T) {
	s := crowd(1, "caf\xc3[7]", "\xff")
	c := New(Config{Source: &fixed{snapshot: s}, Describe: func(string) Info { return Info{Image: "a\xfe", Networks: []string{"\x80"}} }})
	all := &Joined{}
	all.Add(c)
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProtobuf} {
		answer := scrape(t, all.Handler(slog.New(slog.DiscardHandler)), accept, "")
		if accept == acceptProtobuf {
			messages(t, answer.body) // which refuses it
		} else if !utf8.Valid(answer.body) {
			t.Errorf("%s: not UTF-8", accept)
		}
	}
	if pick(t, gather(t, c)["vethtrace_target_info"], "container", "caf\uFFFD[7]", "image", "a\uFFFD", "network", "\uFFFD") == nil {
		t.Error("what is UTF-8 is not kept")
	}
}
