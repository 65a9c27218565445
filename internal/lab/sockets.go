// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// pingTimeout is how long a ping waits: everything of a world is in one machine.
const pingTimeout = 250 * time.Millisecond

// Loads use blocking sockets, on a thread inside the node: no poller stands between the packet and
// the clock.

// dialRaw makes a blocking socket of the right family, connected to addr, that gives up after wait.
func dialRaw(kind, proto int, addr netip.AddrPort, wait time.Duration) (int, error) {
	family := unix.AF_INET
	var sa unix.Sockaddr
	if addr.Addr().Is6() {
		family = unix.AF_INET6
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	} else {
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	tv := unix.NsecToTimeval(wait.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv),
	)
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = retry(func() error { return unix.Connect(fd, sa) })
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", addr, timeoutError(err))
	}
	return fd, nil
}

// retry repeats what a signal interrupted.
func retry(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func timeoutError(err error) error {
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINPROGRESS) {
		return errTimeout
	}
	return err
}

func recv(fd int, buf []byte) (n int, err error) {
	err = retry(func() error {
		n, err = unix.Read(fd, buf)
		return err
	})
	return n, timeoutError(err)
}

func send(fd int, buf []byte) error {
	return retry(func() error {
		_, err := unix.Write(fd, buf)
		return timeoutError(err)
	})
}

// TCPEcho plays ping-pong over one connection: count times size bytes out and back.
func (n *Node) TCPEcho(ctx context.Context, addr netip.AddrPort, count, size int) (res Result, err error) {
	err = n.NS.Do(func() error {
		fd, err := dialRaw(unix.SOCK_STREAM, 0, addr, exchangeTimeout)
		if err != nil {
			return fmt.Errorf("start TCP echo: %w", err)
		}
		defer unix.Close(fd)
		out, in := payload(size), make([]byte, size)
		res, err = n.rounds(ctx, count, func() error {
			if err := send(fd, out); err != nil {
				return err
			}
			for got := 0; got < size; {
				m, err := recv(fd, in[got:])
				if err != nil {
					return err
				}
				if m == 0 {
					return errors.New("connection closed by peer")
				}
				got += m
			}
			return same(in, out)
		})
		return err
	})
	return res, err
}

// UDPEcho plays ping-pong with datagrams of size bytes (at least 8, which hold a number, so that a
// late answer is not taken for the next one).
func (n *Node) UDPEcho(ctx context.Context, addr netip.AddrPort, count, size int) (res Result, err error) {
	err = n.NS.Do(func() error {
		fd, err := dialRaw(unix.SOCK_DGRAM, 0, addr, exchangeTimeout)
		if err != nil {
			return fmt.Errorf("start UDP echo: %w", err)
		}
		defer unix.Close(fd)
		out, in := payload(max(8, size)), make([]byte, 64<<10)
		number := uint64(0)
		res, err = n.rounds(ctx, count, func() error {
			number++
			binary.BigEndian.PutUint64(out, number)
			if err := send(fd, out); err != nil {
				return err
			}
			for {
				m, err := recv(fd, in)
				if err != nil {
					return err
				}
				if m >= 8 && binary.BigEndian.Uint64(in) == number {
					return same(in[:m], out)
				}
			}
		})
		return err
	})
	return res, err
}

// TCPConnects opens and closes count connections, one after the other. An exchange is the connect.
func (n *Node) TCPConnects(ctx context.Context, addr netip.AddrPort, count int) (res Result, err error) {
	err = n.NS.Do(func() error {
		res, err = n.rounds(ctx, count, func() error {
			fd, err := dialRaw(unix.SOCK_STREAM, 0, addr, exchangeTimeout)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		})
		return err
	})
	return res, err
}

// Ping sends count ICMP (or ICMPv6) echo requests, one after the other, and waits up to 250 ms for
// each answer.
func (n *Node) Ping(ctx context.Context, addr netip.Addr, count int) (res Result, err error) {
	proto, request, reply := unix.IPPROTO_ICMP, byte(8), byte(0)
	if addr.Is6() {
		proto, request, reply = unix.IPPROTO_ICMPV6, byte(128), byte(129)
	}
	err = n.NS.Do(func() error {
		fd, err := dialRaw(unix.SOCK_RAW, proto, netip.AddrPortFrom(addr, 0), pingTimeout)
		if err != nil {
			return fmt.Errorf("start ping: %w", err)
		}
		defer unix.Close(fd)
		id := uint16(fd)<<8 ^ uint16(time.Now().UnixNano())
		seq, in := uint16(0), make([]byte, 2048)
		res, err = n.rounds(ctx, count, func() error {
			seq++
			if err := send(fd, echoRequest(request, id, seq)); err != nil {
				return err
			}
			for deadline := time.Now().Add(pingTimeout); time.Now().Before(deadline); {
				m, err := recv(fd, in)
				if err != nil {
					return err
				}
				if isEchoReply(in[:m], addr.Is4(), reply, id, seq) {
					return nil
				}
			}
			return errTimeout
		})
		return err
	})
	return res, err
}

// echoRequest builds the message. The kernel fills in ICMPv6's checksum, but not ICMP's.
func echoRequest(kind byte, id, seq uint16) []byte {
	msg := payload(8 + 56)
	copy(msg, []byte{kind, 0, 0, 0})
	binary.BigEndian.PutUint16(msg[4:], id)
	binary.BigEndian.PutUint16(msg[6:], seq)
	binary.BigEndian.PutUint16(msg[2:], checksum(msg))
	return msg
}

// isEchoReply reports whether a packet of a raw socket (IPv4: with its IP header) is the answer.
func isEchoReply(p []byte, withHeader bool, kind byte, id, seq uint16) bool {
	if withHeader {
		if len(p) < 20 || len(p) < int(p[0]&15)*4 {
			return false
		}
		p = p[int(p[0]&15)*4:]
	}
	return len(p) >= 8 && p[0] == kind && binary.BigEndian.Uint16(p[4:]) == id && binary.BigEndian.Uint16(p[6:]) == seq
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func payload(size int) []byte { return bytes.Repeat([]byte{'v'}, size) }

func same(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("echo differs: got %d bytes, want %d", len(got), len(want))
	}
	return nil
}
