// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/internal/pace"
)

// quiet makes the runtime stay out of the way of system calls that it does not
// know of: each blocked thread keeps its processor.
func quiet(threads int) {
	debug.SetGCPercent(-1) // a few kilobytes in all; a collection would wait for the blocked threads
	runtime.GOMAXPROCS(threads + 4)
}

// bind keeps the calling thread on one CPU; -1 is any.
func bind(cpu int) error {
	if cpu < 0 {
		return nil
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("bind to CPU %d: %w", cpu, err)
	}
	return nil
}

// errClosed says that the other end has gone.
var errClosed = errors.New("the connection was closed")

// transfer is a system call that the runtime does not hear of: it would hand the
// thread's processor away and take it back, which costs more than a hop.
func transfer(call uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return 0, os.ErrDeadlineExceeded
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, errClosed
		default:
			return int(n), nil
		}
	}
}

func readSome(fd int, b []byte) (int, error) { return transfer(unix.SYS_READ, fd, b) }

// writeAll writes all of b.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := transfer(unix.SYS_WRITE, fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// socketTo is a connected, blocking socket that gives up after exchangeTimeout.
func socketTo(kind int, to netip.AddrPort) (int, error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if four := to.Addr().Unmap(); four.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: four.As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	wait := unix.NsecToTimeval(exchangeTimeout.Nanoseconds())
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)),
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)),
	)
	if err == nil && kind == unix.SOCK_STREAM {
		err = noDelay(fd)
	}
	if err == nil {
		err = os.NewSyscallError("connect", retry(func() error { return unix.Connect(fd, address) }))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func noDelay(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
}

// threadTime is the processor time that the calling thread has used.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}

// retry repeats what a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// player plays exchanges on one connection.
type player struct {
	fd    int
	load  Load
	out   []byte      // that a request sends
	in    []byte      // room for its answer
	count byte        // of exchanges: what a datagram carries, so that a late answer is known
	pace  *pace.Probe // of one that has the CPU to itself and its server; nil of others
}

// round plays one, with a look at how quick the CPU is before it and behind it.
func (p *player) round(length time.Duration) (Round, error) {
	if p.pace == nil {
		return p.play(length)
	}
	before, err := p.pace.Look()
	if err != nil {
		return Round{}, err
	}
	r, err := p.play(length)
	if err != nil {
		return r, err
	}
	after, err := p.pace.Look()
	r.Probes = [2]uint64{before, after}
	return r, err
}

// exchange sends a request and waits for its answer.
func (p *player) exchange() error {
	p.count++
	p.out[0] = p.count
	if err := writeAll(p.fd, p.out); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for {
		if _, err := readSome(p.fd, p.in); err != nil {
			return fmt.Errorf("wait for the answer: %w", err)
		}
		if p.load.Kind != UDPRR || p.in[0] == p.count {
			return nil
		}
	}
}

// play plays exchanges one after the other for so long. The end of one is the
// beginning of the next: one look at the clock each, and no time between them.
func (p *player) play(length time.Duration) (r Round, err error) {
	used, err := threadTime()
	if err != nil {
		return r, err
	}
	defer func() {
		after, failed := threadTime()
		if r.CPU = after - used; err == nil {
			err = failed
		}
	}()
	begin := time.Now()
	var last time.Duration
	for last < length {
		if p.load.ClientDelay > 0 {
			for until := last + p.load.ClientDelay; time.Since(begin) < until; {
			}
		}
		err := p.exchange()
		now := time.Since(begin)
		if err != nil {
			if r.Errors++; p.load.Kind != UDPRR {
				return r, err // a stream is broken
			}
			r.Last, last = err.Error(), now
			continue
		}
		r.Hist.Add(uint64(now - last))
		r.Bytes += uint64(len(p.out) + len(p.in))
		last = now
	}
	r.Busy = last
	return r, nil
}

// openExchanges connects all players, each with a thread of its own.
func (o clientOrders) openExchanges() (func(time.Duration) (Round, error), error) {
	quiet(o.Load.Connections)
	type outcome struct {
		Round
		err error
	}
	var tasks []chan time.Duration
	results := make(chan outcome)
	for range o.Load.Connections {
		kind, size := unix.SOCK_STREAM, 1
		switch o.Load.Kind {
		case UDPRR:
			kind = unix.SOCK_DGRAM
		case Bulk:
			size = BulkBytes
		}
		fd, err := socketTo(kind, o.To)
		if err != nil {
			return nil, err
		}
		p := &player{fd: fd, load: o.Load, out: make([]byte, size), in: make([]byte, 1)}
		if o.Load.Connections == 1 {
			if p.pace, err = pace.New(); err != nil {
				return nil, err
			}
		}
		task := make(chan time.Duration)
		tasks = append(tasks, task)
		go func() {
			runtime.LockOSThread()
			bound := bind(o.CPU)
			for length := range task {
				r, err := p.round(length)
				results <- outcome{r, errors.Join(bound, err)}
			}
		}()
	}
	return func(length time.Duration) (Round, error) {
		for _, task := range tasks {
			task <- length
		}
		var all Round
		var failed error
		for range tasks {
			one := <-results
			busy := max(all.Busy, one.Busy)
			all.Add(one.Round)
			all.Busy, all.Probes = busy, one.Probes // of several connections none has any
			failed = errors.Join(failed, one.err)
		}
		return all, failed
	}, nil
}

// open opens what the orders say and returns what runs a round.
func (o *clientOrders) open() (func(time.Duration) (Round, error), error) {
	if err := o.Load.check(); err != nil {
		return nil, err
	}
	if o.Load.Kind == HTTP {
		return o.openHTTP(), nil
	}
	return o.openExchanges()
}
