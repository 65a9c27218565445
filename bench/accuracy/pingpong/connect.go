// SPDX-License-Identifier: Apache-2.0

package pingpong

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// connect makes both ends, each in its namespace. The listening socket of TCP
// is closed again: the connection needs it no longer.
func (w Way) connect() (client, server *os.File, err error) {
	listener := -1
	err = w.Server.Do(func() error {
		listener, err = w.listen()
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	var near int
	err = w.Client.Do(func() error {
		near, err = w.dial()
		return err
	})
	if err != nil {
		unix.Close(listener)
		return nil, nil, err
	}
	client = os.NewFile(uintptr(near), "client")
	far := listener
	if w.UDP {
		err = meet(near, listener)
	} else {
		far, err = accept(listener)
		unix.Close(listener)
	}
	if err != nil {
		client.Close()
		if w.UDP {
			unix.Close(listener)
		}
		return nil, nil, err
	}
	return client, os.NewFile(uintptr(far), "server"), nil
}

func (w Way) listen() (int, error) {
	fd, err := w.socket()
	if err != nil {
		return -1, err
	}
	own := netip.IPv4Unspecified()
	if w.Dial.Addr().Is6() {
		own = netip.IPv6Unspecified()
	}
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		os.NewSyscallError("bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(own, w.Listen)))),
	)
	if err == nil && !w.UDP {
		err = os.NewSyscallError("listen", unix.Listen(fd, 1))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (w Way) dial() (int, error) {
	fd, err := w.socket()
	if err != nil {
		return -1, err
	}
	if err := retry(func() error { return unix.Connect(fd, sockaddr(w.Dial)) }); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
}

// meet sends a first datagram and connects the server's socket to where it came
// from, which is what connection tracking then knows as established.
func meet(client, server int) error {
	var b [1]byte
	if err := writeByte(client, &b[0]); err != nil {
		return os.NewSyscallError("send", err)
	}
	var from unix.Sockaddr
	err := retry(func() (err error) {
		_, from, err = unix.Recvfrom(server, b[:], 0)
		return err
	})
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if err := unix.Connect(server, from); err != nil {
		return os.NewSyscallError("connect", err)
	}
	if err := errors.Join(writeByte(server, &b[0]), readByte(client, &b[0])); err != nil {
		return fmt.Errorf("first answer: %w", err)
	}
	return patient(server)
}

func accept(listener int) (fd int, err error) {
	err = retry(func() error {
		fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return err
	})
	if err != nil {
		return -1, os.NewSyscallError("accept", err)
	}
	if err := errors.Join(noDelay(fd), patient(fd)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// patient takes a socket's time-out away: the server waits for the client as long as it takes.
func patient(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{}))
}

// socket is blocking and gives up after answerTimeout.
func (w Way) socket() (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if w.Dial.Addr().Is6() {
		family = unix.AF_INET6
	}
	if w.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	wait := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)),
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)),
	)
	if !w.UDP {
		err = errors.Join(err, noDelay(fd))
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

// retry repeats what a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
