// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Bridge is what a bridge does to the packets that cross it.
type Bridge struct {
	ID            string // 8000.0242ac110001: priority and address, by which spanning tree knows it
	STP           bool   // spanning tree
	VLANFiltering bool
	// NFCall is bridge-nf-call-iptables, -ip6tables and -arptables of this bridge
	// alone; the switches of the whole namespace are in Switches. Either is enough.
	NFCall NFCall
}

// NFCall says which tables are asked about bridged packets.
type NFCall struct{ IPTables, IP6Tables, ARPTables bool }

// Port is a device's life as the port of a bridge.
type Port struct {
	State    string // disabled, listening, learning, forwarding, blocking
	Hairpin  bool   // may send back what it received
	Isolated bool   // forwards to ports that are not isolated only
}

// attrMode is IFLA_MACVLAN_MODE and IFLA_IPVLAN_MODE.
const attrMode = 1

// info reads IFLA_LINKINFO: the kind comes before its data.
func (l *Link) info(ad *netlink.AttributeDecoder) error {
	master := ""
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_INFO_KIND:
			l.Kind = ad.String()
		case unix.IFLA_INFO_DATA:
			ad.Nested(l.data)
		case unix.IFLA_INFO_SLAVE_KIND:
			master = ad.String()
		case unix.IFLA_INFO_SLAVE_DATA:
			if master == "bridge" {
				l.Port = &Port{}
				ad.Nested(l.Port.decode)
			}
		}
	}
	return nil
}

// data reads what belongs to a kind of device.
func (l *Link) data(ad *netlink.AttributeDecoder) error {
	switch l.Kind {
	case "bridge":
		l.Bridge = &Bridge{}
		return l.Bridge.decode(ad)
	case "macvlan", "macvtap":
		for ad.Next() {
			if ad.Type() == attrMode {
				l.Mode = macvlanMode(ad.Uint32())
			}
		}
	case "ipvlan", "ipvtap":
		for ad.Next() {
			if ad.Type() == attrMode {
				l.Mode = name([]string{"l2", "l3", "l3s"}, int(ad.Uint16()))
			}
		}
	}
	return nil
}

func (b *Bridge) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BR_STP_STATE:
			b.STP = ad.Uint32() != 0
		case unix.IFLA_BR_VLAN_FILTERING:
			b.VLANFiltering = ad.Uint8() != 0
		case unix.IFLA_BR_BRIDGE_ID:
			if id := ad.Bytes(); len(id) == 8 {
				b.ID = fmt.Sprintf("%02x%02x.%x", id[0], id[1], []byte(net.HardwareAddr(id[2:])))
			}
		case unix.IFLA_BR_NF_CALL_IPTABLES:
			b.NFCall.IPTables = ad.Uint8() != 0
		case unix.IFLA_BR_NF_CALL_IP6TABLES:
			b.NFCall.IP6Tables = ad.Uint8() != 0
		case unix.IFLA_BR_NF_CALL_ARPTABLES:
			b.NFCall.ARPTables = ad.Uint8() != 0
		}
	}
	return nil
}

func (p *Port) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_BRPORT_STATE:
			p.State = name([]string{"disabled", "listening", "learning", "forwarding", "blocking"}, int(ad.Uint8()))
		case unix.IFLA_BRPORT_MODE:
			p.Hairpin = ad.Uint8() != 0
		case unix.IFLA_BRPORT_ISOLATED:
			p.Isolated = ad.Uint8() != 0
		}
	}
	return nil
}

// operState is IF_OPER_* of RFC 2863.
func operState(n uint8) string {
	return name([]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}, int(n))
}

// macvlanMode is MACVLAN_MODE_*, a bit each.
func macvlanMode(n uint32) string {
	for i, word := range []string{"private", "vepa", "bridge", "passthru", "source"} {
		if n == 1<<i {
			return word
		}
	}
	return fmt.Sprintf("mode %d", n)
}

func name(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return fmt.Sprintf("number %d", i)
}
