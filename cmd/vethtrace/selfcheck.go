// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/tracer"
)

// A self-check takes windows with tracing between windows without, as "make
// bench" does, under whatever traffic there is.
const (
	checkDuration = time.Minute            // or what the fewest pairs take, unless --duration says otherwise
	checkWindow   = 2 * time.Second        // with a budget checkBudget, several of its own windows
	checkBudget   = 5 * time.Second        //
	checkSettle   = 500 * time.Millisecond // after attaching and detaching, before a window
	checkLoading  = time.Second            // what loading and attaching take, to plan with
	leastPairs    = 5
	leastPackets  = 1000 // in a window
	mostUnsteady  = 0.05 // half width of the interval of windows without against each other
)

// load is what the machine did in a time: of one window, or since it started.
type load struct {
	busy    time.Duration // processor time, all CPUs, not that of idling or other guests
	packets uint64        // received, in all namespaces
	wall    time.Duration
}

// perPacket is the processor time per packet in ns.
func (l load) perPacket() float64 { return float64(l.busy) / float64(l.packets) }

// rate is packets per second.
func (l load) rate() float64 { return float64(l.packets) / l.wall.Seconds() }

// userHZ is the unit of /proc/stat, the same on all architectures that Go runs on.
const userHZ = 100

// readBusy is the processor time of the machine since it started, from
// /proc/stat: what is not idle, as idle time is exact where busy time is sampled.
func readBusy(text string, wall time.Duration) (time.Duration, error) {
	cpus, unused := 0, uint64(0)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		if fields[0] != "cpu" {
			cpus++
			continue
		}
		for _, column := range []int{4, 5, 8} { // idle, iowait, steal
			n, err := strconv.ParseUint(fields[column], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read /proc/stat: %w", err)
			}
			unused += n
		}
	}
	if cpus == 0 {
		return 0, errors.New("read /proc/stat: it has no CPUs")
	}
	return time.Duration(cpus)*wall - time.Duration(unused)*(time.Second/userHZ), nil
}

// readLoad is what the machine did up to now; begin is any moment before.
func readLoad(begin time.Time) (l load, err error) {
	l.wall = time.Since(begin)
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return l, fmt.Errorf("read the machine's load: %w", err)
	}
	if l.busy, err = readBusy(string(raw), l.wall); err != nil {
		return l, err
	}
	l.packets, err = tracer.ReceivedPackets()
	return l, err
}

// window measures one.
func window(ctx context.Context, length time.Duration) (load, error) {
	if err := pauseFor(ctx, checkSettle); err != nil {
		return load{}, err
	}
	begin := time.Now()
	before, err := readLoad(begin)
	if err != nil {
		return load{}, err
	}
	if err := pauseFor(ctx, length); err != nil {
		return load{}, err
	}
	after, err := readLoad(begin)
	return load{
		busy: after.busy - before.busy, packets: after.packets - before.packets, wall: after.wall - before.wall,
	}, err
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// check is the run of --self-check. An interruption ends it early, with what it has.
func (s *session) check(ctx context.Context, cfg tracer.Config, specs []tracer.TargetSpec) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	length := checkLength(cfg)
	pairs := checkPairs(s.view.duration, length)
	fmt.Fprintf(s.gate, "vethtrace: self-check with %d windows of %s with tracing, each between two without\n", pairs, length)
	with, without, last, err := checkWindows(pairs, func() (load, error) { return window(ctx, length) },
		func() (load, tracer.Snapshot, error) { return s.traced(ctx, cfg, specs, length) })
	s.log.Debug("self-check", "with", with, "without", without)
	if errors.Is(err, context.Canceled) {
		err = nil // interrupted
	}
	if err != nil && len(with) == 0 {
		return err // nothing could be attached
	}
	result := judge(with, without, length)
	last.Observer.SelfCheck = &result
	if last.Detail == "" { // interrupted before the first pair
		last.Version, last.Detail, last.Start = cfg.Version, cfg.Detail, time.Now()
	}
	show := s.newSink(context.Background())
	return errors.Join(err, show.end(), show.final(last, last)) // what there is, where the next window failed
}

// checkWindows are windows without tracing and, between two of them each, those
// with it, and what the last one saw. With an error they are what there was before.
func checkWindows(pairs int, plain func() (load, error), traced func() (load, tracer.Snapshot, error)) (with, without []load, last tracer.Snapshot, err error) {
	before, err := plain()
	if err != nil {
		return nil, nil, last, err
	}
	without = append(without, before)
	for range pairs {
		on, snapshot, err := traced()
		if err != nil {
			return with, without, last, err
		}
		off, err := plain()
		if err != nil {
			return with, without, last, err
		}
		with, without, last = append(with, on), append(without, off), snapshot
	}
	return with, without, last, nil
}

// checkLength is how long a window is.
func checkLength(cfg tracer.Config) time.Duration {
	if cfg.MaxOverhead > 0 {
		return checkBudget
	}
	return checkWindow
}

// checkLeast is what the fewest pairs that an interval needs take: less makes no figures.
func checkLeast(length time.Duration) time.Duration {
	return length + checkSettle + leastPairs*checkPair(length)
}

// checkPair is what a window with and one without take.
func checkPair(length time.Duration) time.Duration { return 2*(length+checkSettle) + checkLoading }

// checkPairs are as many as fit into the duration, 0: into the usual one.
func checkPairs(duration, length time.Duration) int {
	if duration == 0 {
		duration = max(checkDuration, checkLeast(length))
	}
	return int((duration - length - checkSettle) / checkPair(length))
}

// checkUsage refuses a self-check that could only end without figures.
func checkUsage(o *targetOptions, duration time.Duration, cfg tracer.Config, command []string) error {
	switch least := checkLeast(checkLength(cfg)); {
	case !o.selfCheck:
		return nil
	case o.all || len(command) > 0:
		return usagef("--self-check measures the traffic of targets that are named: leave out --all and the command")
	case duration > 0 && duration < least:
		return usagef("--duration %s: %d pairs of windows, the fewest that --self-check makes figures of, take %s", duration, leastPairs, least)
	}
	return nil
}

// traced measures a window with tracing.
func (s *session) traced(ctx context.Context, cfg tracer.Config, specs []tracer.TargetSpec, length time.Duration) (l load, snapshot tracer.Snapshot, err error) {
	t, err := tracer.Open(ctx, cfg, specs...)
	if err != nil {
		return l, snapshot, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if l, err = window(ctx, length); err != nil {
		return l, snapshot, err
	}
	if err := t.Stop(); err != nil {
		return l, snapshot, fmt.Errorf("detach: %w", err)
	}
	snapshot, err = t.Snapshot()
	return l, snapshot, err
}

// judge makes figures of windows, or says why there are none. without has one
// more than with: one before each, and the last one after.
func judge(with, without []load, length time.Duration) tracer.SelfCheck {
	c := tracer.SelfCheck{Pairs: len(with), WindowS: length.Seconds()}
	if len(with) < leastPairs {
		c.Unreliable = fmt.Sprintf("interrupted: it has %d of the %d pairs of windows that are needed", len(with), leastPairs)
		return c
	}
	var cpu, rate, same, added, plain []float64
	for i, w := range with {
		before, after := without[i], without[i+1]
		if fewest := min(w.packets, before.packets, after.packets); fewest < leastPackets {
			c.Unreliable = fmt.Sprintf("too little traffic: %d packets in a window of %gs, %d are needed", fewest, length.Seconds(), leastPackets)
			return c
		}
		neighbours := (before.perPacket() + after.perPacket()) / 2
		cpu = append(cpu, w.perPacket()/neighbours)
		rate = append(rate, w.rate()/((before.rate()+after.rate())/2))
		same = append(same, after.perPacket()/before.perPacket())
		added = append(added, w.perPacket()-neighbours)
		plain = append(plain, neighbours)
	}
	c.CPU, c.Rate, c.Same = ratio(cpu), ratio(rate), ratio(same)
	c.CPUNs, c.AddedNs = stats.Median(plain), stats.Median(added)
	rates := make([]float64, len(without))
	for i, w := range without {
		rates[i] = w.rate()
	}
	switch half := (c.Same.High - c.Same.Low) / 2; {
	case half > mostUnsteady:
		c.Unreliable = fmt.Sprintf("the load is too unsteady: without tracing, processor time per packet differs by %.0f%% from window to window (at most %.0f%%)", half*100, mostUnsteady*100)
	case slices.Max(rates) > 2*slices.Min(rates):
		c.Unreliable = fmt.Sprintf("the load is too unsteady: %.0f to %.0f packets per second without tracing", slices.Min(rates), slices.Max(rates))
	}
	return c
}

// checkSeed makes the same interval of the same windows.
const checkSeed = 1

func ratio(values []float64) tracer.Ratio {
	interval := stats.Bootstrap(values, checkSeed)
	middle := stats.Median(values)
	if math.IsNaN(middle) || math.IsInf(middle, 0) {
		return tracer.Ratio{}
	}
	return tracer.Ratio{Value: middle, Low: interval.Lo, High: interval.Hi}
}
