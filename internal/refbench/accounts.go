// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What interruptsApart does to find out.
const (
	apartTrials   = 40
	apartSends    = 30
	apartLeast    = 0.9 // of the time of a thread that never waits, where interrupts are counted as its own: what its quietest trial shows
	apartDeadline = time.Second
)

// interruptsApart tells whether the kernel keeps the time of interrupts apart from
// that of the threads that they interrupt (CONFIG_IRQ_TIME_ACCOUNTING): a thread
// that sends to itself over loopback, which softirqs of its own system calls
// deliver, then has not all of the time that it takes.
func (r *runner) interruptsApart() (apart bool, err error) {
	failed := r.thread.Do(r.World.HostNS(), func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv6loopback})
		if err != nil { // no IPv6
			conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		}
		if err != nil {
			return err
		}
		defer conn.Close()
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		to, err := sockaddr(conn.LocalAddr())
		if err != nil {
			return err
		}
		best := 0.0
		trials := func(fd uintptr) {
			for range apartTrials {
				var share float64
				if share, err = ownShare(int(fd), to); err != nil {
					return
				}
				best = max(best, share)
			}
		}
		err = errors.Join(raw.Control(trials), err)
		apart = best < apartLeast
		return err
	})
	if failed != nil {
		return false, fmt.Errorf("see whose the time of interrupts is: %w", failed)
	}
	return apart, nil
}

func sockaddr(a net.Addr) (unix.Sockaddr, error) {
	udp, ok := a.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("%s is no address of a datagram", a)
	}
	at := udp.AddrPort()
	if at.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}, nil
	}
	return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}, nil
}

// ownShare is which part of the time that a few datagrams take the kernel counts
// as the thread's.
func ownShare(fd int, to unix.Sockaddr) (float64, error) {
	buf := make([]byte, 8)
	used, err := clock(unix.CLOCK_THREAD_CPUTIME_ID)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	for range apartSends {
		if err := unix.Sendto(fd, buf[:1], 0, to); err != nil {
			return 0, os.NewSyscallError("sendto", err)
		}
		for {
			_, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) || time.Since(begin) > apartDeadline {
				return 0, os.NewSyscallError("recvfrom", err)
			}
		}
	}
	took := time.Since(begin)
	after, err := clock(unix.CLOCK_THREAD_CPUTIME_ID)
	return float64(after-used) / float64(took), err
}

func clock(id int32) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}

// ticks is what became of a CPU's time, in the kernel's ticks.
type ticks struct{ all, stolen float64 }

// cpuTicks reads those of a CPU.
func cpuTicks(cpu int) (ticks, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}, false
	}
	return parseTicks(string(text), cpu)
}

// parseTicks finds a CPU's line: user, nice, system, idle, iowait, irq, softirq,
// steal; what follows is in user and nice already.
func parseTicks(stat string, cpu int) (t ticks, ok bool) {
	const columns, stolen = 8, 7
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		if len(fields) <= columns || fields[0] != "cpu"+strconv.Itoa(cpu) {
			continue
		}
		for i, f := range fields[1 : columns+1] {
			n, err := strconv.ParseFloat(f, 64)
			if err != nil {
				return ticks{}, false
			}
			t.all += n
			if i == stolen {
				t.stolen = n
			}
		}
		return t, true
	}
	return ticks{}, false
}

// stolen is which part of a CPU's time went to other machines since then; nil
// where that is not known.
func stolen(cpu int, since ticks) *float64 {
	now, ok := cpuTicks(cpu)
	if !ok || since.all == 0 || now.all <= since.all {
		return nil
	}
	share := (now.stolen - since.stolen) / (now.all - since.all)
	return &share
}
