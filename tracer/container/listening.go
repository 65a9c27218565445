// SPDX-License-Identifier: Apache-2.0

package container

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"
)

// Socket is one that waits for packets from anybody, with who holds it.
type Socket struct {
	Listener
	// Only6 tells of a socket of IPv6 that it takes no IPv4 (IPV6_V6ONLY).
	Only6   bool
	Holders []Process // by id; none where they can't be seen
}

// Process is who holds a socket.
type Process struct {
	PID  int
	Name string // of /proc/PID/comm
}

// Takes tells whether a packet to that address ends in this socket, as far as
// address and family go.
func (s Socket) Takes(dst netip.Addr) bool {
	switch {
	case s.Addr == dst:
		return true
	case !s.Addr.IsUnspecified():
		return false
	case dst.Is4():
		return s.Addr.Is4() || !s.Only6
	}
	return s.Addr.Is6()
}

// Entry runs a function inside one network namespace, on a thread that is in
// it. netns.NS is one.
type Entry interface {
	Do(func() error) error
}

// SCTP is listed by the kernel's sctp_diag only, which few have: it is read from
// /proc.
const sctpTable = "net/sctp/eps"

// Listening returns the sockets of a network namespace that wait for packets
// from anybody: listening TCP sockets, bound and unconnected UDP ones, endpoints
// of SCTP; in order of protocol, port and address. Holders adds who holds them.
func Listening(ns Entry) ([]Socket, error) {
	var all []Socket
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_INET_DIAG, nil)
		if err != nil {
			return fmt.Errorf("open sock_diag: %w", err)
		}
		defer conn.Close()
		for _, q := range []struct {
			protocol string
			number   uint8
			state    uint
		}{{"tcp", unix.IPPROTO_TCP, stateListen}, {"udp", unix.IPPROTO_UDP, stateClosed}} {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				found, err := dumpSockets(conn, family, q.number, q.state)
				if err != nil {
					return fmt.Errorf("list %s sockets: %w", q.protocol, err)
				}
				for i := range found {
					found[i].Protocol = q.protocol
				}
				all = append(all, found...)
			}
		}
		sctp, err := readSCTP()
		all = append(all, sctp...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list listening sockets: %w", err)
	}
	slices.SortStableFunc(all, compareSockets)
	return all, nil
}

func compareSockets(a, b Socket) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.Addr.Compare(b.Addr))
}

// Of struct inet_diag_req_v2 and inet_diag_msg.
const (
	sockDiagByFamily  = 20
	sizeofDiagRequest = 8 + 48
	sizeofDiagMessage = 72
	attrSKV6Only      = 11
)

func dumpSockets(conn *netlink.Conn, family, protocol uint8, state uint) ([]Socket, error) {
	ask := make([]byte, sizeofDiagRequest)
	ask[0], ask[1] = family, protocol
	binary.NativeEndian.PutUint32(ask[4:], 1<<state)
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump}, Data: ask,
	})
	if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
		return nil, nil // a kernel without IPv6
	}
	if err != nil {
		return nil, err
	}
	var found []Socket
	for _, m := range msgs {
		s, ok, err := decodeSocket(m.Data)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, s)
		}
	}
	return found, nil
}

// decodeSocket reads an inet_diag_msg; ok is false for one that is not bound.
func decodeSocket(b []byte) (s Socket, ok bool, err error) {
	if len(b) < sizeofDiagMessage {
		return Socket{}, false, errors.New("decode socket: message too short")
	}
	s.Port = binary.BigEndian.Uint16(b[4:6])
	s.Addr = netip.AddrFrom4([4]byte(b[8:12]))
	if b[0] == unix.AF_INET6 {
		s.Addr = netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	}
	s.Inode = uint64(nlenc.Uint32(b[68:72]))
	ad, err := netlink.NewAttributeDecoder(b[sizeofDiagMessage:])
	if err != nil {
		return Socket{}, false, fmt.Errorf("decode socket: %w", err)
	}
	for ad.Next() {
		if ad.Type() == attrSKV6Only {
			s.Only6 = ad.Uint8() != 0
		}
	}
	return s, s.Port != 0, ad.Err()
}

// readSCTP reads the endpoints that listen; none where SCTP is not loaded.
func readSCTP() ([]Socket, error) {
	b, err := os.ReadFile("/proc/thread-self/" + sctpTable)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read SCTP endpoints: %w", err)
	}
	return parseSCTP(string(b)), nil
}

// parseSCTP reads /proc/net/sctp/eps: ENDPT SOCK STY SST HBKT LPORT UID INODE
// LADDRS, where state 10 listens.
func parseSCTP(text string) []Socket {
	var found []Socket
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 9 || f[3] != "10" {
			continue
		}
		port, err := strconv.ParseUint(f[5], 10, 16)
		inode, err2 := strconv.ParseUint(f[7], 10, 64)
		if err != nil || err2 != nil {
			continue
		}
		for _, text := range f[8:] {
			if addr, err := netip.ParseAddr(text); err == nil {
				l := Listener{Protocol: "sctp", Addr: addr.Unmap(), Port: uint16(port), Inode: inode}
				found = append(found, Socket{Listener: l})
			}
		}
	}
	return found
}

// Holders finds the processes that hold sockets: by the inode of the socket.
// Processes that end meanwhile, or whose descriptors can't be read, are left out.
func Holders() (map[uint64][]Process, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	who := map[uint64][]Process{}
	for _, pid := range pids {
		held := map[uint64]bool{}
		holds(pid, held)
		if len(held) == 0 {
			continue
		}
		st, err := readStat(pid)
		if err != nil {
			continue
		}
		for inode := range held {
			who[inode] = append(who[inode], Process{PID: pid, Name: st.comm})
		}
	}
	return who, nil
}
