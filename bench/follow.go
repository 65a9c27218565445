// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/report"
	"github.com/vethtrace/vethtrace/tracer"
)

// leastFollowed is the share of the load's packets that must have had a journey.
const leastFollowed = 0.999

// followed writes into the row what a final snapshot says about the packets of
// so many units: each is at least one packet in and one out (of a flood, only
// in), acknowledgements travel with them.
func followed(s tracer.Snapshot, units uint64, row *report.Row) {
	if len(s.Targets) != 1 {
		row.AddVoid(fmt.Sprintf("the snapshot has %d targets", len(s.Targets)))
		return
	}
	target := s.Targets[0]
	least := leastFollowed * float64(units)
	if row.InAll {
		least = 1 // the others passed while nothing was attached
	}
	var all tracer.Accounting
	for direction, account := range target.Accounting {
		if balance := account.Balance(); balance != 0 {
			row.AddVoid(fmt.Sprintf("%s accounting is off by %d", tracer.Direction(direction), balance))
		}
		all.Started += account.Started + account.Cloned
		all.Completed += account.Completed
		if row.InAll {
			all.Completed += account.Cut // by detaching: expected
		}
		all.Evicted += account.Evicted
		if row.Kind == report.KindTraced && row.Goes(direction) && float64(account.Started) < least {
			row.AddVoid(fmt.Sprintf("%s journeys are fewer than %ss", tracer.Direction(direction), row.Unit))
		}
	}
	if row.Kind == report.KindBystander {
		// a stray ARP or neighbour packet aside
		if float64(all.Started) > (1-leastFollowed)*float64(units) {
			row.AddVoid("a bystander's packets started journeys")
		}
		return
	}
	completed := 0.0
	if all.Started > 0 {
		completed = float64(all.Completed) / float64(all.Started)
	}
	row.Completed = min(row.Completed, completed)
	row.Evicted += all.Evicted
	stampsPerPacket(target, row)
}

// stampsPerPacket finds the one path per direction that the load takes.
// Stamps are what the histograms of its hops counted, and the first one of each packet.
func stampsPerPacket(target tracer.Target, row *report.Row) {
	var main [2]*tracer.Path
	var packets [2]uint64
	for i := range target.Paths {
		path := &target.Paths[i]
		packets[path.Direction] += path.Packets
		if main[path.Direction] == nil || path.Packets > main[path.Direction].Packets {
			main[path.Direction] = path
		}
	}
	for direction, path := range main {
		if path == nil || path.Packets == 0 {
			continue // Check voids a row without a path
		}
		stamps := path.Packets
		for _, hop := range path.Hops {
			stamps += hop.Latency.Hist.Count()
		}
		row.Stamps[direction] = float64(stamps) / float64(path.Packets)
		row.PathLength[direction] = len(path.Hops) + 1
		// a reset is sent with less on its way
		if row.Unit != load.KindConnections.Unit() && float64(path.Packets) < leastFollowed*float64(packets[direction]) {
			row.AddVoid(fmt.Sprintf("%s packets took several paths", path.Direction))
		}
	}
}

func enableStats() (io.Closer, error) {
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("enable the kernel's statistics of programs: %w", err)
	}
	return statistics, nil
}

// ownPrograms lists the programs that this process holds, directly or by links:
// others of the machine, even another vethtrace's, are not counted.
func ownPrograms() (map[ebpf.ProgramID]bool, error) {
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, fmt.Errorf("list the programs of this process: %w", err)
	}
	own := map[ebpf.ProgramID]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // closed since it was listed
		}
		if id, ok := programOf(string(raw)); ok {
			own[id] = true
		}
	}
	return own, nil
}

// programOf reads the program's number from a descriptor's fdinfo.
func programOf(info string) (ebpf.ProgramID, bool) {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, "prog_id:"); ok {
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			return ebpf.ProgramID(id), err == nil
		}
	}
	return 0, false
}

// runs of programs: those that are attached always, and those that are so for
// a part of the time, to measure what a stamp costs or how long readers wait.
type runs struct{ always, windows uint64 }

// runsBut sums the runs of all programs of this process but these.
func runsBut(others map[ebpf.ProgramID]bool) (total runs, err error) {
	own, err := ownPrograms()
	if err != nil {
		return total, err
	}
	now := inWindows()
	for id := range own {
		if others[id] {
			continue
		}
		name, count, err := runsOf(id)
		if err != nil {
			return total, err
		}
		if now[name] {
			total.windows += count
		} else {
			total.always += count
		}
	}
	return total, nil
}

func runsOf(id ebpf.ProgramID) (name string, count uint64, err error) {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", 0, fmt.Errorf("open program %d: %w", id, err)
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return "", 0, fmt.Errorf("read the name of program %d: %w", id, err)
	}
	statistics, err := program.Stats()
	if err != nil {
		return "", 0, fmt.Errorf("read the runs of program %d: %w", id, err)
	}
	return info.Name, statistics.RunCount, nil
}

// inWindows are the programs that are attached for a part of the time only, by
// their names: in full, as a program's BTF has them, and as the kernel cuts them.
func inWindows() map[string]bool {
	names := map[string]bool{}
	for _, hook := range tracer.Hooks() {
		if hook.Duty == tracer.DutyWindows || hook.Duty == tracer.DutyMinute {
			name := hook.Program
			names[name] = true
			names[name[:min(len(name), unix.BPF_OBJ_NAME_LEN-1)]] = true
		}
	}
	return names
}
