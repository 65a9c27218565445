// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// message puts attributes behind a header.
func message(t testing.TB, header []byte, fill func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	fill(ae)
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(header, b...)
}

func linkHeader(index int, flags uint32, typ uint16) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(b[2:], typ)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

func sampleLink(t testing.TB) []byte {
	stats := make([]byte, 24*8)
	for i := range 24 {
		binary.NativeEndian.PutUint64(stats[8*i:], uint64(i+1))
	}
	return message(t, linkHeader(27, unix.IFF_UP, unix.ARPHRD_ETHER), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, "vethweb")
		ae.Uint32(unix.IFLA_MTU, 1450)
		ae.Bytes(unix.IFLA_ADDRESS, []byte{2, 0x42, 0xac, 0x11, 0, 2})
		ae.Uint32(unix.IFLA_MASTER, 3)
		ae.Uint32(unix.IFLA_LINK, 26)
		ae.Int32(unix.IFLA_LINK_NETNSID, 1)
		ae.String(unix.IFLA_QDISC, "fq_codel")
		ae.Nested(unix.IFLA_LINKINFO, func(n *netlink.AttributeEncoder) error {
			n.String(unix.IFLA_INFO_KIND, "veth")
			return nil
		})
		ae.Nested(unix.IFLA_XDP, func(n *netlink.AttributeEncoder) error {
			n.Uint8(xdpAttached, 1)
			return nil
		})
		ae.Bytes(unix.IFLA_STATS64, stats)
	})
}

func TestDecodeLink(t *testing.T) {
	got, err := decodeLink(sampleLink(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Link{
		Index: 27, Name: "vethweb", Kind: "veth", Master: 3, Parent: 26, ParentNetnsID: 1, MAC: "02:42:ac:11:00:02",
		MTU: 1450, Up: true, Ethernet: true, Qdisc: "fq_codel", XDP: true,
		Counters: Counters{RxPackets: 1, TxPackets: 2, RxBytes: 3, TxBytes: 4, RxDropped: 7, TxDropped: 8},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	bare, err := decodeLink(linkHeader(1, unix.IFF_LOOPBACK, unix.ARPHRD_LOOPBACK))
	if err != nil || !bare.Loopback || bare.Ethernet || bare.Up || bare.ParentNetnsID != -1 {
		t.Errorf("bare link: %+v, %v", bare, err)
	}
}

func TestDecodeAddr(t *testing.T) {
	header := []byte{unix.AF_INET, 16, 0, 0, 5, 0, 0, 0}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		header = []byte{unix.AF_INET, 16, 0, 0, 0, 0, 0, 5}
	}
	// A point-to-point address: the own one is IFA_LOCAL.
	b := message(t, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, []byte{10, 0, 0, 2})
		ae.Bytes(unix.IFA_LOCAL, []byte{10, 0, 0, 1})
	})
	index, prefix, err := decodeAddr(b)
	if err != nil || index != 5 || prefix != netip.MustParsePrefix("10.0.0.1/16") {
		t.Errorf("index %d, prefix %v, error %v", index, prefix, err)
	}
}

func routeHeader(family, bits, typ byte) []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1], b[4], b[7] = family, bits, 254, typ
	return b
}

func nexthop(index uint32, attrs ...byte) []byte {
	b := make([]byte, unix.SizeofRtNexthop, unix.SizeofRtNexthop+len(attrs))
	binary.NativeEndian.PutUint16(b, uint16(cap(b)))
	binary.NativeEndian.PutUint32(b[4:], index)
	return append(b, attrs...)
}

func TestDecodeRoute(t *testing.T) {
	multipath := append(nexthop(2, 8, 0, 5, 0, 192, 0, 2, 1), nexthop(3)...)
	tests := []struct {
		name string
		b    []byte
		want Route
	}{
		{
			"subnet", message(t, routeHeader(unix.AF_INET, 24, 1), func(ae *netlink.AttributeEncoder) {
				ae.Bytes(unix.RTA_DST, []byte{192, 0, 2, 0})
				ae.Uint32(unix.RTA_OIF, 2)
				ae.Uint32(unix.RTA_TABLE, 1000)
			}), Route{Dst: netip.MustParsePrefix("192.0.2.0/24"), Links: []int{2}, Table: 1000, Type: RouteUnicast},
		},
		{
			"default", message(t, routeHeader(unix.AF_INET6, 0, 1), func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.RTA_OIF, 2) }),
			Route{Dst: netip.MustParsePrefix("::/0"), Links: []int{2}, Table: 254, Type: RouteUnicast},
		},
		{
			"multipath", message(t, routeHeader(unix.AF_INET, 0, 1), func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.RTA_MULTIPATH, multipath) }),
			Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Links: []int{2, 3}, Table: 254, Type: RouteUnicast},
		},
		{"MPLS", routeHeader(unix.AF_MPLS, 20, 1), Route{Table: 254, Type: RouteUnicast}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeRoute(tt.b)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestDecodeNexthopsBroken(t *testing.T) {
	short := nexthop(2)
	binary.NativeEndian.PutUint16(short, 4) // less than its own header: would never advance
	long := nexthop(3)
	binary.NativeEndian.PutUint16(long, 400)
	for _, b := range [][]byte{short, long, {1, 2, 3}} {
		if got := decodeNexthops(b); got != nil {
			t.Errorf("% x gives %v", b, got)
		}
	}
}

func TestDecodeNetnsID(t *testing.T) {
	answer := func(id int32) []byte {
		return message(t, make([]byte, sizeofRtGenmsg), func(ae *netlink.AttributeEncoder) { ae.Int32(unix.NETNSA_NSID, id) })
	}
	for id, want := range map[int32]int{0: 0, 7: 7, -1: IDNone} {
		if got, err := decodeNetnsID(answer(id)); err != nil || got != want {
			t.Errorf("id %d: got %d, %v", id, got, err)
		}
	}
	if _, err := decodeNetnsID(make([]byte, sizeofRtGenmsg)); err == nil {
		t.Error("an answer without an id gives no error")
	}
}

func TestDecodeShort(t *testing.T) {
	_, linkErr := decodeLink(nil)
	_, _, addrErr := decodeAddr(make([]byte, 3))
	_, routeErr := decodeRoute(make([]byte, 11))
	_, idErr := decodeNetnsID(nil)
	for _, err := range []error{linkErr, addrErr, routeErr, idErr} {
		if !errors.Is(err, errShort) {
			t.Errorf("error %v, want %v", err, errShort)
		}
	}
}

func TestDiff(t *testing.T) {
	veth := func(index int, name string, master int) Link {
		return Link{Index: index, Name: name, Kind: "veth", Master: master}
	}
	old := []Link{veth(2, "a", 0), veth(3, "b", 0), veth(4, "c", 0), {Index: 5, Name: "d", Kind: "tun"}}
	now := []Link{veth(2, "a", 9), veth(4, "b", 0), veth(5, "d", 0), veth(6, "e", 0)}
	var got []string
	for _, c := range diff(old, now) {
		got = append(got, c.Kind.String()+" "+c.Link.Name)
	}
	// Index 5 is another device now; "b" is removed before c is renamed to it.
	want := []string{"removed b", "removed d", "altered a", "renamed b", "added d", "added e"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if c := diff(now, now); c != nil {
		t.Errorf("no change gives %v", c)
	}
}

// FuzzDecode feeds all decoders: none may panic, and what they return must be
// usable without further checks.
func FuzzDecode(f *testing.F) {
	f.Add(sampleLink(f))
	f.Add(append(routeHeader(unix.AF_INET, 0, 1), nexthop(2)...))
	f.Add([]byte{unix.AF_INET6, 200, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := decodeLink(b); err == nil && l.MAC != "" && len(l.MAC) != 17 {
			t.Errorf("MAC %q", l.MAC)
		}
		if _, p, err := decodeAddr(b); err == nil && p.IsValid() && p.Bits() > p.Addr().BitLen() {
			t.Errorf("prefix %v", p)
		}
		if r, err := decodeRoute(b); err == nil {
			r.leavesHost()
			Uplinks(Namespace{Routes: []Route{r}})
		}
		if id, err := decodeNetnsID(b); err == nil && id < IDNone {
			t.Errorf("id %d", id)
		}
	})
}
