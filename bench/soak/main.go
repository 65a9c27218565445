// SPDX-License-Identifier: Apache-2.0

// Command soak lets the exporter trace a real engine under load, whose
// containers start and stop all the time, and fails when memory, descriptors,
// goroutines or kernel objects grow, or a counter goes back.
//
//	go run ./bench/soak -vethtrace bin/vethtrace -duration 10m
//
// After a fifth of the time, at least a minute, the containers rest until those
// that have ended are forgotten, and once more at the end: what the exporter
// holds then is to be the same.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vethtrace/vethtrace/bench/command"
	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/lab/engine"
)

func main() { command.Main("soak", run) }

// The shape of the load.
const (
	churners  = 3 // containers that come and go at a time
	published = 8080
	grace     = 5 * time.Second // of series, in the exporter
	// keepTime is how long the exporter holds the figures of a container that has
	// ended: its grace and a minute. Before it has passed there is less to hold
	// than ever after, and a rest that is shorter measures how many have ended in it.
	keepTime    = grace + time.Minute
	settleTime  = keepTime + 2*grace
	sampleEach  = 5 * time.Second
	restTime    = 10 * time.Second
	restLimit   = 2 * time.Minute
	gcLimit     = 4 * time.Minute // Go collects every two minutes, if not before
	startupTime = 30 * time.Second
)

// soak is one run.
type soak struct {
	engine  *engine.Engine
	program string
	out     io.Writer
	lives   atomic.Int64 // containers that came and went
	begin   time.Time
}

func run(ctx context.Context, args []string, out, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	program := flags.String("vethtrace", "bin/vethtrace", "the program to soak")
	duration := flags.Duration("duration", 10*time.Minute, "how long containers start and stop")
	if err := flags.Parse(args); err != nil {
		return err
	}
	e, err := engine.Start(ctx, engine.Config{Wire: lab.WireVeth})
	if err != nil {
		return fmt.Errorf("start an engine: %w", err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := errors.Join(e.ImportNginx(ctx), e.ImportTools(ctx)); err != nil {
		return err
	}
	if _, err := e.Docker(ctx, "run", "-d", "-p", fmt.Sprintf("%d:80", published), "--name", "nginx", "nginx"); err != nil {
		return fmt.Errorf("start the steady container: %w", err)
	}
	s := &soak{engine: e, program: *program, out: out, begin: time.Now()}
	return s.run(ctx, *duration)
}

func (s *soak) run(ctx context.Context, duration time.Duration) (err error) {
	cmd, err := s.startExporter(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endExporter(cmd)) }()
	p := newProbe(s.engine.Host, cmd.Process.Pid)
	if err := p.ready(ctx); err != nil {
		return err
	}
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	load.Go(func() { s.steady(loading) })

	fmt.Fprintf(s.out, "%8s %7s %9s %9s %5s %6s %6s %5s %5s %7s\n", "time", "lives", "rss MiB", "heap MiB", "fds", "gorout", "progs", "maps", "links", "targets")
	early := max(duration/5, keepTime)
	first, err := s.churn(ctx, p, early)
	if err != nil {
		return err
	}
	last, err := s.churn(ctx, p, max(duration-early, keepTime))
	if err != nil {
		return err
	}
	return last.level(first)
}

// startExporter starts vethtrace export in the engine's host namespace.
func (s *soak) startExporter(ctx context.Context) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, s.program, "export", "--docker-host", "unix://"+s.engine.Socket,
		"--grace", grace.String(), "--log.level", "warn")
	cmd.Stderr = s.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := s.engine.Host.NS.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.program, err)
	}
	return cmd, nil
}

func endExporter(cmd *exec.Cmd) error {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the exporter ended: %w", err)
	}
	return nil
}

// steady asks the published port for pages until the end.
func (s *soak) steady(ctx context.Context) {
	page := fmt.Sprintf("http://%s:%d/", s.engine.Host.IP4, published)
	for ctx.Err() == nil {
		// a page that fails is no matter here: counters say what came through
		_, _ = s.engine.Client.HTTP(ctx, page, 200, lab.LoadConfig{KeepAlive: true})
		pause(ctx, 50*time.Millisecond)
	}
}

// churn lets containers come and go for a time, then rest, and tells what the
// exporter holds at rest.
func (s *soak) churn(ctx context.Context, p *probe, duration time.Duration) (sample, error) {
	churning, stop := context.WithTimeout(ctx, duration)
	defer stop()
	var wait sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range churners {
		wait.Go(func() {
			if err := s.comeAndGo(ctx, churning, fmt.Sprintf("churn%d", i)); err != nil {
				failed.CompareAndSwap(nil, &err)
				stop()
			}
		})
	}
	for churning.Err() == nil {
		pause(churning, sampleEach)
		if _, err := s.sample(p); err != nil {
			stop()
			wait.Wait()
			return sample{}, err
		}
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return sample{}, *err
	}
	pause(ctx, settleTime)
	if ctx.Err() != nil {
		return sample{}, context.Cause(ctx)
	}
	return s.rest(ctx, p)
}

// rest is the least that the exporter holds within some seconds, at a time when
// its budget's hooks are detached: their links come and go, and are no growth.
// Its heap has been collected before: what is garbage is no growth either.
func (s *soak) rest(ctx context.Context, p *probe) (sample, error) {
	if err := p.collected(ctx); err != nil {
		return sample{}, err
	}
	least, err := s.sample(p)
	for begin := time.Now(); err == nil; {
		took := time.Since(begin)
		switch {
		case took > restTime && least.detached:
			return least, nil
		case took > restLimit:
			return sample{}, fmt.Errorf("the budget's hooks are attached for %v: what the exporter holds at rest is not to be seen", restLimit)
		}
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return sample{}, context.Cause(ctx)
		}
		var now sample
		now, err = s.sample(p)
		least = least.least(now)
	}
	return sample{}, err
}

// comeAndGo starts a container, talks to it, and removes it, again and again.
func (s *soak) comeAndGo(ctx, churning context.Context, name string) error {
	for churning.Err() == nil {
		if out, err := s.engine.Docker(ctx, "run", "-d", "--name", name, "nginx"); err != nil {
			return fmt.Errorf("start %s: %w: %s", name, err, out)
		}
		address, err := s.engine.Docker(ctx, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
		if err == nil {
			_, _ = s.engine.Host.HTTP(churning, "http://"+strings.TrimSpace(address)+"/", 200, lab.LoadConfig{KeepAlive: true})
		}
		pause(churning, 500*time.Millisecond)
		if out, err := s.engine.Docker(ctx, "rm", "-f", name); err != nil {
			return fmt.Errorf("remove %s: %w: %s", name, err, out)
		}
		s.lives.Add(1)
	}
	return nil
}

// sample reads what the exporter holds, and prints it.
func (s *soak) sample(p *probe) (sample, error) {
	now, err := p.sample()
	if err != nil {
		return now, err
	}
	fmt.Fprintf(s.out, "%8s %7d %9.1f %9.1f %5d %6d %6d %5d %5d %7d\n", time.Since(s.begin).Round(time.Second), s.lives.Load(),
		mib(now.rss), mib(now.heap), now.fds, now.goroutines, now.programs, now.maps, now.links, now.targets)
	return now, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
