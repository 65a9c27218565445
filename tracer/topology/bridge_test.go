// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkOf makes a link message of a kind with its data.
func linkOf(t *testing.T, kind string, data func(*netlink.AttributeEncoder) error) Link {
	t.Helper()
	l, err := decodeLink(message(t, linkHeader(3, unix.IFF_UP, unix.ARPHRD_ETHER), func(ae *netlink.AttributeEncoder) {
		ae.Uint8(unix.IFLA_OPERSTATE, 6)
		ae.Nested(unix.IFLA_LINKINFO, func(n *netlink.AttributeEncoder) error {
			n.String(unix.IFLA_INFO_KIND, kind)
			n.Nested(unix.IFLA_INFO_DATA, data)
			return nil
		})
	}))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDecodeBridge(t *testing.T) {
	l := linkOf(t, "bridge", func(n *netlink.AttributeEncoder) error {
		n.Uint32(unix.IFLA_BR_STP_STATE, 1)
		n.Uint8(unix.IFLA_BR_VLAN_FILTERING, 1)
		n.Bytes(unix.IFLA_BR_BRIDGE_ID, []byte{0x80, 0, 2, 0x42, 0xac, 0x11, 0, 1})
		n.Uint8(unix.IFLA_BR_NF_CALL_IP6TABLES, 1)
		return nil
	})
	want := &Bridge{ID: "8000.0242ac110001", STP: true, VLANFiltering: true, NFCall: NFCall{IP6Tables: true}}
	if diff := cmp.Diff(want, l.Bridge); diff != "" || l.Oper != "up" {
		t.Error(l.Oper, diff)
	}
}

func TestDecodeModes(t *testing.T) {
	mac := linkOf(t, "macvlan", func(n *netlink.AttributeEncoder) error { n.Uint32(attrMode, 4); return nil })
	ip := linkOf(t, "ipvlan", func(n *netlink.AttributeEncoder) error { n.Uint16(attrMode, 2); return nil })
	odd := linkOf(t, "macvlan", func(n *netlink.AttributeEncoder) error { n.Uint32(attrMode, 64); return nil })
	if mac.Mode != "bridge" || ip.Mode != "l3s" || odd.Mode != "mode 64" {
		t.Error(mac.Mode, ip.Mode, odd.Mode)
	}
}

func TestDecodePort(t *testing.T) {
	l, err := decodeLink(message(t, linkHeader(4, 0, unix.ARPHRD_ETHER), func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_LINKINFO, func(n *netlink.AttributeEncoder) error {
			n.String(unix.IFLA_INFO_KIND, "veth")
			n.String(unix.IFLA_INFO_SLAVE_KIND, "bridge")
			n.Nested(unix.IFLA_INFO_SLAVE_DATA, func(p *netlink.AttributeEncoder) error {
				p.Uint8(unix.IFLA_BRPORT_STATE, 4)
				p.Uint8(unix.IFLA_BRPORT_MODE, 1)
				p.Uint8(unix.IFLA_BRPORT_ISOLATED, 1)
				return nil
			})
			return nil
		})
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Port{State: "blocking", Hairpin: true, Isolated: true}, l.Port); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeLearned(t *testing.T) {
	head := make([]byte, unix.SizeofNdMsg)
	head[0], head[4], head[8] = unix.AF_BRIDGE, 5, unix.NUD_PERMANENT
	l, err := decodeLearned(message(t, head, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.NDA_LLADDR, []byte{2, 0x42, 0, 0, 0, 1}) }))
	if want := (Learned{MAC: "02:42:00:00:00:01", Port: 5, Permanent: true}); err != nil || l != want {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := decodeLearned(head[:4]); err == nil {
		t.Error("a short message is read")
	}
}
