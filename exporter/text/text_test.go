package text

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/internal/golden"
	"github.com/vethtrace/vethtrace/tracer"
)

var update = golden.Update("the golden files")

func written(t *testing.T, s tracer.Snapshot, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, o := range map[string]Options{
		"pipe":  {},
		"80":    {Width: 80},
		"120":   {Width: 120},
		"160":   {Width: 160},
		"color": {Width: 120, Color: true},
		"raw":   {Width: 120, Raw: true},
	} {
		got := written(t, sample.Snapshot(), o)
		file := filepath.Join("testdata", name+".txt")
		golden.Compare(t, *update, file, got)
	}
}

func TestNothingOfAContainerReachesTheTerminal(t *testing.T) {
	const evil = "\x1b]0;owned\x07\u202e\n"
	s := sample.Snapshot()
	g := &s.Targets[0]
	g.Name, g.Mode, g.Aliases = evil, evil, []string{evil}
	g.Interfaces[0].Name, g.Interfaces[0].Peer, g.Interfaces[0].Bridge = evil, evil, evil
	g.Paths[0].Peer, g.Paths[0].Family, g.Paths[0].Protocol = evil, evil, evil
	g.Paths[0].Hops[0].Name, g.Paths[0].Hops[0].Device = evil, evil
	g.Drops[0].Hop, g.Drops[0].Reason = evil, evil
	g.Ports[0].Protocol = evil
	g.Skipped[0][0].Reason = evil
	j := &s.Journeys[0]
	j.Target, j.Peer, j.Outcome, j.Reason, j.Path = evil, evil, evil, evil, evil
	j.Stamps[1].Hook, j.Stamps[1].Hop, j.Stamps[1].Device = evil, evil, evil
	s.Notes, s.Version, s.Kernel, s.Detail = []string{evil}, evil, evil, tracer.Detail(evil)
	s.Observer.StampNs = map[string]float64{evil: 1}
	text := written(t, s, Options{})
	if i := strings.IndexAny(text, "\x1b\x07\u202e"); i >= 0 {
		t.Errorf("it does: %q", text[max(i-60, 0):i+10])
	}
	if n := strings.Count(text, `\x1b]0;owned\x07\u202e\x0a`); n < 24 {
		t.Errorf("only %d of them are shown escaped", n)
	}
}

func TestNoTargets(t *testing.T) {
	text := written(t, tracer.Snapshot{Version: "1", Detail: tracer.DetailHooks}, Options{})
	if !strings.Contains(text, "no targets") {
		t.Error(text)
	}
}

func TestWriteJourney(t *testing.T) {
	s := sample.Snapshot()
	var b bytes.Buffer
	for _, j := range s.Journeys {
		if err := WriteJourney(&b, j, Options{Width: 120}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"slow journey 71  nginx  in from uplink  118 bytes  completed  1.22 ms  path a01b77",
		"1.21 ms  +1.21 ms    1  eth0         softirq",
		"sampled journey 72  nginx  in from uplink  60 bytes  dropped: NETFILTER_DROP  3.12 µs",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestSmallNames(t *testing.T) {
	if got := Sentence(tracer.Target{Name: "a\x07"}, Options{}); got != `a\x07: no packets yet` {
		t.Error(got)
	}
	if Escape("\x07") != `\x07` || Duration(1.8e6) != "1.80 ms" {
		t.Error("Escape and Duration are not those of the tables")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe is closed") }

func TestErrorsOfTheWriterAreTold(t *testing.T) {
	err := Write(broken{}, sample.Snapshot(), Options{})
	if err == nil || err.Error() != "write text: pipe is closed" {
		t.Error(err)
	}
}
