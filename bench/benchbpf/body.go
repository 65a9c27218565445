// SPDX-License-Identifier: Apache-2.0

package benchbpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/vethtrace/vethtrace/bench/stats"
)

// The stamps of the two journeys, as bench.bpf.c has them; Measure holds them
// to the paths that the programs really took.
const (
	short = 9
	long  = 25
)

// blocks of histograms: both journeys need one per stamp.
const blocks = 64

// Body is what a stamp costs by itself, its dispatch not included. Times are
// nanoseconds, medians over the rounds.
type Body struct {
	Runs      int     `json:"runs"`       // of each program and round
	Rounds    int     `json:"rounds"`     // programs take turns
	EmptyNs   float64 `json:"empty_ns"`   // a program that does nothing: the harness
	ClockNs   float64 `json:"clock_ns"`   // one more clock read
	StampNs   float64 `json:"stamp_ns"`   // one more stamp, its clock read and its histogram included
	HookNs    float64 `json:"hook_ns"`    // the part of StampNs that is spent at the hook; the rest is its histogram, at the journey's end
	JourneyNs float64 `json:"journey_ns"` // a whole journey of 9 stamps, per stamp, start and end included
	Counted   uint64  `json:"counted"`    // what the histograms counted, per hop
	Expected  uint64  `json:"expected"`   // how many runs there were
}

// OverClock is what a stamp costs more than the clock read in it.
func (b Body) OverClock() float64 { return b.StampNs - b.ClockNs }

// Void says why the figures do not count; empty when they do.
func (b Body) Void() string {
	if b.Counted != b.Expected {
		return fmt.Sprintf("histograms counted %d of %d runs: not on the hit path", b.Counted, b.Expected)
	}
	return ""
}

// Measure runs each program `runs` times in each of so many rounds, in turns.
func Measure(runs, rounds int) (Body, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return Body{}, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	objects, err := load()
	if err != nil {
		return Body{}, err
	}
	defer objects.Close()
	programs := []*ebpf.Program{
		objects.BenchEmpty, objects.BenchClockShort, objects.BenchClockLong,
		objects.BenchJourneyShort, objects.BenchJourneyLong,
		objects.BenchUncountedShort, objects.BenchUncountedLong,
	}
	runtime.LockOSThread() // a program's run is not moved to another CPU, but our rounds would be
	defer runtime.UnlockOSThread()
	took := make([][]float64, len(programs))
	for range rounds {
		for i, program := range programs {
			ns, err := once(program, runs)
			if err != nil {
				return Body{}, err
			}
			took[i] = append(took[i], ns)
		}
	}
	counted, err := counted(objects)
	if err != nil {
		return Body{}, err
	}
	ns := make([]float64, len(programs))
	for i := range programs {
		ns[i] = stats.Median(took[i])
	}
	return Body{
		Runs: runs, Rounds: rounds, EmptyNs: ns[0],
		ClockNs:   stats.Slope(ns[1], ns[2], short, long),
		StampNs:   stats.Slope(ns[3], ns[4], short, long),
		HookNs:    stats.Slope(ns[5], ns[6], short, long),
		JourneyNs: (ns[3] - ns[0]) / short,
		Counted:   counted, Expected: uint64(runs) * uint64(rounds),
	}, nil
}

func load() (*BenchObjects, error) {
	spec, err := LoadBench()
	if err != nil {
		return nil, fmt.Errorf("read the benchmark's BPF object: %w", err)
	}
	spec.Maps["vt_hists"].MaxEntries = blocks
	spec.Maps["vt_free"].MaxEntries = blocks
	spec.Maps["vt_accounts"].MaxEntries = 2
	objects := &BenchObjects{}
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return nil, fmt.Errorf("load the benchmark's programs: %w", err)
	}
	for block := range uint32(blocks) {
		if err := objects.VtFree.Put(nil, block); err != nil {
			return nil, errors.Join(fmt.Errorf("hand out histogram %d: %w", block, err), objects.Close())
		}
	}
	return objects, nil
}

func once(program *ebpf.Program, runs int) (float64, error) {
	code, took, err := program.Benchmark(packet(), runs, func() {})
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", program, err)
	}
	if int32(code) != -1 {
		return 0, fmt.Errorf("run %s: it returned %d, want TCX_NEXT", program, int32(code))
	}
	return float64(took.Nanoseconds()), nil
}

// packet is an Ethernet frame with an IPv4 TCP packet of one byte.
func packet() []byte {
	p := make([]byte, 14+20+20+1+5)
	binary.BigEndian.PutUint16(p[12:], 0x0800)
	ip := p[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], 41)
	binary.BigEndian.PutUint16(ip[4:], 4711)
	copy(ip[12:], []byte{198, 51, 100, 2, 172, 17, 0, 2})
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp, 40000)
	binary.BigEndian.PutUint16(tcp[2:], 80)
	binary.BigEndian.PutUint32(tcp[4:], 12345)
	tcp[12], tcp[13] = 5<<4, 0x18
	return p
}

// counted reads how often both journeys were counted, and checks that every
// hop's histogram and the whole path's say the same.
func counted(objects *BenchObjects) (uint64, error) {
	counts := map[int]uint64{}
	var index uint32
	var path BenchVtPath
	entries := objects.VtPaths.Iterate()
	for entries.Next(&index, &path) {
		if path.Key == 0 {
			continue
		}
		if path.Blocks != uint32(path.Stamps) {
			return 0, fmt.Errorf("a path of %d stamps has %d histograms", path.Stamps, path.Blocks)
		}
		for i, block := range path.Block[:path.Blocks] {
			var hist BenchVtHist
			if err := objects.VtHists.Lookup(block, &hist); err != nil {
				return 0, fmt.Errorf("read histogram %d: %w", block, err)
			}
			count := uint64(hist.Overflow)
			for _, n := range hist.Bucket {
				count += uint64(n)
			}
			if i == 0 {
				counts[int(path.Stamps)] += count
			} else if count != counts[int(path.Stamps)] {
				return 0, fmt.Errorf("hop %d of a path counted %d, the path %d", i, count, counts[int(path.Stamps)])
			}
		}
	}
	if err := entries.Err(); err != nil {
		return 0, fmt.Errorf("read paths: %w", err)
	}
	if len(counts) != 2 || counts[short] != counts[long] {
		return 0, fmt.Errorf("journeys by their stamps: %v, want as many of %d as of %d", counts, short, long)
	}
	return counts[short], nil
}
