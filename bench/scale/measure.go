// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/bench/load"
	"github.com/vethtrace/vethtrace/bench/stats"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// Goals of the run, and how it is made.
const (
	floodRate  = 100_000
	floodTo    = 16 // containers at most
	playPort   = 7070
	windowSpan = 5 * time.Millisecond
	settle     = 1600 * time.Millisecond // until null hops come and go in windows, and those of tcx have gone
)

// scheme is how long things are looked at.
type scheme struct {
	Counts  []int         `json:"counts"`
	Watch   time.Duration `json:"watch_ns"` // of CPU time
	Cycles  int           `json:"cycles"`   // of the cost of a packet
	Windows int           `json:"windows"`  // of 5 ms per arm
}

type bench struct {
	program  string
	scheme   scheme
	progress io.Writer
	thread   *netns.Thread
}

func (b bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// measure makes the worlds one after the other.
func (b bench) measure(ctx context.Context) (*result, error) {
	r := &result{Scheme: b.scheme}
	b.thread = netns.NewThread()
	defer b.thread.Close()
	for i, count := range b.scheme.Counts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row, err := b.world(ctx, count, i == len(b.scheme.Counts)-1, r)
		if err != nil {
			return nil, fmt.Errorf("%d containers: %w", count, err)
		}
		b.say("%s", row.line())
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

// world measures one number of containers; in the last world also what a packet costs.
func (b bench) world(ctx context.Context, count int, last bool, r *result) (row row, err error) {
	w, err := lab.New(ctx, lab.Config{Containers: -1})
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, err = w.AddContainer(ctx, lab.ContainerConfig{Name: "nginx", Ports: []lab.Port{{Host: playPort, Container: playPort}}})
	if err == nil && count > 1 {
		_, err = w.AddCrowd(ctx, "c", count-1)
	}
	if err != nil {
		return row, err
	}
	held, err := b.hold(w.Containers)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, held.end()) }()
	time.Sleep(time.Second) // the kernel is done with the former world, and with making this one
	row.Targets = count
	for _, part := range []func(*lab.World, *lab.Container, *rowT) error{b.attachDetach, b.kill, b.cpu} {
		if err := part(w, w.Containers[0], &row); err != nil {
			return row, err
		}
	}
	if last && b.scheme.Cycles > 0 {
		r.Cost, err = b.cost(ctx, w)
	}
	return row, err
}

// rowT is row under a name that a variable called row does not hide.
type rowT = row

func (b bench) attachDetach(w *lab.World, _ *lab.Container, row *row) error {
	idle, err := watched(func() error { time.Sleep(time.Second); return nil })
	if err != nil {
		return err
	}
	var s *subject
	attach, err := watched(func() error {
		s, err = start(b.program, b.thread, w.Host, w.Containers)
		return err
	})
	if err != nil {
		return err
	}
	h, err := s.holdings()
	if err != nil {
		return errors.Join(err, s.cmd.Process.Kill())
	}
	detach, err := watched(func() error {
		took, err := s.end()
		row.DetachMs = ms(took)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := h.gone(time.Now()); err != nil {
		return err
	}
	row.AttachMs = ms(s.attach)
	row.Links, row.Files = len(h.links), h.files
	row.MapMiB, row.ProcessMiB = mib(h.mapBytes), mib(h.residentBytes)
	row.LockIdleMs, row.LockAttachMs, row.LockDetachMs = ms(longest(idle)), ms(longest(attach)), ms(longest(detach))
	return nil
}

// watched tells how long others waited for RTNL meanwhile.
func watched(during func() error) ([]time.Duration, error) {
	watch, err := lab.WatchRTNL()
	if err != nil {
		return nil, err
	}
	err = during()
	waits, stopErr := watch.Stop()
	return waits, errors.Join(err, stopErr)
}

func longest(waits []time.Duration) time.Duration {
	if len(waits) == 0 {
		return 0
	}
	return slices.Max(waits)
}

func (b bench) kill(w *lab.World, _ *lab.Container, row *row) error {
	s, err := start(b.program, b.thread, w.Host, w.Containers)
	if err != nil {
		return err
	}
	h, err := s.holdings()
	if err != nil {
		return errors.Join(err, s.cmd.Process.Kill())
	}
	took, err := s.murder(h)
	row.KillMs = ms(took)
	return err
}

// cpu is what vethtrace itself uses, at rest and under load; on a pipe, and with a line of JSON each second.
func (b bench) cpu(w *lab.World, _ *lab.Container, row *row) error {
	for _, mode := range []struct {
		args       []string
		rest, load *float64
	}{
		{nil, &row.RestCPU, &row.LoadCPU},
		{[]string{"-o", "ndjson", "--interval", "1s"}, &row.RestJSON, &row.LoadJSON},
	} {
		s, err := start(b.program, b.thread, w.Host, w.Containers, mode.args...)
		if err != nil {
			return err
		}
		time.Sleep(settle)
		if *mode.rest, err = s.busy(func() error { time.Sleep(b.scheme.Watch); return nil }); err != nil {
			return errors.Join(err, s.cmd.Process.Kill())
		}
		*mode.load, err = s.busy(func() error {
			sent, err := flood(w.Host, w.Containers[:min(floodTo, len(w.Containers))], floodRate, b.scheme.Watch)
			row.LoadRate = float64(sent) / b.scheme.Watch.Seconds()
			return err
		})
		if err != nil {
			return errors.Join(err, s.cmd.Process.Kill())
		}
		if _, err := s.end(); err != nil {
			return err
		}
	}
	return nil
}

// cost compares round trips to one container while it alone is traced with those
// while all are, in cycles of one, all, one.
func (b bench) cost(ctx context.Context, w *lab.World) (*cost, error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	nginx := w.Containers[0]
	game, err := load.Start(lastCPU(all), load.Way{
		Kind:   load.KindTCP,
		Client: w.Client.NS, Dial: netip.AddrPortFrom(w.Host.IP4, playPort), Server: nginx.NS, Listen: playPort,
	})
	if err != nil {
		return nil, err
	}
	c, err := b.cycles(ctx, w, game)
	return c, errors.Join(err, game.Close())
}

func (b bench) cycles(ctx context.Context, w *lab.World, game *load.Game) (*cost, error) {
	var compared, same, untraced []stats.Pair
	for cycle := range b.scheme.Cycles {
		var spans [4]stats.Span // untraced, one, all, one
		for arm, targets := range [][]*lab.Container{nil, w.Containers[:1], w.Containers, w.Containers[:1]} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			var err error
			if spans[arm], err = b.play(w, game, targets); err != nil {
				return nil, err
			}
		}
		b.say("cycle %d of %d", cycle+1, b.scheme.Cycles)
		compared = append(compared, stats.Pair{Before: spans[1], With: spans[2], After: spans[3]})
		same = append(same, stats.Pair{Before: spans[1], With: spans[3]})
		untraced = append(untraced, stats.Pair{Before: spans[0], With: spans[1]})
	}
	limit := stats.QuietLimit(slices.Concat(compared, untraced))
	c := &cost{Targets: len(w.Containers), Quiet: stats.QuietShare(compared, limit)}
	all := quick(compared, limit)
	c.OneNs, c.AllNs, c.Ratio, c.Interval = all.Without, all.With, all.Ratio(), all.Interval
	again := quick(same, limit)
	c.Same, c.SameInterval = again.Ratio(), again.Interval
	c.UntracedNs = quick(untraced, limit).Without
	return c, nil
}

// quick compares the quick windows of a quiet machine; all of them where it never was.
func quick(pairs []stats.Pair, limit float64) stats.Estimate {
	windows, _ := stats.Settled(pairs, limit)
	return stats.Typical(windows, 1)
}

// play plays while these are traced.
func (b bench) play(w *lab.World, game *load.Game, targets []*lab.Container) (span stats.Span, err error) {
	if len(targets) > 0 {
		s, err := start(b.program, b.thread, w.Host, targets)
		if err != nil {
			return span, err
		}
		defer func() {
			_, endErr := s.end()
			err = errors.Join(err, endErr)
		}()
	}
	if _, err := game.Play(0, int(settle/windowSpan), windowSpan); err != nil {
		return span, err
	}
	return game.Play(0, b.scheme.Windows, windowSpan)
}
