// SPDX-License-Identifier: Apache-2.0

// Package machine is what a measurement must know and do of the machine that it
// runs on: keep off the CPU that is measured, notice other work, say what it is.
package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bench/report"
)

// Affinity is where this process's threads were allowed to run.
type Affinity struct {
	set     unix.CPUSet
	changed bool
}

// LeaveLastCPU moves this process off the last CPU it may use, which then
// belongs to the ping-pong: what the tracer does in user space must not be
// taken for what it does to packets. With one CPU there is nothing to move.
func LeaveLastCPU() (home Affinity, cpu int, err error) {
	if err := unix.SchedGetaffinity(0, &home.set); err != nil {
		return home, 0, fmt.Errorf("read the CPUs of this process: %w", err)
	}
	rest := home.set
	cpu = -1
	for i := range len(home.set) * 64 {
		if home.set.IsSet(i) {
			cpu = i
		}
	}
	if cpu < 0 {
		return home, 0, errors.New("this process may run on no CPU")
	}
	rest.Clear(cpu)
	if rest.Count() == 0 {
		return home, cpu, nil
	}
	home.changed = true
	return home, cpu, allThreads(rest)
}

// Restore lets the threads run where they did before.
func (a Affinity) Restore() error {
	if !a.changed {
		return nil
	}
	return allThreads(a.set)
}

// allThreads binds each thread of this process; those that they start inherit it.
func allThreads(set unix.CPUSet) error {
	// A thread that is started meanwhile by one not yet bound is met in the second look.
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list the threads of this process: %w", err)
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return fmt.Errorf("list the threads of this process: %w", err)
			}
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("bind thread %d: %w", tid, err)
			}
		}
	}
	return nil
}

// look is how long the machine is watched for other work.
const look = 300 * time.Millisecond

// OtherWork returns how much of one CPU is used while this process waits.
func OtherWork() (float64, error) {
	before, err := readBusy()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	time.Sleep(look)
	after, err := readBusy()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / (time.Since(begin).Seconds() * ticksPerSecond), nil
}

// ticksPerSecond is USER_HZ, which is 100 on every architecture that Go knows.
const ticksPerSecond = 100

func readBusy() (uint64, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read what the CPUs do: %w", err)
	}
	return parseBusy(string(raw))
}

// parseBusy sums the ticks of all CPUs that were not idle, from /proc/stat:
// user, nice, system, irq, softirq and steal, but not idle, iowait and guests
// (who are counted as user).
func parseBusy(stat string) (uint64, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("read what the CPUs do: unexpected line %q", line)
	}
	var busy uint64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		ticks, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read what the CPUs do: %w", err)
		}
		busy += ticks
	}
	return busy, nil
}

// Read says what machine this is.
func Read() (report.Machine, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return report.Machine{}, fmt.Errorf("read the kernel's release: %w", err)
	}
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return report.Machine{}, fmt.Errorf("read the CPU's model: %w", err)
	}
	m := parseCPU(string(raw))
	m.Kernel, m.Cores = unix.ByteSliceToString(uts.Release[:]), runtime.NumCPU()
	return m, nil
}

// parseCPU reads the model, and whether there is a hypervisor, from /proc/cpuinfo.
func parseCPU(info string) report.Machine {
	m := report.Machine{CPU: runtime.GOARCH}
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			m.CPU = strings.TrimSpace(value)
		case "flags":
			for _, flag := range strings.Fields(value) {
				m.Virtual = m.Virtual || flag == "hypervisor"
			}
		}
	}
	return m
}
