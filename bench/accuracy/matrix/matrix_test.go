// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// path makes ends of hooks.
func path(hooks ...string) []Ends {
	var all []Ends
	for i := 1; i < len(hooks); i++ {
		all = append(all, Ends{hooks[i-1], hooks[i]})
	}
	return all
}

func TestHopOfAPlace(t *testing.T) {
	hooks := path("uplink/ingress", "host/prerouting/last", "host/forward/first", "host/forward/last", "bridge/egress",
		"port/egress", "netif_rx", "device/ingress", "target/input/last")
	for place, want := range map[string]int{
		"uplink ingress": 0, "prerouting nat": 0, "prerouting, behind": 1, "forward": 2, "postrouting nat": 3,
		"bridge egress, before": 3, "bridge egress": 4, "port egress": 5, "device ingress, before": 6,
		"target prerouting": 7, "target input": 7, "device egress": -1, "input nat": -1,
	} {
		b := Block{Mode: "bridge", Place: place}
		if got, err := b.Hop("ingress", hooks); got != want || err != nil {
			t.Errorf("%s: hop %d, %v, want %d", place, got, err, want)
		}
	}
	tables := path("host/prerouting/first", "host/prerouting/1", "host/prerouting/2", "host/prerouting/last")
	if got, err := (Block{Mode: "host", Place: "prerouting conntrack"}).Hop("ingress", tables); got != 1 || err != nil {
		t.Errorf("conntrack: hop %d, %v", got, err)
	}
}

// A hook where the plan does not expect it is an error, not a hop that passes unseen.
func TestHopOfAnUnplannedPath(t *testing.T) {
	for _, hooks := range [][]Ends{
		path("uplink/ingress", "loopback/ingress"),
		path("bridge/egress", "uplink/ingress"),
		path("uplink/ingress", "bridge/egress", "host/forward/first"),
		path("uplink/ingress", "uplink/ingress"),
		path("new/hook", "port/egress"),
	} {
		var unknown *UnknownHookError
		if _, err := (Block{Mode: "bridge", Place: "forward"}).Hop("ingress", hooks); !errors.As(err, &unknown) || unknown.Error() == "" {
			t.Errorf("%v: %v", hooks, err)
		}
	}
}

func TestDirectionsOfAPlace(t *testing.T) {
	for place, want := range map[string]string{
		"forward": "ingress egress", "port egress": "ingress", "target output": "egress", "input nat": "",
	} {
		if got := strings.Join(Block{Mode: "bridge", Place: place}.Directions(), " "); got != want {
			t.Errorf("%s: %q, want %q", place, got, want)
		}
	}
}

// The whole matrix is the product of its factors.
func TestBlocks(t *testing.T) {
	seen := map[Block]bool{}
	for _, b := range Blocks() {
		if seen[b] || (len(b.Directions()) == 0) != (b.Place == Outside) {
			t.Errorf("%v is there twice, or on no path", b)
		}
		seen[b] = true
	}
	if want := 3 * 4 * (len(PlacesOf("bridge")) + len(PlacesOf("host"))); len(seen) != want {
		t.Errorf("%d blocks, want %d", len(seen), want)
	}
}

// What Cover promises, counted by other means than its own.
func TestCover(t *testing.T) {
	for seed := range uint64(5) {
		cells := Cover(seed)
		if len(cells) > MostCells {
			t.Errorf("seed %d: %d cells, want at most %d", seed, len(cells), MostCells)
		}
		has := map[string]bool{}
		for _, c := range cells {
			has[c.Mode+"|"+c.Place] = true
			for _, direction := range c.Directions() {
				values := []any{c.Mode, direction, c.Family, c.Protocol, c.Detail, c.Delay}
				for _, a := range values {
					for _, b := range values {
						has[fmt.Sprint(a, "|", b)] = true
					}
				}
			}
		}
		factors := [][]any{
			{"bridge", "host"},
			{"ingress", "egress"},
			{"ipv4", "ipv6"},
			{"tcp", "udp"},
			{"devices", "hooks", "tables"},
			{time.Microsecond, 5 * time.Microsecond, 20 * time.Microsecond, 100 * time.Microsecond, 2 * time.Millisecond},
		}
		var want []string
		for i, one := range factors {
			for _, other := range factors[:i] {
				for _, a := range one {
					for _, b := range other {
						want = append(want, fmt.Sprint(a, "|", b))
					}
				}
			}
		}
		for _, mode := range []string{"bridge", "host"} {
			for _, place := range PlacesOf(mode) {
				want = append(want, mode+"|"+place)
			}
		}
		for _, w := range want {
			if !has[w] {
				t.Errorf("seed %d: %s is not covered", seed, w)
			}
		}
		if !slices.Equal(cells, Cover(seed)) {
			t.Errorf("seed %d: other cells the second time", seed)
		}
	}
}

// The median is as good as its bucket is fine, and better where values spread.
func TestMedian(t *testing.T) {
	if m := Median(&histogram.Histogram{}); !math.IsNaN(m) {
		t.Errorf("of nothing: %f", m)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var h histogram.Histogram
		var all []float64
		centre, spread := 100+random.Float64()*5000, 0.05+random.Float64()*0.1
		for range 1001 {
			ns := uint64(centre * (1 + spread*random.NormFloat64()))
			h.Add(ns)
			all = append(all, float64(ns))
		}
		slices.Sort(all)
		if got, want := Median(&h), all[500]; math.Abs(got-want) > 0.02*want {
			t.Errorf("median %f, want %f (spread %.0f%%)", got, want, spread*100)
		}
	}
}

func rounds(off, same, on float64) Rounds {
	var r Rounds
	for i := range 5 {
		drift := float64(i) * 70 // of the machine: it must cancel out
		r.Off, r.Same, r.On = append(r.Off, off+drift), append(r.Same, same+drift), append(r.On, on+drift)
	}
	return r
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name          string
		delay         time.Duration
		want          float64
		off, same, on float64
		right, noisy  bool
	}{
		{"exact", time.Microsecond, 1000, 300, 300, 1300, true, false},
		{"a hop longer than the delay", time.Microsecond, 1000, 3000, 3000, 4110, true, false},
		{"59 ns of 1 us", time.Microsecond, 1000, 300, 300, 1359, true, false},
		{"61 ns of 1 us", time.Microsecond, 1000, 300, 300, 1361, false, false},
		{"3% of 100 us", 100 * time.Microsecond, 100_000, 300, 300, 103_300, true, false},
		{"more than 3%", 100 * time.Microsecond, 100_000, 300, 300, 103_500, false, false},
		{"less than 97%", 100 * time.Microsecond, 100_000, 300, 300, 97_299, false, false},
		{"another hop stays", 20 * time.Microsecond, 0, 300, 300, 359, true, false},
		{"another hop moves", 20 * time.Microsecond, 0, 300, 300, 361, false, false},
		{"nothing to say", 20 * time.Microsecond, 0, 300, 361, 330, true, true},
		{"caches cool", 2 * time.Millisecond, 0, 300, 300, 6300, true, false},
		{"more than that", 2 * time.Millisecond, 0, 300, 300, 6301, false, false},
	} {
		h := Judge(c.name, c.delay, c.want, rounds(c.off, c.same, c.on))
		if h.Right() != c.right || h.Noisy() != c.noisy {
			t.Errorf("%s: right %v, noisy %v: %+v", c.name, h.Right(), h.Noisy(), h)
		}
	}
	wide := Judge("wide", 0, 0, Rounds{
		Off: []float64{300, 300, 300, 300}, Same: []float64{300, 500, 100, 300}, On: []float64{300, 300, 300, 300},
	})
	if !wide.Noisy() {
		t.Errorf("an A/A arm that is not known well is noisy: %+v", wide)
	}
}

// What varies from round to round is refuted only where no round could have it right.
func TestRefuted(t *testing.T) {
	same := []float64{300, 300, 300, 300}
	for _, c := range []struct {
		name string
		on   []float64
		want bool
	}{
		{"right", []float64{1300, 1300, 1300, 1300}, false},
		{"wrong each time", []float64{1400, 1410, 1400, 1390}, true},
		{"too little each time", []float64{300, 310, 300, 290}, true},
		{"noise about what is right", []float64{1500, 1100, 1700, 1250}, false},
		{"noise far from it", []float64{2500, 3100, 2700, 4250}, true},
	} {
		h := Judge(c.name, time.Microsecond, 1000, Rounds{Off: same, Same: same, On: c.on})
		if h.Refuted() != c.want {
			t.Errorf("%s: refuted %v, want %v: %+v", c.name, h.Refuted(), c.want, h)
		}
	}
}

// Rounds go on while they are apart, whether what they say is right or wrong.
func TestSettled(t *testing.T) {
	for _, c := range []struct {
		name          string
		delay         time.Duration
		want          float64
		off, same, on []float64
		settled       bool
	}{
		{"right", time.Microsecond, 1000, []float64{300, 310}, []float64{305, 310}, []float64{1300, 1320}, true},
		{"wrong, and that is known", time.Microsecond, 1000, []float64{300, 310}, []float64{305, 310}, []float64{1700, 1720}, true},
		{"the A/A arm is apart", time.Microsecond, 0, []float64{300, 340}, []float64{320, 320}, []float64{310, 330}, false},
		{"the movement is", time.Microsecond, 1000, []float64{300, 300}, []float64{300, 300}, []float64{1300, 1340}, false},
		{"as far of 20 us", 20 * time.Microsecond, 20_000, []float64{300, 300}, []float64{300, 300}, []float64{20_300, 20_340}, true},
		{"another hop, behind cold caches", 2 * time.Millisecond, 0, []float64{300, 300}, []float64{300, 300}, []float64{1300, 4200}, true},
		{"farther", 2 * time.Millisecond, 0, []float64{300, 300}, []float64{300, 300}, []float64{1300, 4400}, false},
		{"the machine drifts, arms do not", time.Microsecond, 0, []float64{300, 500}, []float64{300, 500}, []float64{300, 500}, true},
	} {
		if got := Settled(c.delay, c.want, Rounds{Off: c.off, Same: c.same, On: c.on}); got != c.settled {
			t.Errorf("%s: settled %v, want %v", c.name, got, c.settled)
		}
	}
}
