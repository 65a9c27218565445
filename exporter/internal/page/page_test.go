package page

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
)

func all(s tracer.Snapshot, o Options) []string {
	lines := append(Title(s, o), Notes(s, o)...)
	for _, t := range s.Targets {
		lines = append(append(lines, Rule(o)), Target(t, s.Duration, o)...)
		lines = append(lines, Words(t, o)...)
	}
	for _, j := range s.Journeys {
		lines = append(lines, Journey(j, o)...)
	}
	return append(lines, Cost(s, o)...)
}

func TestNoLineIsWiderThanThePage(t *testing.T) {
	s := sample.Snapshot()
	s.Observer.RingLost, s.Observer.RecursionMisses, s.Observer.Unpathed = 1, 2, 3
	s.Targets[0].Gone = true
	s.Targets[0].Paths[0].Hops[0].Name = "netfilter/postrouting/" + strings.Repeat("nat+", 20)
	s.Targets[1].Name = strings.Repeat("世界", 50)
	for _, o := range []Options{{}, {Color: true}, {Raw: true}, {Final: true}} {
		for w := 1; w <= 200; w++ {
			o.Width = w
			for _, l := range all(s, o) {
				if got := lipgloss.Width(l); got > max(w, minWidth) {
					t.Fatalf("%+v: %d columns: %q", o, got, l)
				}
				if strings.Contains(l, "\n") {
					t.Fatalf("%+v: two lines in one: %q", o, l)
				}
			}
		}
	}
}

func TestColorChangesNoText(t *testing.T) {
	s := sample.Snapshot()
	for _, w := range []int{0, 80, 120} {
		plain, colored := all(s, Options{Width: w}), all(s, Options{Width: w, Color: true})
		if len(plain) != len(colored) {
			t.Fatalf("width %d: %d and %d lines", w, len(plain), len(colored))
		}
		for i := range plain {
			if got := strip(colored[i]); got != plain[i] {
				t.Errorf("width %d:\n%q\n%q", w, got, plain[i])
			}
			if strings.ContainsRune(plain[i], '\x1b') {
				t.Errorf("an escape without color: %q", plain[i])
			}
		}
	}
}

// strip removes the styles that lipgloss writes: ESC [ ... m.
func strip(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func TestColumnsLeaveInTheirOrder(t *testing.T) {
	target := sample.Snapshot().Targets[0]
	heads := func(w int) string {
		for _, l := range Target(target, time.Second, Options{Width: w}) {
			if f := strings.Fields(l); len(f) > 0 && f[0] == "hop" {
				return strings.Join(f, " ")
			}
		}
		return ""
	}
	for w, want := range map[int]string{
		0:   "hop side device n p50 p90 p99 max share",
		120: "hop side device n p50 p90 p99 max share",
		100: "hop device n p50 p90 p99 max share",
		80:  "hop device p50 p90 p99 max share",
		72:  "hop device p50 p99 max share",
		60:  "hop p50 p99 max share",
		48:  "hop p50 p99 share",
	} {
		if got := heads(w); got != want {
			t.Errorf("width %d: %q, want %q", w, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		ns   float64
		want string
		two  string
	}{
		{0, "0 ns", "0 ns"},
		{-0.3, "0 ns", "0 ns"},
		{-12.4, "-12 ns", "-12 ns"},
		{95.5, "96 ns", "96 ns"},
		{999.4, "999 ns", "999 ns"},
		{999.6, "1.00 µs", "1.0 µs"},
		{1049, "1.05 µs", "1.0 µs"},
		{21340, "21.3 µs", "21 µs"},
		{99960, "100 µs", "100 µs"},
		{999_499, "999 µs", "1.0 ms"},
		{999_600, "1.00 ms", "1.0 ms"},
		{1.8e6, "1.80 ms", "1.8 ms"},
		{2.5e9, "2.50 s", "2.5 s"},
		{3.6e12, "3600 s", "3600 s"},
	} {
		if got := Duration(c.ns); got != c.want {
			t.Errorf("Duration(%g) = %q, want %q", c.ns, got, c.want)
		}
		if got := short(c.ns); got != c.two {
			t.Errorf("short(%g) = %q, want %q", c.ns, got, c.two)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.MaxFloat64} {
		if len(Duration(v)) == 0 {
			t.Errorf("Duration(%g) is empty", v)
		}
	}
}

func TestCountQuantityPercent(t *testing.T) {
	for got, want := range map[string]string{
		Count(0): "0", Count(999): "999", Count(1000): "1,000", Count(18214): "18,214",
		Count(math.MaxUint64): "18,446,744,073,709,551,615",
		Quantity(160, ""):     "160", Quantity(0.5, ""): "0.50", Quantity(9107, ""): "9.11k",
		Quantity(999_900, ""): "1.00M", Quantity(3.75e6, "B/s"): "3.75 MB/s", Quantity(4e15, "B/s"): "4000 TB/s",
		Percent(0): "0.0%", Percent(0.0087): "0.9%", Percent(0.0996): "10%", Percent(0.94): "94%",
		Percent(0.9999): "99.9%", Percent(1): "100%", Percent(-0.0001): "0.0% ", plural(1, "packet"): "1 packet",
	} {
		if got != strings.TrimSpace(want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":            "nginx",
		"naïve 世界 µ":       "naïve 世界 µ",
		"a\x1b[31mb":       `a\x1b[31mb`,
		"line\nend\r\t":    `line\x0aend\x0d\x09`,
		"rtl\u202etxt":     `rtl\u202etxt`,
		"c1\u009b31m":      `c1\u009b31m`,
		"zero\u200bwidth":  `zero\u200bwidth`,
		"bad\xff":          `bad\xff`,
		"\uFFFD":           "\uFFFD",
		"tag\U000e0041":    `tag\U000e0041`,
		`back\slash`:       `back\\slash`,
		"line\u2028break":  `line\u2028break`,
		"\x00":             `\x00`,
		"no-break\u00a0sp": `no-break\u00a0sp`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("nginx\x1b]0;x\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", got, r)
			}
		}
	})
}

func TestBarsAreOnScale(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  string
	}{
		{0, ""},
		{-1, ""},
		{math.NaN(), ""},
		{1e-9, "▏"},
		{0.5, "██"},
		{0.53125, "██▏"},
		{1, "████"},
		{7, "████"},
	} {
		if got := bar(c.share, 4); got != c.want {
			t.Errorf("bar(%g) = %q, want %q", c.share, got, c.want)
		}
	}
}

func TestHeader(t *testing.T) {
	s := sample.Snapshot()
	for i, want := range []string{
		"nginx  bridge  eth0@if27 <-> vethef1372a on docker0  172.17.0.2  8080->80/tcp  also sidecar",
		"nginx-host  host  eth0  198.51.100.1, 2001:db8:51::1  lo",
		"web  shop_default  eth0@if31 <-> veth51aa02c on br-2f6c0d1a9b3e  172.18.0.5  127.0.0.1:8081->80/tcp",
		`evil\x1b[31m\u202etac  netns  eth0@if40 <-> veth-evil`,
	} {
		if got := strings.Join(Header(s.Targets[i], Options{}), "\n"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	twice := s.Targets[0]
	twice.Ports = append(twice.Ports, twice.Ports[0])
	if got := strings.Count(Header(twice, Options{})[0], "8080->80"); got != 1 {
		t.Errorf("a port of both families is shown %d times", got)
	}
}

func TestSentence(t *testing.T) {
	s := sample.Snapshot()
	for i, want := range []string{
		"nginx: the network path takes 11 µs (p99 17 µs) in, 11 µs (p99 17 µs) out; " +
			"packets then wait 1.8 ms for the application; 37 dropped in netfilter/forward, 2 in qdisc",
		"nginx-host: the network path takes 2.9 µs (p99 4.2 µs) in, 2.2 µs (p99 3.5 µs) out; " +
			"packets then wait 1.7 ms for the application",
		"web: the network path takes 3.8 µs in, no packets out yet; docker-proxy answers and takes 42 µs",
		`evil\x1b[31m\u202etac: no packets yet`,
	} {
		if got := Sentence(s.Targets[i], Options{}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func fixed(dir tracer.Direction, peer, flow string, ns, n uint64) tracer.Path {
	p := tracer.Path{Direction: dir, Peer: peer, Flow: flow, Packets: n}
	p.Latency.Hist.AddN(ns, n)
	return p
}

func TestSentenceChoosesPaths(t *testing.T) {
	const in, out = tracer.Ingress, tracer.Egress
	for _, c := range []struct {
		name  string
		paths []tracer.Path
		want  string
	}{
		{
			"uplink before others",
			[]tracer.Path{fixed(in, "host", "established", 9000, 900), fixed(in, "uplink", "established", 3000, 20), fixed(out, "uplink", "established", 20, 20)},
			"the network path takes 3.0 µs in, 20 ns out",
		},
		{
			"others together, by packets",
			[]tracer.Path{fixed(out, "host", "established", 10, 900), fixed(out, "container:a", "established", 25, 100)},
			"the network path takes 10 ns (p99 25 ns) out, no packets in yet",
		},
		{
			"new flows only where there are no others",
			[]tracer.Path{fixed(in, "uplink", "new", 30, 50), fixed(in, "host", "established", 20, 50)},
			"the network path takes 20 ns in, no packets out yet",
		},
		{
			"new flows only",
			[]tracer.Path{fixed(in, "uplink", "new", 30, 50)},
			"the network path takes 30 ns in (new flows), no packets out yet",
		},
		{
			"too few for a median",
			[]tracer.Path{fixed(in, "uplink", "established", 30, 5)},
			"the network path takes 30 ns on average in, no packets out yet",
		},
	} {
		if got := Sentence(tracer.Target{Name: "x", Paths: c.paths}, Options{}); got != "x: "+c.want {
			t.Errorf("%s: %s\nwant x: %s", c.name, got, c.want)
		}
	}
}

func TestDropsInWords(t *testing.T) {
	drops := []tracer.Drop{
		{Hop: "a", Reason: "X", Count: 1},
		{Hop: "b", Reason: "X", Count: 5},
		{Hop: "a", Reason: "Y", Count: 7},
		{Hop: "c", Count: 2},
		{Hop: "d", Count: 1},
		{Hop: "e", Count: 1},
		{Hop: "f"},
	}
	if got, want := dropped(drops), "8 dropped in a, 5 in b, 2 in c, 2 elsewhere"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAccountingThatDoesNotAddUpIsLoud(t *testing.T) {
	var g tracer.Target
	g.Accounting[tracer.Ingress] = tracer.Accounting{Started: 5, Completed: 4}
	g.Accounting[tracer.Egress] = tracer.Accounting{Started: 5, Completed: 6, Dropped: 1}
	text := strings.Join(Target(g, 0, Options{Final: true}), "\n")
	for _, want := range []string{
		"accounting in  5 started = 4 completed",
		"!!! accounting in does not add up: 1 packet started and never ended",
		"!!! accounting out does not add up: 2 packets ended and never started",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if live := strings.Join(Target(g, 0, Options{}), "\n"); strings.Contains(live, "!!!") || strings.Contains(live, "=") || strings.Count(live, "≈") != 2 {
		t.Errorf("before the end it claims a balance:\n%s", live)
	}
}

func TestRawShowsNullHops(t *testing.T) {
	g := sample.Snapshot().Targets[0]
	raw := strings.Join(Target(g, 0, Options{Raw: true}), "\n")
	corrected := strings.Join(Target(g, 0, Options{}), "\n")
	if !strings.Contains(raw, "null/netfilter") || strings.Contains(raw, "~0") {
		t.Error("raw must show null hops and nothing as ~0")
	}
	if strings.Contains(corrected, "null/") || !strings.Contains(corrected, "~0") {
		t.Error("corrected must show ~0 and no null hop")
	}
}

// The legs of docker-proxy are told apart both ways.
func TestLeg(t *testing.T) {
	t.Parallel()
	through := []tracer.Hop{{Side: tracer.SideHost}, {Side: tracer.SideTarget}}
	for want, p := range map[string]tracer.Path{
		"client to docker-proxy":    {Peer: "proxy", Direction: tracer.Ingress, Hops: through[:1]},
		"docker-proxy to container": {Peer: "proxy", Direction: tracer.Ingress, Hops: through},
		"container to docker-proxy": {Peer: "proxy", Direction: tracer.Egress, Hops: through},
		"docker-proxy to client":    {Peer: "proxy", Direction: tracer.Egress, Hops: through[:1]},
	} {
		if got := leg(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A run that comes down to other providers says so above all, and what it does without.
func TestTitleNamesWhatIsMissing(t *testing.T) {
	s := tracer.Snapshot{Version: "1", Detail: tracer.DetailHooks, Hooks: []tracer.Attachment{
		{Hook: "port/egress", Provider: tracer.ProviderClsact},
		{Hook: "bridge/egress", Provider: tracer.ProviderClsact},
		{Hook: "netif_rx", Provider: tracer.ProviderTracepoint},
		{Hook: "target/input/last", Provider: tracer.ProviderTrampoline},
	}}
	o := Options{Width: 200}
	if got := strings.Join(Title(s, o), "\n"); !strings.Contains(got, "by clsact, fentry") || strings.Contains(got, "without") {
		t.Errorf("%q", got)
	}
	for _, hook := range []string{"a", "b", "c", "d\x1b[1m", "e", "f"} {
		s.Missing = append(s.Missing, tracer.Missing{Hook: hook})
	}
	if got := strings.Join(Title(s, o), "\n"); !strings.Contains(got, "without a, b, c, ") || !strings.Contains(got, "and 2 more hooks") || strings.Contains(got, "\x1b[1m,") {
		t.Errorf("%q", got)
	}
	s.Hooks, s.Missing = nil, nil
	if got := strings.Join(Title(s, o), "\n"); strings.Contains(got, "by ") || strings.Contains(got, "without") {
		t.Errorf("%q", got)
	}
}
