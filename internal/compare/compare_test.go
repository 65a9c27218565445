// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

// hopSpec is a hop of a made target: its name, side and mean.
type hopSpec struct {
	name   string
	target bool
	mean   float64
}

func bridgeIn() []hopSpec {
	return []hopSpec{
		{"netfilter/prerouting", false, 700},
		{"routing", false, 600},
		{"netfilter/forward", false, 300},
		{"netfilter/postrouting", false, 200},
		{"bridge", false, 450},
		{"veth", false, 250},
		{"softirq", true, 350},
		{"netfilter/input", true, 220},
	}
}

func hostIn() []hopSpec {
	return []hopSpec{{"netfilter/prerouting", false, 600}, {"netfilter/input", false, 190}}
}

func bridgeOut() []hopSpec {
	return []hopSpec{
		{"netfilter/output", true, 280},
		{"veth", true, 380},
		{"softirq", false, 400},
		{"netfilter/prerouting", false, 800},
		{"bridge", false, 350},
		{"routing", false, 700},
		{"netfilter/forward", false, 300},
		{"netfilter/postrouting", false, 600},
	}
}

func hostOut() []hopSpec {
	return []hopSpec{{"netfilter/output", false, 400}, {"netfilter/postrouting", false, 330}}
}

// made makes a target whose packets come in rounds: skewed times with a tail,
// and a mood of each round that all of its hops share.
type made struct {
	random          *rand.Rand
	rounds, packets int
	mood            float64 // how much rounds differ, as a share
	drift, phase    float64 // a slow wave under all of them, as a share, and where in it the run begins
}

func newMade(seed uint64) made {
	return made{random: rand.New(rand.NewPCG(seed, 1)), rounds: 20, packets: 300, mood: 0.1}
}

func (m made) target(name string, in, out []hopSpec) tracer.Target {
	return tracer.Target{Name: name, Paths: []tracer.Path{m.path(tracer.Ingress, in), m.path(tracer.Egress, out)}}
}

func (m made) path(d tracer.Direction, hops []hopSpec) tracer.Path {
	p := tracer.Path{ID: d.String(), Family: "ipv4", Protocol: "tcp", Peer: "uplink", Flow: "established", Direction: d}
	for i, h := range hops {
		hop := tracer.Hop{Index: i, Name: h.name}
		if h.target {
			hop.Side = tracer.SideTarget
		}
		p.Hops = append(p.Hops, hop)
	}
	for r := range m.rounds {
		mood := 1 + m.mood*m.random.NormFloat64() + m.drift*math.Sin(m.phase+2*math.Pi*float64(r)/float64(2*m.rounds))
		sums := make([]uint64, len(hops)+1)
		for range m.packets {
			var whole uint64
			for i, h := range hops {
				ns := h.mean * mood * (0.8 + 0.2*m.random.ExpFloat64())
				if m.random.IntN(200) == 0 {
					ns *= 5
				}
				v := uint64(max(ns, 1))
				p.Hops[i].Latency.Hist.Add(v)
				sums[i] += v
				whole += v
			}
			p.Latency.Hist.Add(whole)
			sums[len(hops)] += whole
		}
		start := time.Duration(r) * time.Second
		for i := range hops {
			p.Hops[i].Latency.Rounds = append(p.Hops[i].Latency.Rounds, tracer.Round{Start: start, Count: uint64(m.packets), SumNs: sums[i]})
		}
		p.Latency.Rounds = append(p.Latency.Rounds, tracer.Round{Start: start, Count: uint64(m.packets), SumNs: sums[len(hops)]})
		p.Packets += uint64(m.packets)
	}
	return p
}

func compared(t *testing.T, of, against tracer.Target, o Options) result.Comparison {
	t.Helper()
	o.Of, o.Against = of.Name, against.Name
	c, ids, err := Targets(of, against, o)
	if err != nil {
		t.Fatal(err)
	}
	if ids[0][0] == "" && ids[0][1] == "" {
		t.Error("no path was chosen")
	}
	return c
}

// Two identical sides are not distinguishable, in at least 19 of 20 runs.
func TestIdenticalSides(t *testing.T) {
	for _, paired := range []bool{true, false} {
		same := 0
		for seed := range uint64(20) {
			m := newMade(100 + seed)
			c := compared(t, m.target("a", bridgeIn(), bridgeOut()), m.target("b", bridgeIn(), bridgeOut()), Options{Seed: seed, Paired: paired})
			if !c.Distinct {
				same++
				if !strings.Contains(c.Verdict, "not distinguishable") || c.Rows[0].Share != nil {
					t.Errorf("seed %d: %s, share %v", seed, c.Verdict, c.Rows[0].Share)
				}
			}
		}
		if same < 19 {
			t.Errorf("paired %v: identical sides are not distinguishable in %d of 20 runs only", paired, same)
		}
	}
}

// An interval of 95% holds the truth in about 95 of 100 runs, with many rounds
// and with few; all rows together have a false one in about 5 of 100.
func TestCoverage(t *testing.T) {
	const runs, truth = 200, 500.0
	for _, rounds := range []int{8, 30} {
		holds, falseRows := 0, 0
		for seed := range uint64(runs) {
			m := newMade(1000 + seed)
			m.rounds, m.packets = rounds, 40
			in := hostIn()
			in[1].mean += truth / 1.02 // of the tail: 1 + 4/200
			c := compared(t, m.target("a", in, hostOut()), m.target("b", hostIn(), hostOut()), Options{Seed: seed})
			w := c.Whole.Mean
			if w.Lo <= truth && truth <= w.Hi {
				holds++
			}
			for _, r := range c.Rows {
				if r.Distinct && r.Hop != "netfilter/input" {
					falseRows++
				}
			}
		}
		// 3 standard deviations of 200 runs at 95% are 4.6%
		if share := float64(holds) / runs; share < 0.904 || share > 0.995 {
			t.Errorf("%d rounds: the interval holds the truth in %.1f%% of runs", rounds, share*100)
		}
		if share := float64(falseRows) / runs; share > 0.096 {
			t.Errorf("%d rounds: %.1f%% of runs tell a row apart that is the same", rounds, share*100)
		}
	}
}

// A known delay in one hop of one side comes out in its row, in its layer, in
// the whole, and nowhere else; shares add up.
func TestKnownDelay(t *testing.T) {
	const delay = 10_000.0
	m := newMade(7)
	slow := bridgeIn()
	slow[2].mean += delay / (1 + 4.0/200)
	c := compared(t, m.target("after", slow, bridgeOut()), m.target("before", bridgeIn(), bridgeOut()), Options{Seed: 1})
	total, layers := 0.0, 0.0
	for _, r := range c.Rows {
		total += r.Share.Share
		if r.Hop != "netfilter/forward" || r.Direction != "ingress" {
			if r.Distinct {
				t.Errorf("%s %s moved by %.0f ns", r.Direction, r.Hop, r.Mean.Ns)
			}
			continue
		}
		if math.Abs(r.Mean.Ns-delay) > 0.03*delay || r.Mean.Lo > delay || r.Mean.Hi < delay {
			t.Errorf("forward moved by %+v, want %.0f", r.Mean, delay)
		}
		if !r.Distinct || r.Words != "" || math.Abs(r.Share.Share-1) > 0.05 {
			t.Errorf("forward: %+v, share %+v", r, r.Share)
		}
		if r.P50 == nil || math.Abs(r.P50.Ns-delay*0.94) > 0.1*delay || r.P50.Lo >= r.P50.Hi {
			t.Errorf("median of forward moved by %+v", r.P50)
		}
	}
	for _, l := range c.Layers {
		layers += l.Share.Share
	}
	if math.Abs(total-1) > 1e-9 || math.Abs(layers-1) > 1e-9 {
		t.Errorf("shares of rows add up to %f, of layers to %f", total, layers)
	}
	sum := 0.0
	for _, p := range c.Paths {
		sum += p.Mean.Ns
	}
	if math.Abs(sum-c.Whole.Mean.Ns) > 1 { // paths are summed whole, hops one by one
		t.Errorf("paths add up to %f, the whole is %f", sum, c.Whole.Mean.Ns)
	}
}

// Bridge against host mode: what host mode does not have stands opposite an
// empty cell, and what the two share stands side by side.
func TestHostModeHasEmptyCells(t *testing.T) {
	m := newMade(3)
	c := compared(t, m.target("nginx", bridgeIn(), bridgeOut()), m.target("web", hostIn(), hostOut()), Options{Seed: 1, Paired: true})
	var got []string
	for _, r := range c.Rows {
		text := r.Direction + " " + r.Hop + " " + r.Layer
		if r.Against == nil {
			text += " empty"
			if math.Abs(r.Mean.Ns-r.Of.MeanNs) > 1e-6 {
				t.Errorf("%s: differs by %f, and is %f", text, r.Mean.Ns, r.Of.MeanNs)
			}
		}
		got = append(got, text)
	}
	want := `ingress netfilter/prerouting netfilter/prerouting
ingress routing routing empty
ingress netfilter/forward netfilter/forward empty
ingress netfilter/postrouting netfilter/postrouting empty
ingress bridge bridge empty
ingress veth veth empty
ingress softirq softirq empty
ingress netfilter/input container
egress netfilter/output container
egress veth veth empty
egress softirq softirq empty
egress netfilter/prerouting netfilter/prerouting empty
egress bridge bridge empty
egress routing routing empty
egress netfilter/forward netfilter/forward empty
egress netfilter/postrouting netfilter/postrouting`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("rows:\n%s\nwant:\n%s", text, want)
	}
	if !c.Distinct || !strings.Contains(c.Verdict, "longer than those of web") {
		t.Error(c.Verdict)
	}
}

// Too little of either kind gives no interval, and says so.
func TestTooFew(t *testing.T) {
	m := newMade(4)
	full := m.target("a", bridgeIn(), bridgeOut())
	m.rounds = MinRounds - 1
	short := m.target("b", bridgeIn(), bridgeOut())
	m.rounds, m.packets = 20, 4
	thin := m.target("c", bridgeIn(), bridgeOut())
	for _, of := range []tracer.Target{short, thin} {
		c := compared(t, of, full, Options{})
		if c.Distinct || c.Whole.Mean != nil || c.Rows[0].Mean != nil || c.Rows[0].Words != "too few packets" || !strings.Contains(c.Verdict, "too few") {
			t.Errorf("%s: %s, %+v", of.Name, c.Verdict, c.Rows[0])
		}
	}
	var nothing *NothingError
	if _, _, err := Targets(tracer.Target{}, full, Options{Of: "x", Against: "a"}); !errors.As(err, &nothing) {
		t.Errorf("no packets: %v", err)
	}
	unlike := full // has packets, of which none is followed like the other's
	unlike.Paths, unlike.Accounting[tracer.Ingress].Completed = nil, 7
	for _, tt := range []struct {
		of, against tracer.Target
		want        string
	}{
		{tracer.Target{}, unlike, "x had no packets: "},
		{unlike, tracer.Target{}, "a had no packets: "},
		{tracer.Target{}, tracer.Target{}, "x and a had no packets: "},
		{unlike, unlike, "x and a had no packets of the same kind "},
	} {
		if _, _, err := Targets(tt.of, tt.against, Options{Of: "x", Against: "a"}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// What measuring costs is subtracted, or not.
func TestNullHops(t *testing.T) {
	m := newMade(5)
	a, b := m.target("a", bridgeIn(), bridgeOut()), m.target("b", hostIn(), hostOut())
	stamp := tracer.Null{Count: 100, MeanNs: 100, MedianNs: 95, SpreadNs: 10}
	for _, target := range []tracer.Target{a, b} {
		for i := range target.Paths {
			p := &target.Paths[i]
			p.Latency.Null = tracer.Null{Count: 100, MeanNs: 100 * float64(len(p.Hops)), MedianNs: 95 * float64(len(p.Hops))}
			for h := range p.Hops {
				p.Hops[h].Latency.Null = stamp
			}
		}
	}
	raw := compared(t, a, b, Options{Raw: true, Paired: true}).Whole.Mean.Ns
	corrected := compared(t, a, b, Options{Paired: true}).Whole.Mean.Ns
	if math.Abs(raw-corrected-12*100) > 1e-6 {
		t.Errorf("12 hops more cost %f less without their stamps, want 1200", raw-corrected)
	}
}

func TestAlign(t *testing.T) {
	hops := func(names ...string) (all []tracer.Hop) {
		for _, n := range names {
			h := tracer.Hop{Name: strings.TrimPrefix(n, "t:")}
			if h.Name != n {
				h.Side = tracer.SideTarget
			}
			all = append(all, h)
		}
		return all
	}
	for _, tt := range []struct {
		of, against []tracer.Hop
		want        string
	}{
		{hops("a", "b", "c"), hops("a", "c"), "a=a b= c=c"},
		{hops("a"), hops("b"), "a= =b"},
		{hops(), hops("b", "c"), "=b =c"},
		{hops("bridge", "x", "bridge"), hops("bridge"), "bridge=bridge x= bridge="},
		{hops("in", "t:in"), hops("t:in"), "in= in=in"},
		{hops("f/raw", "f/filter"), hops("f"), "f/raw=f f/filter="},
	} {
		var got []string
		for _, p := range align(tt.of, tt.against) {
			a, b := "", ""
			if p.of != nil {
				a = p.of.Name
			}
			if p.against != nil {
				b = p.against.Name
			}
			got = append(got, a+"="+b)
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s, want %s", text, tt.want)
		}
	}
}

func TestStudentT(t *testing.T) {
	for _, tt := range []struct {
		p       float64
		freedom int
		want    float64
	}{{0.975, 1, 12.706}, {0.975, 4, 2.776}, {0.975, 30, 2.042}, {0.995, 7, 3.499}, {0.975, 100000, 1.960}} {
		if got := studentT(tt.p, tt.freedom); math.Abs(got-tt.want) > 0.002 {
			t.Errorf("t(%g, %d) = %f, want %f", tt.p, tt.freedom, got, tt.want)
		}
	}
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		e      result.Estimate
		signed bool
		want   string
	}{
		{result.Estimate{Ns: 4213, Lo: 4150, Hi: 4270}, false, "4.21 µs [4.15, 4.27]"},
		{result.Estimate{Ns: -3, Lo: -120, Hi: 99.99}, true, "-3.00 ns [-120, +100]"},
		{result.Estimate{Ns: 12_345_678, Lo: 0, Hi: 2e7}, true, "+12.3 ms [+0.00, +20.0]"},
	} {
		if got := Interval(tt.e, tt.signed); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
