package tracer

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
)

// bytesFor is what the maps of a run take in the kernel.
func bytesFor(t *testing.T, targets, cpus int) int {
	t.Helper()
	spec, err := bpf.LoadKernel()
	if err != nil {
		t.Fatal(err)
	}
	resize(spec, sizesFor(targets, cpus))
	return int(mapBytes(spec, cpus))
}

func TestMapMemory(t *testing.T) {
	for _, c := range []struct{ targets, cpus, mib int }{
		{1, 2, 24}, {8, 2, 24}, {1000, 1, 128}, {1000, 2, 128}, {1000, 128, 256}, {1000, 512, 256},
	} {
		if bytes := bytesFor(t, c.targets, c.cpus); bytes > c.mib<<20 || bytes < 1<<20 {
			t.Errorf("%d targets on %d CPUs: %.1f MiB, want at most %d", c.targets, c.cpus, float64(bytes)/(1<<20), c.mib)
		}
	}
}

func TestSizesFor(t *testing.T) {
	for cpus, shards := range map[int]int{1: 1, 2: 2, 3: 4, 4: 4, 5: 4, 128: 4} {
		if got := sizesFor(8, cpus).shards; got != shards {
			t.Errorf("%d CPUs: %d shards, want %d", cpus, got, shards)
		}
	}
	for _, targets := range []int{1, 2, 7, 8, 9, 100, 1000, 4096} {
		for _, cpus := range []int{1, 2, 64} {
			s := sizesFor(targets, cpus)
			if s.paths&(s.paths-1) != 0 || s.shards&(s.shards-1) != 0 {
				t.Errorf("%d targets: %d paths, %d shards: want powers of two", targets, s.paths, s.shards)
			}
			if s.accounts != 2*targets || s.waiting != 3*targets || s.blocks < 100 {
				t.Errorf("%d targets on %d CPUs: %+v", targets, cpus, s)
			}
		}
	}
}

func TestProtocolNumber(t *testing.T) {
	for name, want := range map[string]uint8{"": 0, "tcp": 6, "udp": 17, "icmp": 1, "132": 132, "255": 255, "1": 1} {
		if got, err := protocolNumber(name); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"0", "256", "-1", "TCP ", "6.5", "sctp?", "1e2"} {
		_, err := protocolNumber(name)
		var bad *FilterError
		if !errors.As(err, &bad) || bad.Value != name || !strings.Contains(err.Error(), "want") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The kernel side compares (address & mask) == prefix, word by word.
func TestPrefixWords(t *testing.T) {
	matches := func(prefix, addr string) bool {
		high, low, maskHigh, maskLow := prefixWords(Config{Peer: netip.MustParsePrefix(prefix)})
		h, l := addressKey(netip.MustParseAddr(addr))
		return h&maskHigh == high && l&maskLow == low
	}
	for _, c := range []struct {
		prefix, addr string
		want         bool
	}{
		{"10.1.2.3/32", "10.1.2.3", true},
		{"10.1.2.3/32", "10.1.2.4", false},
		{"10.1.2.3/8", "10.200.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.0.0.0/9", "10.127.0.1", true},
		{"10.0.0.0/9", "10.128.0.1", false},
		{"0.0.0.0/0", "1.2.3.4", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"0.0.0.0/0", "::1.2.3.4", false},
		{"2001:db8::/32", "2001:db8:1::7", true},
		{"2001:db8::/32", "2001:db9::", false},
		{"2001:db8::1/128", "2001:db8::1", true},
		{"2001:db8::1/128", "2001:db8::2", false},
		{"2001:db8::/65", "2001:db8::7fff:0:0:1", true},
		{"2001:db8::/65", "2001:db8::8000:0:0:1", false},
		{"::/0", "2001:db8::1", true},
		{"2001:db8::/64", "10.0.0.1", false},
	} {
		if got := matches(c.prefix, c.addr); got != c.want {
			t.Errorf("%s in %s: %v, want %v", c.addr, c.prefix, got, c.want)
		}
	}
	if high, low, maskHigh, maskLow := prefixWords(Config{}); high|low|maskHigh|maskLow != 0 {
		t.Error("no filter, but words")
	}
}

// Every prefix length agrees with the standard library, bit by bit.
func FuzzPrefixWords(f *testing.F) {
	f.Add([]byte{10, 1, 2, 3}, uint8(9), []byte{10, 127, 0, 1})
	f.Add(make([]byte, 16), uint8(65), append(make([]byte, 15), 1))
	f.Fuzz(func(t *testing.T, prefix []byte, bits uint8, other []byte) {
		base, ok := netip.AddrFromSlice(prefix)
		addr, ok2 := netip.AddrFromSlice(other)
		if !ok || !ok2 || base.Is4() != addr.Is4() || base.Is4In6() || addr.Is4In6() {
			return // not a pair of addresses
		}
		p := netip.PrefixFrom(base, int(bits)%(base.BitLen()+1))
		high, low, maskHigh, maskLow := prefixWords(Config{Peer: p})
		h, l := addressKey(addr)
		if got := h&maskHigh == high && l&maskLow == low; got != p.Contains(addr) {
			t.Errorf("%s in %s: %v", addr, p, got)
		}
	})
}

func brackets(of map[journey.Point][]netfilter.Bracket) func(journey.Point) []netfilter.Bracket {
	return func(p journey.Point) []netfilter.Bracket { return of[p] }
}

func TestNewChainPlan(t *testing.T) {
	one := func(priority int, names ...string) netfilter.Bracket {
		return netfilter.Bracket{Priority: priority, Names: names}
	}
	var many []netfilter.Bracket
	for i := range 20 {
		many = append(many, one(i*10, string(rune('a'+i))))
	}
	for name, c := range map[string]struct {
		in         []netfilter.Bracket
		names      []string
		priorities []int
	}{
		"none":            {nil, nil, nil},
		"one":             {[]netfilter.Bracket{one(0, "filter")}, []string{"filter"}, nil},
		"two":             {[]netfilter.Bracket{one(-200, "conntrack"), one(-100, "nat")}, []string{"conntrack", "nat"}, []int{-199}},
		"both at one":     {[]netfilter.Bracket{one(0, "filter", "firewalld"), one(5, "x")}, []string{"filter+firewalld", "x"}, []int{1}},
		"no room":         {[]netfilter.Bracket{one(0, "a"), one(1, "b"), one(3, "c")}, []string{"a+b", "c"}, []int{2}},
		"behind the last": {[]netfilter.Bracket{one(0, "a"), one(math.MaxInt32, "confirm")}, []string{"a"}, nil},
	} {
		plan := newChainPlan(brackets(map[journey.Point][]netfilter.Bracket{journey.Forward: c.in}))
		got := plan.points[journey.Forward]
		if !slices.Equal(got.names, c.names) || !slices.Equal(got.priorities, c.priorities) {
			t.Errorf("%s: %+v, want %v at %v", name, got, c.names, c.priorities)
		}
	}
	got := newChainPlan(brackets(map[journey.Point][]netfilter.Bracket{journey.Forward: many})).points[journey.Forward]
	if len(got.names) != journey.LastBorder || len(got.priorities) != journey.LastBorder-1 ||
		strings.Count(strings.Join(got.names, "+"), "+") != 19 {
		t.Errorf("20 chains: %d names, %d borders: %v", len(got.names), len(got.priorities), got.names)
	}
}

// Every border of a plan has a program, no two of a hook the same, in the order of their priorities.
func TestChainPlanBorders(t *testing.T) {
	of := map[journey.Point][]netfilter.Bracket{}
	for _, p := range points {
		of[p] = []netfilter.Bracket{{Priority: -400, Names: []string{"defrag"}}, {Priority: -200, Names: []string{"conntrack"}}, {Priority: 0, Names: []string{"filter"}}}
	}
	plan := newChainPlan(brackets(of))
	for _, scope := range []Scope{ScopeHost, ScopeTarget} {
		last := map[journey.Point]int{}
		for _, h := range plan.borders(scope) {
			priority := plan.priority(h)
			if before, ok := last[h.Point]; ok && priority <= before {
				t.Errorf("%s %s: border %d at %d, the one before at %d", scope, h.Point, h.Border, priority, before)
			}
			last[h.Point] = priority
			if h.Program != borderProgram(h.Border) || priority < priorityFirst || priority > priorityLast {
				t.Errorf("%+v at %d", h, priority)
			}
		}
		if _, ok := last[journey.Forward]; ok != (scope == ScopeHost) {
			t.Errorf("%s: a target forwards nothing", scope)
		}
	}
}

func TestPathChains(t *testing.T) {
	of := map[journey.Point][]netfilter.Bracket{journey.Forward: {
		{Priority: -150, Names: []string{"mangle"}}, {Priority: 0, Names: []string{"filter"}}, {Priority: 50, Names: []string{"security"}},
	}}
	chains := pathChains{host: newChainPlan(brackets(of)), target: &chainPlan{}}
	for _, c := range []struct {
		target   bool
		from, to int
		want     string
	}{
		{false, 0, 1, "mangle"},
		{false, 1, 2, "filter"},
		{false, 2, journey.LastBorder, "security"},
		{false, 0, journey.LastBorder, "mangle+filter+security"},
		{false, 1, 3, "filter+security"},
		{false, 2, 2, ""},
		{false, 5, journey.LastBorder, ""},
		{true, 0, journey.LastBorder, ""},
	} {
		if got := chains.Between(c.target, journey.Forward, c.from, c.to); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	if got := (pathChains{}).Between(false, journey.Forward, 0, 1); got != "" {
		t.Errorf("without a plan: %q", got)
	}
}

func TestMerge(t *testing.T) {
	b := func(priorities ...int) (all []netfilter.Bracket) {
		for _, p := range priorities {
			all = append(all, netfilter.Bracket{Priority: p})
		}
		return all
	}
	for _, c := range []struct{ a, b, want []netfilter.Bracket }{
		{nil, nil, nil},
		{b(1, 2), nil, b(1, 2)},
		{nil, b(3), b(3)},
		{b(-400, -200, 0), b(-200, 50), b(-400, -200, 0, 50)},
		{b(5), b(1), b(1, 5)},
	} {
		var got []int
		for _, x := range merge(c.a, c.b) {
			got = append(got, x.Priority)
		}
		var want []int
		for _, x := range c.want {
			want = append(want, x.Priority)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v and %v: %v", c.a, c.b, got)
		}
	}
}

func TestNullLines(t *testing.T) {
	var lines nullLines
	lines.types[bpf.KernelVtTypeVT_TYPE_TCX] = Null{Count: 10, MeanNs: 100, MedianNs: 90, SpreadNs: 20}
	lines.types[bpf.KernelVtTypeVT_TYPE_DEVICE] = Null{Count: 30, MeanNs: 300, MedianNs: 280, SpreadNs: 10}
	lines.types[bpf.KernelVtTypeVT_TYPE_NETFILTER] = Null{Count: 30, MeanNs: 200, MedianNs: 180, SpreadNs: 10}
	between := lines.between(journey.DeviceEgress, journey.Netfilter(false, journey.Forward, 0))
	if between.MeanNs != 150 || between.MedianNs != 135 || between.SpreadNs != 15 {
		t.Errorf("half of each: %+v", between)
	}
	if same := lines.between(journey.PortIngress, journey.BridgeIngress); same.MeanNs != 100 || same.MedianNs != 90 {
		t.Errorf("twice half: %+v", same)
	}
	lines.devices = ProviderTracepoint
	if same := lines.between(journey.PortIngress, journey.BridgeIngress); same.MeanNs != 300 || same.MedianNs != 280 {
		t.Errorf("devices by tracepoints: %+v", same)
	}
	if m := lines.medians(); len(m) != 3 || m["device"] != 280 || m["tcx"] != 90 || m["netfilter"] != 180 {
		t.Errorf("only what was measured: %v", m)
	}
	for hook, want := range map[journey.Hook]bpf.KernelVtType{
		journey.UplinkEgress: bpf.KernelVtTypeVT_TYPE_TCX, journey.NetifRx: bpf.KernelVtTypeVT_TYPE_TRACEPOINT,
		journey.GROReceive: bpf.KernelVtTypeVT_TYPE_TRACEPOINT, journey.StartXmit: bpf.KernelVtTypeVT_TYPE_TRACEPOINT,
		journey.Netfilter(true, journey.LocalIn, journey.LastBorder): bpf.KernelVtTypeVT_TYPE_NETFILTER,
	} {
		if got := typeOf(hook, ProviderTCX); got != want {
			t.Errorf("%s: type %d, want %d", hook, got, want)
		}
	}
}

// The kernel's buckets wrap at 2^32; what is added up here does not.
func TestSeriesWraps(t *testing.T) {
	s := newSeries(2)
	var shard bpf.KernelVtHist
	add := func(n uint32) {
		shard.Bucket[40] += n // 48 to 49 ns
		shard.Sum += uint64(n) * 48
		shard.Segments += 2 * n
		shard.Bytes += uint64(n) * 60
		shard.Max = 48
		s.read(0, &shard)
	}
	var want uint64
	for range 5 {
		add(0xf000_0000)
		want += 0xf000_0000
	}
	shard.Overflow += 7
	shard.Sum += 7 << 31
	s.read(0, &shard)
	other := bpf.KernelVtHist{Sum: 96, Max: 50}
	other.Bucket[40] = 2
	s.read(1, &other)
	if got := s.total.Counts[40]; got != want+2 {
		t.Errorf("%d values, want %d", got, want+2)
	}
	if s.total.Overflow != 7 || s.total.Sum != want*48+7<<31+96 || s.total.Max != 50 || s.bytes != want*60 {
		t.Errorf("overflow %d, sum %d, max %d, bytes %d", s.total.Overflow, s.total.Sum, s.total.Max, s.bytes)
	}
	if s.segments >= 1<<40 || s.segments == 0 {
		t.Errorf("%d segments", s.segments)
	}
}

// Zeros change no sum, and are counted all the same.
func TestSeriesCountsZeros(t *testing.T) {
	s := newSeries(1)
	var shard bpf.KernelVtHist
	for range 3 {
		shard.Bucket[0]++
		s.read(0, &shard)
	}
	if s.total.Count() != 3 {
		t.Errorf("%d values", s.total.Count())
	}
}

func TestRounds(t *testing.T) {
	s := newSeries(1)
	shard := bpf.KernelVtHist{Max: 10}
	for i := range mostRounds + 10 {
		for range 20 {
			shard.Bucket[10]++
			shard.Sum += 10
		}
		s.read(0, &shard)
		s.round(time.Duration(i))
		s.round(time.Duration(i)) // nothing new: no round
	}
	if len(s.rounds) != mostRounds || s.rounds[0].Start != 10 {
		t.Fatalf("%d rounds, the first at %v", len(s.rounds), s.rounds[0].Start)
	}
	for _, r := range s.rounds {
		if r.Count != 20 || r.SumNs != 200 || r.P50Ns != 10 {
			t.Fatalf("%+v", r)
		}
	}
}

// Each more null hop is a program of its own, right behind the one before.
func TestExtraNulls(t *testing.T) {
	plain, more := Config{}, Config{ExtraNulls: 2}
	if len(plain.hooks()) != len(Hooks()) || len(plain.copies()) != 0 {
		t.Error("there is more than THE table")
	}
	copies := more.copies()
	nulls, programs := 0, map[string]bool{}
	for _, h := range Hooks() {
		if h.isNull() {
			nulls++
			programs[h.Program] = true
		}
	}
	seen := map[string]HookSpec{}
	for _, h := range more.hooks() {
		if h.isNull() {
			seen[string(h.Scope)+" "+h.Program] = h
		}
	}
	if len(programs) < 4 || len(seen) != nulls*3 || len(copies) != len(programs)*2 {
		t.Errorf("%d null hops of %d copies: %v", len(seen), len(copies), copies)
	}
	if h := seen["device vt_null_tcx_2"]; h.Behind != "vt_null_tcx_1" || copies[h.Program] != "vt_null_tcx" {
		t.Errorf("second more of tcx: %+v", h)
	}
	first, second := seen["target vt_null_netfilter_1"], seen["target vt_null_netfilter_2"]
	if priorityOf(seen["target vt_null_netfilter"]) != priorityNull ||
		priorityOf(first) != priorityNull+1 || priorityOf(second) != priorityNull+2 {
		t.Errorf("priorities %d and %d", priorityOf(first), priorityOf(second))
	}
}
