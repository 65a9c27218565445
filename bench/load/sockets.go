// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// open makes the way's ends, each in its namespace. What it returns is the
// caller's to close, also beside an error.
func (w Way) open() (clients, servers []*os.File, err error) {
	if w.Kind == KindUDP || w.Kind == KindFlood {
		return w.openDatagrams()
	}
	listener := -1
	err = w.Server.Do(func() error {
		listener, err = listen(w.family(), w.Listen)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	server := os.NewFile(uintptr(listener), "listener")
	if w.Kind == KindConnections {
		return w.openConnections(server)
	}
	// the listening socket is closed again: connections need it no longer
	defer server.Close()
	count := 1
	if w.Kind == KindHTTP {
		count = connections
	}
	for range count {
		near, far, err := w.connect(listener)
		if err != nil {
			return clients, servers, err
		}
		clients, servers = append(clients, near), append(servers, far)
	}
	return clients, servers, nil
}

// openConnections gives the listening socket to the players, and the namespace
// in which to connect to it.
func (w Way) openConnections(server *os.File) (clients, servers []*os.File, err error) {
	servers = []*os.File{server}
	if !w.Dial.Addr().Is4() {
		return nil, servers, errors.New("connections are made to IPv4 addresses only")
	}
	if err := wait(int(server.Fd()), 0); err != nil {
		return nil, servers, err
	}
	ns, err := unix.FcntlInt(uintptr(w.Client.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, servers, fmt.Errorf("duplicate the client's namespace: %w", err)
	}
	return []*os.File{os.NewFile(uintptr(ns), "netns")}, servers, nil
}

func (w Way) connect(listener int) (client, server *os.File, err error) {
	near := -1
	err = w.Client.Do(func() error {
		near, err = dial(w.family(), unix.SOCK_STREAM, w.Dial)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	client = os.NewFile(uintptr(near), "client")
	far, err := accept(listener)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return client, os.NewFile(uintptr(far), "server"), nil
}

// openDatagrams makes a connected client and a bound server, which learns the
// client's address, as NAT lets it see it, from a first datagram. That of a
// flood stays unread.
func (w Way) openDatagrams() (clients, servers []*os.File, err error) {
	far, near := -1, -1
	err = w.Server.Do(func() error {
		far, err = bound(w.family(), unix.SOCK_DGRAM, w.Listen)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	servers = []*os.File{os.NewFile(uintptr(far), "server")}
	err = w.Client.Do(func() error {
		near, err = dial(w.family(), unix.SOCK_DGRAM, w.Dial)
		return err
	})
	if err != nil {
		return nil, servers, err
	}
	clients = []*os.File{os.NewFile(uintptr(near), "client")}
	if w.Kind == KindFlood {
		return clients, servers, nil
	}
	b := make([]byte, 1)
	if err := write(near, b); err != nil {
		return clients, servers, fmt.Errorf("send a first datagram: %w", err)
	}
	var from unix.Sockaddr
	err = retry(func() error {
		_, from, err = unix.Recvfrom(far, b, 0)
		return err
	})
	if err != nil {
		return clients, servers, fmt.Errorf("wait for a first datagram: %w", err)
	}
	err = errors.Join(os.NewSyscallError("connect", unix.Connect(far, from)), wait(far, 0))
	return clients, servers, err
}

// family is that of both ends' sockets.
func (w Way) family() int {
	if w.Dial.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
}

func listen(family int, port uint16) (int, error) {
	fd, err := bound(family, unix.SOCK_STREAM, port)
	if err != nil {
		return -1, err
	}
	if err := unix.Listen(fd, connections); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("listen", err)
	}
	return fd, nil
}

// bound is a socket at a port of all addresses.
func bound(family, kind int, port uint16) (int, error) {
	fd, err := socket(family, kind)
	if err != nil {
		return -1, err
	}
	all := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		all = netip.IPv6Unspecified()
	}
	err = errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
		os.NewSyscallError("bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(all, port)))),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func dial(family, kind int, to netip.AddrPort) (int, error) {
	fd, err := socket(family, kind)
	if err != nil {
		return -1, err
	}
	address := sockaddr(to)
	if err := retry(func() error { return unix.Connect(fd, address) }); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

func accept(listener int) (fd int, err error) {
	err = retry(func() error {
		fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return err
	})
	if err != nil {
		return -1, os.NewSyscallError("accept", err)
	}
	// An accepted socket has no time-out of its own: the server waits for the client as long as it takes.
	return fd, errors.Join(noDelay(fd), wait(fd, 0))
}

// socket is blocking and gives up after answerTimeout.
func socket(family, kind int) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = wait(fd, answerTimeout.Nanoseconds())
	if kind == unix.SOCK_STREAM {
		err = errors.Join(err, noDelay(fd))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// wait sets how long the socket waits for the other end, in nanoseconds; 0 is for ever.
func wait(fd int, ns int64) error {
	t := unix.NsecToTimeval(ns)
	return errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t)),
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &t)),
	)
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
