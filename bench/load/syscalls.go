// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errClosed says that the other end has gone.
var errClosed = errors.New("the connection was closed")

// raw is a system call that the runtime does not hear of: it would hand the
// thread's processor away and take it back, which costs more than a hop.
func raw(call, a, b, c uintptr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(call, a, b, c)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

func read(fd int, into []byte) (int, error) {
	n, err := raw(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)))
	if err == nil && n == 0 {
		return 0, errClosed
	}
	return n, err
}

// write writes all: what is written here fits into any socket's buffer.
func write(fd int, what []byte) error {
	n, err := raw(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&what[0])), uintptr(len(what)))
	if err == nil && n != len(what) {
		return errClosed
	}
	return err
}

// What SO_MEMINFO answers: 32-bit numbers, from include/uapi/linux/sock_diag.h.
const (
	skMeminfoDrops  = 8
	skMeminfoLength = 9
)

// drops is how many packets the socket had no room for.
func drops(fd int) (uint32, error) {
	var info [skMeminfoLength]uint32
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("read what a socket dropped: %w", errno)
	}
	return info[skMeminfoDrops], nil
}

// epoll is a set of sockets to read from.
type epoll struct {
	fd     int
	events [connections]unix.EpollEvent
}

func newEpoll(sockets []int) (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for i, socket := range sockets {
		// Fd is only data to the kernel: here, the number of the connection
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, socket, &event); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return &epoll{fd: fd}, nil
}

// wait returns the events of sockets that can be read, none after ms milliseconds; -1 waits for ever.
func (e *epoll) wait(ms int) ([]unix.EpollEvent, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd),
			uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), uintptr(ms), 0, 0)
		switch errno {
		case 0:
			return e.events[:n], nil
		case unix.EINTR:
		default:
			return nil, errno
		}
	}
}
