// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"
)

// errShort is returned for a message that ends before its fixed header does.
var errShort = errors.New("message too short")

// xdpAttached is IFLA_XDP_ATTACHED within IFLA_XDP.
const xdpAttached = 2

// decodeLink reads an RTM_NEWLINK message without its netlink header.
func decodeLink(b []byte) (Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("decode link: %w", errShort)
	}
	flags := nlenc.Uint32(b[8:12])
	l := Link{
		Index:         int(nlenc.Int32(b[4:8])),
		ParentNetnsID: -1,
		Up:            flags&unix.IFF_UP != 0,
		Loopback:      flags&unix.IFF_LOOPBACK != 0,
		Ethernet:      nlenc.Uint16(b[2:4]) == unix.ARPHRD_ETHER,
	}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, fmt.Errorf("decode link %d: %w", l.Index, err)
	}
	for ad.Next() {
		l.attribute(ad)
	}
	if err := ad.Err(); err != nil {
		return Link{}, fmt.Errorf("decode link %d: %w", l.Index, err)
	}
	return l, nil
}

func (l *Link) attribute(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.IFLA_IFNAME:
		l.Name = ad.String()
	case unix.IFLA_MTU:
		l.MTU = int(ad.Uint32())
	case unix.IFLA_ADDRESS:
		if mac := ad.Bytes(); len(mac) == 6 {
			l.MAC = net.HardwareAddr(mac).String()
		}
	case unix.IFLA_MASTER:
		l.Master = int(ad.Uint32())
	case unix.IFLA_LINK:
		l.Parent = int(ad.Uint32())
	case unix.IFLA_LINK_NETNSID:
		l.ParentNetnsID = int(ad.Int32())
	case unix.IFLA_OPERSTATE:
		l.Oper = operState(ad.Uint8())
	case unix.IFLA_QDISC:
		l.Qdisc = ad.String()
	case unix.IFLA_LINKINFO:
		ad.Nested(l.info)
	case unix.IFLA_XDP:
		ad.Nested(func(xdp *netlink.AttributeDecoder) error {
			for xdp.Next() {
				if xdp.Type() == xdpAttached {
					l.XDP = xdp.Uint8() != 0
				}
			}
			return nil
		})
	case unix.IFLA_STATS64:
		l.Counters = decodeCounters(ad.Bytes())
	}
}

// decodeCounters reads the head of struct rtnl_link_stats64, which grows at its
// end only.
func decodeCounters(b []byte) Counters {
	if len(b) < 8*8 {
		return Counters{}
	}
	at := func(i int) uint64 { return nlenc.Uint64(b[8*i : 8*i+8]) }
	return Counters{
		RxPackets: at(0), TxPackets: at(1),
		RxBytes: at(2), TxBytes: at(3),
		RxDropped: at(6), TxDropped: at(7),
	}
}

// decodeAddr reads an RTM_NEWADDR message: an address and its device's index.
// The prefix is invalid for families other than IPv4 and IPv6.
func decodeAddr(b []byte) (index int, prefix netip.Prefix, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return 0, netip.Prefix{}, fmt.Errorf("decode address: %w", errShort)
	}
	index = int(nlenc.Uint32(b[4:8]))
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return 0, netip.Prefix{}, fmt.Errorf("decode address of link %d: %w", index, err)
	}
	var local, address []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL:
			local = ad.Bytes()
		case unix.IFA_ADDRESS:
			address = ad.Bytes()
		}
	}
	if err := ad.Err(); err != nil {
		return 0, netip.Prefix{}, fmt.Errorf("decode address of link %d: %w", index, err)
	}
	if local == nil {
		local = address // IPv6 without a peer; with one, IFA_ADDRESS is the peer's
	}
	return index, toPrefix(b[0], local, int(b[1])), nil
}

// decodeRoute reads an RTM_NEWROUTE message.
func decodeRoute(b []byte) (Route, error) {
	if len(b) < unix.SizeofRtMsg {
		return Route{}, fmt.Errorf("decode route: %w", errShort)
	}
	family, bits := b[0], int(b[1])
	r := Route{Table: int(b[4]), Type: RouteType(b[7])}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return Route{}, fmt.Errorf("decode route: %w", err)
	}
	var dst []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			dst = ad.Bytes()
		case unix.RTA_OIF:
			r.Links = append(r.Links, int(ad.Uint32()))
		case unix.RTA_TABLE:
			r.Table = int(ad.Uint32())
		case unix.RTA_MULTIPATH:
			r.Links = append(r.Links, decodeNexthops(ad.Bytes())...)
		}
	}
	if err := ad.Err(); err != nil {
		return Route{}, fmt.Errorf("decode route: %w", err)
	}
	r.Dst = toPrefix(family, dst, bits)
	return r, nil
}

// decodeNexthops reads the devices of an array of struct rtnexthop, each with
// attributes behind it.
func decodeNexthops(b []byte) []int {
	var links []int
	for len(b) >= unix.SizeofRtNexthop {
		size := int(nlenc.Uint16(b[0:2]))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		links = append(links, int(nlenc.Int32(b[4:8])))
		b = b[min((size+3)&^3, len(b)):]
	}
	return links
}

// toPrefix makes a prefix of an address as netlink has it; no address stands for
// all zeroes (a default route).
func toPrefix(family uint8, raw []byte, bits int) netip.Prefix {
	addr, ok := netip.AddrFromSlice(raw)
	switch {
	case family == unix.AF_INET && len(raw) == 0:
		addr = netip.IPv4Unspecified()
	case family == unix.AF_INET6 && len(raw) == 0:
		addr = netip.IPv6Unspecified()
	case !ok:
		return netip.Prefix{}
	}
	if bits > addr.BitLen() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, bits)
}

// decodeNetnsID reads the answer to RTM_GETNSID: an id, IDNone for none.
func decodeNetnsID(b []byte) (int, error) {
	if len(b) < sizeofRtGenmsg {
		return 0, fmt.Errorf("decode namespace id: %w", errShort)
	}
	ad, err := netlink.NewAttributeDecoder(b[sizeofRtGenmsg:])
	if err != nil {
		return 0, fmt.Errorf("decode namespace id: %w", err)
	}
	id, found := IDNone, false
	for ad.Next() {
		if ad.Type() == unix.NETNSA_NSID {
			id, found = int(ad.Int32()), true
		}
	}
	if err := ad.Err(); err != nil {
		return 0, fmt.Errorf("decode namespace id: %w", err)
	}
	if !found {
		return 0, errors.New("decode namespace id: no id in the answer")
	}
	return max(id, IDNone), nil
}

// sizeofRtGenmsg is struct rtgenmsg (one byte), padded to netlink's alignment.
const sizeofRtGenmsg = 4

// encodeNetnsID is the question to RTM_GETNSID for a namespace's descriptor.
func encodeNetnsID(fd int) []byte {
	b := make([]byte, sizeofRtGenmsg+8)
	b[0] = unix.AF_UNSPEC
	binary.NativeEndian.PutUint16(b[4:], 8)
	binary.NativeEndian.PutUint16(b[6:], unix.NETNSA_FD)
	binary.NativeEndian.PutUint32(b[8:], uint32(fd))
	return b
}
