// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// received notes what sockets of the router got.
func (w *router) received(list []probe, fates map[uint32]fate) error {
	buf := make([]byte, 2048)
	for fd, proto := range w.raw {
		for {
			n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err == unix.EAGAIN {
				break
			}
			if err != nil {
				return err
			}
			w.note(list, fates, buf[:n], rules.Delivered, fmt.Sprint(proto))
		}
	}
	return nil
}

// note finds the packet that bytes belong to. Answers that quote a packet have
// another protocol or type.
func (w *router) note(list []probe, fates map[uint32]fate, b []byte, end rules.End, dev string) {
	at := bytes.Index(b, []byte(marker))
	if at < 0 || at+len(marker)+4 > len(b) {
		return
	}
	id := binary.BigEndian.Uint32(b[at+len(marker):])
	for _, p := range list {
		if p.id != id || fates[id].end == rules.Delivered {
			continue
		}
		f := fate{end: end, dev: dev}
		if p.V6() && end == rules.Delivered { // raw sockets of IPv6 have no header
			if dev == fmt.Sprint(p.Proto) && (p.Proto != rules.ICMPv6 || b[0] == p.ICMPType) {
				fates[id] = f
			}
			return
		}
		if f.read(b, p) {
			if dev == "lo" || fates[id].end == rules.Forwarded && (dev == "pa" || dev == "pb") {
				return // on its way in again; the bridge's own device was seen
			}
			fates[id] = f
		}
	}
}

// read reads the addresses and ports that a packet left with.
func (f *fate) read(b []byte, p probe) bool {
	l4 := 20
	var proto byte
	if p.V6() {
		l4 = 40
	}
	if len(b) < l4+4 {
		return false
	}
	if p.V6() {
		proto = b[6]
		f.src, f.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	} else {
		proto = b[9]
		f.src, f.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	}
	if proto != p.Proto || (proto == rules.ICMP || proto == rules.ICMPv6) && b[l4] != p.ICMPType {
		return false
	}
	if p.ports() {
		f.srcPort, f.dstPort = binary.BigEndian.Uint16(b[l4:]), binary.BigEndian.Uint16(b[l4+2:])
	}
	return true
}
