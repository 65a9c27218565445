// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Units between two looks at the clock: a look costs as much as a stamp.
const (
	tripsPerLook       = 16
	packetsPerLook     = 64
	connectionsPerLook = 4
)

// player makes the way's client.
func (w wayOrders) player() (player, error) {
	switch w.Kind {
	case KindTCP, KindUDP:
		return &echoClient{fd: w.Clients[0], b: make([]byte, 1)}, nil
	case KindFlood:
		return &flooder{fd: w.Clients[0], server: w.Servers[0], b: make([]byte, 1)}, nil
	case KindHTTP:
		return newHTTPClient(w.Clients)
	case KindConnections:
		return newConnector(w), nil
	}
	return nil, fmt.Errorf("no player for %q", w.Kind)
}

// serve is the way's other end, on a thread of its own. When it fails, the
// client says that no answer comes.
func (w wayOrders) serve(cpu int) {
	runtime.LockOSThread()
	if bind(cpu) != nil {
		return
	}
	switch w.Kind {
	case KindTCP, KindUDP:
		echo(w.Servers[0])
	case KindHTTP:
		_ = serveHTTP(w.Servers)
	case KindConnections:
		_ = acceptAll(w.Servers[0])
	case KindFlood: // nobody reads
	}
}

// echoClient sends a byte and waits for it to come back.
type echoClient struct {
	fd int
	b  []byte
}

func (c *echoClient) begin() error  { return nil }
func (c *echoClient) finish() error { return nil }

func (c *echoClient) step() (uint64, error) {
	for range tripsPerLook {
		if err := write(c.fd, c.b); err != nil {
			return 0, fmt.Errorf("send: %w", err)
		}
		if _, err := read(c.fd, c.b); err != nil {
			return 0, fmt.Errorf("wait for the answer: %w", err)
		}
	}
	return tripsPerLook, nil
}

// echo sends back what it gets, for ever.
func echo(fd int) {
	b := make([]byte, 1)
	for {
		if _, err := read(fd, b); err != nil {
			return
		}
		if err := write(fd, b); err != nil {
			return
		}
	}
}

// flooder sends packets that nobody reads. Its units are the packets that came
// to the socket: the wire may drop some before the host sees them, as a
// network card's ring does.
type flooder struct {
	fd, server int
	b          []byte
	dropped    uint32 // by the socket, whose buffer is full, until the last look
}

// mostUnread is more packets than any socket's buffer holds.
const mostUnread = 1 << 20

// begin fills the socket's buffer, so that each packet from then on is dropped, and counted, there.
func (f *flooder) begin() (err error) {
	if f.dropped, err = drops(f.server); err != nil {
		return err
	}
	before := f.dropped
	for range mostUnread {
		if err := write(f.fd, f.b); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if f.dropped, err = drops(f.server); err != nil || f.dropped != before {
			return err
		}
	}
	return errors.New("no packet comes to the socket that nobody reads")
}

func (f *flooder) finish() error { return nil }

func (f *flooder) step() (uint64, error) {
	for range packetsPerLook {
		if err := write(f.fd, f.b); err != nil {
			return 0, fmt.Errorf("send: %w", err)
		}
	}
	now, err := drops(f.server)
	if err != nil {
		return 0, err
	}
	came := now - f.dropped // it wraps
	f.dropped = now
	return uint64(came), nil
}

// connector makes connections, one after the other, with one byte each way. It
// resets each, so that no port is held by TIME_WAIT.
type connector struct {
	to     unix.RawSockaddrInet4
	b      []byte
	linger unix.Linger
	wait   unix.Timeval
}

func newConnector(w wayOrders) *connector {
	port := w.Dial.Port()
	return &connector{
		// in network order, whatever the processor's is
		to:     unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(port), Addr: w.Dial.Addr().As4()},
		b:      make([]byte, 1),
		linger: unix.Linger{Onoff: 1},
		wait:   unix.NsecToTimeval(answerTimeout.Nanoseconds()),
	}
}

func networkOrder(port uint16) uint16 {
	b := [2]byte{byte(port >> 8), byte(port)}
	return *(*uint16)(unsafe.Pointer(&b))
}

func (c *connector) begin() error  { return nil }
func (c *connector) finish() error { return nil }

func (c *connector) step() (uint64, error) {
	for range connectionsPerLook {
		if err := c.one(); err != nil {
			return 0, fmt.Errorf("connect to port %d: %w", networkOrder(c.to.Port), err)
		}
	}
	return connectionsPerLook, nil
}

func (c *connector) one() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &c.linger); err != nil {
		return err
	}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &c.wait); err != nil {
			return err
		}
	}
	if _, err := raw(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&c.to)), unsafe.Sizeof(c.to)); err != nil {
		return err
	}
	if err := write(fd, c.b); err != nil {
		return err
	}
	_, err = read(fd, c.b)
	return err
}

// acceptAll answers one byte on each connection and closes it.
func acceptAll(listener int) error {
	b := make([]byte, 1)
	for {
		fd, err := raw(unix.SYS_ACCEPT4, uintptr(listener), 0, 0)
		if err != nil {
			return err
		}
		if _, err := read(fd, b); err == nil {
			_ = write(fd, b) // the client says that no answer came
		}
		unix.Close(fd)
	}
}
