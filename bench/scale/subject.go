// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/internal/netns"
)

// subject is a running vethtrace, the process that users start.
type subject struct {
	cmd    *exec.Cmd
	lines  *bufio.Reader
	attach time.Duration // as its ready line says
	ended  chan error
}

// startTimeout bounds attaching; five times what is the goal.
const startTimeout = 100 * time.Second

// start runs vethtrace in the world's host for these containers and waits for
// its ready line. It stays off the last CPU, on which round trips are played.
func start(program string, thread *netns.Thread, host *lab.Node, targets []*lab.Container, more ...string) (*subject, error) {
	args := append([]string{"--log-level", "error"}, more...)
	for _, c := range targets {
		args = append(args, "--pid", strconv.Itoa(c.PID))
	}
	s := &subject{cmd: exec.Command(program, args...), ended: make(chan error, 1)}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start vethtrace: %w", err)
	}
	err = thread.Do(host.NS, func() error { return offLastCPU(s.cmd.Start) })
	if err != nil {
		return nil, fmt.Errorf("start vethtrace: %w", err)
	}
	s.lines = bufio.NewReader(pipe)
	late := time.AfterFunc(startTimeout, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.ready(); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	go func() {
		_, _ = io.Copy(io.Discard, s.lines) // whatever it still says
		s.ended <- s.cmd.Wait()
	}()
	return s, nil
}

// offLastCPU runs fn on this thread, and what it starts, without the last CPU.
func offLastCPU(fn func() error) error {
	var home, rest unix.CPUSet
	if err := unix.SchedGetaffinity(0, &home); err != nil {
		return fmt.Errorf("read CPU affinity: %w", err)
	}
	for cpu := range lastCPU(home) {
		if home.IsSet(cpu) {
			rest.Set(cpu)
		}
	}
	if rest.Count() > 0 {
		if err := unix.SchedSetaffinity(0, &rest); err != nil {
			return fmt.Errorf("set CPU affinity: %w", err)
		}
		defer func() { _ = unix.SchedSetaffinity(0, &home) }()
	}
	return fn()
}

func lastCPU(set unix.CPUSet) int {
	last := 0
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			last = cpu
		}
	}
	return last
}

func (s *subject) ready() error {
	attached := regexp.MustCompile(`^vethtrace: attached to .* in ([0-9]+) ms`)
	var said strings.Builder
	for {
		line, err := s.lines.ReadString('\n')
		if m := attached.FindStringSubmatch(line); m != nil {
			ms, _ := strconv.Atoi(m[1]) // digits only
			s.attach = time.Duration(ms) * time.Millisecond
			return nil
		}
		said.WriteString(line)
		if err != nil {
			return fmt.Errorf("vethtrace did not get ready: %s", strings.TrimSpace(said.String()))
		}
	}
}

func (s *subject) kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill vethtrace: %w", err)
	}
	_ = s.cmd.Wait() // it was killed
	return nil
}

// end ends it as Ctrl-C does, and tells how long that took.
func (s *subject) end() (time.Duration, error) {
	begin := time.Now()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, fmt.Errorf("end vethtrace: %w", err)
	}
	select {
	case err := <-s.ended:
		if err != nil {
			return 0, fmt.Errorf("vethtrace: %w", err)
		}
		return time.Since(begin), nil
	case <-time.After(time.Minute):
		return 0, errors.Join(errors.New("vethtrace does not end"), s.cmd.Process.Kill())
	}
}

// murder ends it as kill -9 does, and tells when the kernel had nothing left of it.
func (s *subject) murder(of holdings) (time.Duration, error) {
	begin := time.Now()
	if err := s.cmd.Process.Kill(); err != nil {
		return 0, fmt.Errorf("kill vethtrace: %w", err)
	}
	<-s.ended //nolint:errcheck // of being killed
	return of.gone(begin)
}

// cpu is the time that all of its threads have run.
func (s *subject) cpu() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("read CPU time of vethtrace: no threads (%w)", err)
	}
	var sum time.Duration
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has just ended
		}
		first, _, _ := strings.Cut(string(raw), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time of vethtrace: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// busy is the share of a core that it uses during fn.
func (s *subject) busy(during func() error) (float64, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := during(); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return float64(after-before) / float64(time.Since(begin)), err
}

// holdings are what it holds: ids in the kernel, descriptors, memory.
type holdings struct {
	links, programs, maps []uint32
	files                 int
	mapBytes              uint64
	residentBytes         uint64
}

func (s *subject) holdings() (h holdings, err error) {
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	files, err := filepath.Glob(proc + "fdinfo/*")
	if err != nil {
		return h, fmt.Errorf("list descriptors: %w", err)
	}
	h.files = len(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		fields := fieldsOf(string(text))
		switch {
		case fields["link_id"] != 0:
			h.links = append(h.links, uint32(fields["link_id"]))
		case fields["prog_id"] != 0:
			h.programs = append(h.programs, uint32(fields["prog_id"]))
		case fields["map_id"] != 0:
			h.maps = append(h.maps, uint32(fields["map_id"]))
			h.mapBytes += fields["memlock"]
		}
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return h, fmt.Errorf("read memory of vethtrace: %w", err)
	}
	// of it alone: mapped figures are the kernel's memory, and counted there
	h.residentBytes = fieldsOf(string(status))["RssAnon"] << 10
	return h, nil
}

// fieldsOf reads lines such as "link_id:\t17" and "RssAnon:\t 123 kB".
func fieldsOf(text string) map[string]uint64 {
	fields := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, rest, ok := strings.Cut(line, ":")
		if words := strings.Fields(rest); ok && len(words) > 0 {
			if n, err := strconv.ParseUint(words[0], 10, 64); err == nil {
				fields[key] = n
			}
		}
	}
	return fields
}

// goneTimeout is how long what a dead process held may take to go.
const goneTimeout = 30 * time.Second

// gone waits until the kernel has none of it any more.
func (h holdings) gone(begin time.Time) (time.Duration, error) {
	links, programs, maps := h.links, h.programs, h.maps
	for time.Since(begin) < goneTimeout {
		links = left(links, func(id uint32) (io.Closer, error) { return link.NewFromID(link.ID(id)) })
		programs = left(programs, func(id uint32) (io.Closer, error) { return ebpf.NewProgramFromID(ebpf.ProgramID(id)) })
		maps = left(maps, func(id uint32) (io.Closer, error) { return ebpf.NewMapFromID(ebpf.MapID(id)) })
		if len(links)+len(programs)+len(maps) == 0 {
			return time.Since(begin), nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0, fmt.Errorf("after %v the kernel still has %d links, %d programs and %d maps of it",
		goneTimeout, len(links), len(programs), len(maps))
}

func left(ids []uint32, open func(id uint32) (io.Closer, error)) (there []uint32) {
	for _, id := range ids {
		if held, err := open(id); err == nil {
			there = append(there, id)
			_ = held.Close() // it was only looked at
		}
	}
	return there
}
