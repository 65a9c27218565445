// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mostServed connections have a blocked thread each.
const mostServed = 600

// start opens all sockets and begins to serve.
func (o *serverOrders) start() error {
	quiet(mostServed)
	rr, err := o.listen(unix.SOCK_STREAM, o.RR)
	if err != nil {
		return fmt.Errorf("listen on TCP port %d: %w", o.RR, err)
	}
	datagrams, err := o.listen(unix.SOCK_DGRAM, o.RR)
	if err != nil {
		return fmt.Errorf("listen on UDP port %d: %w", o.RR, err)
	}
	bulk, err := o.listen(unix.SOCK_STREAM, o.Bulk)
	if err != nil {
		return fmt.Errorf("listen on TCP port %d: %w", o.Bulk, err)
	}
	go o.accept(rr, 1)
	go o.accept(bulk, BulkBytes)
	go o.serveUDP(datagrams)
	return nil
}

func (o *serverOrders) listen(kind int, port uint16) (int, error) {
	family := unix.AF_INET
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(port)}
	if o.Six {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(port)}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		os.NewSyscallError("bind", unix.Bind(fd, address)),
	)
	if err == nil && kind == unix.SOCK_STREAM {
		err = os.NewSyscallError("listen", unix.Listen(fd, 512))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// accept gives each connection a thread that answers size bytes with one.
func (o *serverOrders) accept(listener, size int) {
	for {
		var fd int
		err := retry(func() (err error) {
			fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
			return err
		})
		if err != nil {
			die("accept", err)
		}
		go func() {
			runtime.LockOSThread() // and the thread ends with the goroutine
			defer unix.Close(fd)
			if noDelay(fd) != nil || bind(o.CPU) != nil {
				return // the client sees its connection closed
			}
			buf := make([]byte, min(size, 64<<10))
			answer := make([]byte, 1)
			for {
				for left := size; left > 0; {
					n, err := readSome(fd, buf[:min(left, len(buf))])
					if err != nil {
						return
					}
					left -= n
				}
				if writeAll(fd, answer) != nil {
					return
				}
			}
		}()
	}
}

// serveUDP sends each datagram back.
func (o *serverOrders) serveUDP(fd int) {
	runtime.LockOSThread()
	if err := bind(o.CPU); err != nil {
		die("serve UDP", err)
	}
	buf := make([]byte, 2048)
	var from unix.RawSockaddrAny
	for {
		size := uint32(unix.SizeofSockaddrAny)
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0,
			uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)))
		if errno != 0 {
			if errno == unix.EINTR || errno == unix.ECONNREFUSED {
				continue // interrupted, or an ICMP error about an answer whose asker is gone
			}
			die("receive", errno)
		}
		// a lost answer is what UDP is about
		_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), n, 0,
			uintptr(unsafe.Pointer(&from)), uintptr(size))
	}
}

// die ends the process: half a server would make its client wait.
func die(doing string, err error) {
	_, _ = io.WriteString(os.Stderr, doing+": "+err.Error()+"\n")
	os.Exit(1)
}
