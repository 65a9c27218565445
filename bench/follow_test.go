// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

// journeys is a path that so many packets took, with so many hops.
func journeys(direction tracer.Direction, packets uint64, hops int) tracer.Path {
	path := tracer.Path{Direction: direction, Packets: packets}
	for range hops {
		var hist histogram.Histogram
		hist.AddN(100, packets)
		path.Hops = append(path.Hops, tracer.Hop{Latency: tracer.Latency{Hist: hist}})
	}
	return path
}

// rowOf is a row of the ping-pong through the published port.
func rowOf(kind report.Kind) report.Row { return arm{way: wayPublished, kind: kind}.row() }

func snapshot(packets uint64) tracer.Snapshot {
	account := tracer.Accounting{Started: packets, Completed: packets}
	return tracer.Snapshot{Targets: []tracer.Target{{
		Accounting: [2]tracer.Accounting{account, account},
		Paths:      []tracer.Path{journeys(tracer.Ingress, packets, 8), journeys(tracer.Egress, packets, 7)},
	}}}
}

func TestFollowed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*tracer.Target)
		want   string
	}{
		{"all", func(*tracer.Target) {}, ""},
		{"one in flight", func(t *tracer.Target) { t.Accounting[0].Completed--; t.Accounting[0].InFlight++ }, ""},
		{"off balance", func(t *tracer.Target) { t.Accounting[1].Completed-- }, "egress accounting is off by 1"},
		{"too few", func(t *tracer.Target) { t.Accounting[0] = tracer.Accounting{Started: 900, Completed: 900} }, "ingress journeys are fewer"},
		{
			"two paths", func(t *tracer.Target) { t.Paths = append(t.Paths, journeys(tracer.Egress, 50, 3)) },
			"egress packets took several paths",
		},
		{"a handful on another path", func(t *tracer.Target) { t.Paths = append(t.Paths, journeys(tracer.Egress, 1, 3)) }, ""},
		{
			"a hop counted too little", func(t *tracer.Target) { t.Paths[0].Hops[2].Latency.Hist = histogram.Histogram{} },
			"8.000 stamps per packet in, the path has 9",
		},
		{"no path", func(t *tracer.Target) { t.Paths = t.Paths[:1] }, "no path out"},
		{"evicted", func(t *tracer.Target) { t.Accounting[0].Started += 2; t.Accounting[0].Evicted += 2 }, "2 journeys were evicted"},
		{
			"dropped", func(t *tracer.Target) { t.Accounting[0].Completed -= 5; t.Accounting[0].Dropped += 5 },
			"99.750% of the journeys completed",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := rowOf(report.KindTraced)
			s := snapshot(1000)
			c.change(&s.Targets[0])
			followed(s, 1000, &row)
			row.Check()
			got := strings.Join(row.Void, "; ")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("void: %q, want %q", got, c.want)
			}
			if c.want == "" && (row.PathLength != [2]int{9, 8} || row.Stamps != [2]float64{9, 8}) {
				t.Errorf("stamps %v, paths %v", row.Stamps, row.PathLength)
			}
		})
	}
}

func TestFollowedKeepsTheWorst(t *testing.T) {
	row := rowOf(report.KindTraced)
	for _, lost := range []uint64{0, 4, 0} {
		s := snapshot(1000)
		s.Targets[0].Accounting[0].Completed -= lost
		s.Targets[0].Accounting[0].Evicted += lost
		followed(s, 1000, &row)
	}
	if row.Completed != 0.998 || row.Evicted != 4 {
		t.Errorf("completed %v, evicted %d, want 0.998 and 4", row.Completed, row.Evicted)
	}
}

// A flood has nothing on its way back, and connections end in several ways.
func TestFollowedByLoad(t *testing.T) {
	oneWay := snapshot(1000)
	oneWay.Targets[0].Accounting[1], oneWay.Targets[0].Paths = tracer.Accounting{}, oneWay.Targets[0].Paths[:1]
	several := snapshot(1000)
	several.Targets[0].Paths = append(several.Targets[0].Paths, journeys(tracer.Ingress, 200, 3))
	for _, c := range []struct {
		way      int
		snapshot tracer.Snapshot
		void     bool
	}{
		{wayFlood, oneWay, false},
		{wayHTTP, oneWay, true},
		{wayConnections, several, false},
		{wayHTTP, several, true},
	} {
		row := arm{way: c.way, kind: report.KindTraced}.row()
		followed(c.snapshot, 1000, &row)
		if row.Check(); (len(row.Void) > 0) != c.void {
			t.Errorf("%s: void %v, want %v", row.Name(), row.Void, c.void)
		}
	}
}

// What is attached for a part of the time follows some packets, and cuts some.
func TestFollowedInAll(t *testing.T) {
	row := (&arm{way: wayPublished, kind: report.KindTraced}).long().row()
	s := snapshot(1000)
	s.Targets[0].Accounting[0].Completed -= 100
	s.Targets[0].Accounting[0].Cut += 100
	followed(s, 1_000_000, &row)
	if row.Check(); len(row.Void) > 0 {
		t.Errorf("void: %v", row.Void)
	}
	followed(tracer.Snapshot{Targets: make([]tracer.Target, 1)}, 1000, &row)
	if len(row.Void) == 0 {
		t.Error("nothing was followed at all, and the row counts")
	}
}

func TestFollowedBystander(t *testing.T) {
	row := rowOf(report.KindBystander)
	followed(tracer.Snapshot{Targets: make([]tracer.Target, 1)}, 1000, &row)
	if row.Check(); len(row.Void) > 0 {
		t.Errorf("a bystander without journeys is void: %v", row.Void)
	}
	followed(snapshot(1000), 1000, &row)
	if len(row.Void) == 0 {
		t.Error("a bystander's packets had journeys, and the row counts")
	}
}

func TestFollowedWithoutTarget(t *testing.T) {
	row := rowOf(report.KindTraced)
	followed(tracer.Snapshot{}, 1, &row)
	if len(row.Void) == 0 {
		t.Error("no target, and the row counts")
	}
}

func TestProgramOf(t *testing.T) {
	for _, c := range []struct {
		info string
		id   ebpf.ProgramID
		ok   bool
	}{
		{"pos:\t0\nflags:\t02000002\nprog_type:\t3\nprog_id:\t4711\n", 4711, true},
		{"link_type:\ttcx\nlink_id:\t1\nprog_tag:\tabc\nprog_id:\t7\n", 7, true},
		{"map_type:\t2\nmap_id:\t5\nowner_prog_type:\t3\n", 0, false},
		{"prog_id:\tx\n", 0, false},
		{"", 0, false},
	} {
		if id, ok := programOf(c.info); ok != c.ok || ok && id != c.id {
			t.Errorf("programOf(%q) = %d, %v", c.info, id, ok)
		}
	}
}

// Runs are those of this process's programs, each counted once.
func TestRunsBut(t *testing.T) {
	statistics, err := enableStats()
	if err != nil {
		t.Fatal(err)
	}
	defer statistics.Close()
	others, err := ownPrograms()
	if err != nil {
		t.Fatal(err)
	}
	program, windowed := newProgram(t, "bench_test"), newProgram(t, "vt_null_netfilt")
	twice, err := program.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer twice.Close()
	before, err := runsBut(others)
	if err != nil {
		t.Fatal(err)
	}
	const count = 1000
	// the kernel counts test runs only where they go through the dispatcher, as they do for this type
	for _, p := range []*ebpf.Program{program, windowed} {
		if _, _, err := p.Benchmark(make([]byte, 64), count, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	after, err := runsBut(others)
	if err != nil {
		t.Fatal(err)
	}
	if always, windows := after.always-before.always, after.windows-before.windows; always != count || windows != count {
		t.Errorf("%d runs and %d of null hops, want %d of each", always, windows, count)
	}
	all, err := ownPrograms()
	if err != nil {
		t.Fatal(err)
	}
	if none, err := runsBut(all); err != nil || none != (runs{}) {
		t.Errorf("without all programs of this process: %+v, %v", none, err)
	}
}

// Names of programs end where the kernel cuts them, if it has no BTF of them.
func TestInWindows(t *testing.T) {
	names := inWindows()
	for name, want := range map[string]bool{
		"vt_null_netfilter": true, "vt_null_netfilt": true, "vt_null_tcx": true, "vt_data_ready": true,
		"vt_local_out": false, "vt_kfree_skb": false, "vt_netif_rx": false,
	} {
		if names[name] != want {
			t.Errorf("%s is attached for a part of the time: %v, want %v", name, names[name], want)
		}
	}
}

func newProgram(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 0), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}
