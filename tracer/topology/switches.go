// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"bytes"
	"fmt"
	"net"
	"os"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"
)

// Switches are the settings of a namespace that decide which way packets take.
type Switches struct {
	Forward4, Forward6 bool
	RouteLocalnet      bool // 127.0.0.0/8 may go to other devices
	// BridgeNF tells that br_netfilter is loaded; without it no bridged packet is
	// shown to iptables, whatever NFCall of a bridge says.
	BridgeNF bool
	NFCall   NFCall // for all bridges of the namespace
}

// ReadSwitches reads the settings of a namespace. A setting that the kernel does
// not have is off.
func ReadSwitches(ns Entry) (Switches, error) {
	var s Switches
	err := ns.Do(func() error {
		s.Forward4 = on("ipv4/ip_forward")
		s.Forward6 = on("ipv6/conf/all/forwarding")
		s.RouteLocalnet = on("ipv4/conf/all/route_localnet")
		_, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables")
		s.BridgeNF = err == nil
		s.NFCall = NFCall{
			IPTables: on("bridge/bridge-nf-call-iptables"), IP6Tables: on("bridge/bridge-nf-call-ip6tables"),
			ARPTables: on("bridge/bridge-nf-call-arptables"),
		}
		return nil
	})
	if err != nil {
		return Switches{}, fmt.Errorf("read switches: %w", err)
	}
	return s, nil
}

func on(file string) bool {
	b, err := os.ReadFile("/proc/sys/net/" + file)
	return err == nil && len(bytes.TrimSpace(b)) > 0 && bytes.TrimSpace(b)[0] != '0'
}

// Learned is an entry of a bridge's forwarding table: which port an address is
// behind.
type Learned struct {
	MAC       string
	Port      int  // index of the device
	Permanent bool // the port's own address, or one that somebody wrote; else learned from packets
}

// ReadLearned reads the forwarding tables of all bridges of a namespace.
func ReadLearned(ns Entry) ([]Learned, error) {
	var all []Learned
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer conn.Close()
		ask := make([]byte, unix.SizeofNdMsg)
		ask[0] = unix.AF_BRIDGE
		msgs, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request | netlink.Dump}, Data: ask,
		})
		if err != nil {
			return fmt.Errorf("list forwarding tables: %w", err)
		}
		for _, m := range msgs {
			l, err := decodeLearned(m.Data)
			if err != nil {
				return err
			}
			if l.MAC != "" {
				all = append(all, l)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read topology: %w", err)
	}
	return all, nil
}

// decodeLearned reads an RTM_NEWNEIGH message of a bridge; MAC is "" where there
// is none.
func decodeLearned(b []byte) (Learned, error) {
	if len(b) < unix.SizeofNdMsg {
		return Learned{}, fmt.Errorf("decode forwarding entry: %w", errShort)
	}
	l := Learned{Port: int(nlenc.Int32(b[4:8])), Permanent: nlenc.Uint16(b[8:10])&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofNdMsg:])
	if err != nil {
		return Learned{}, fmt.Errorf("decode forwarding entry: %w", err)
	}
	for ad.Next() {
		if mac := ad.Bytes(); ad.Type() == unix.NDA_LLADDR && len(mac) == 6 {
			l.MAC = net.HardwareAddr(mac).String()
		}
	}
	if err := ad.Err(); err != nil {
		return Learned{}, fmt.Errorf("decode forwarding entry: %w", err)
	}
	return l, nil
}
