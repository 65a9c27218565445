// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// The kernel's numbers of ipset (linux/netfilter/ipset/ip_set.h).
const (
	subsysIPSet  = 6 // NFNL_SUBSYS_IPSET
	ipsetCmdList = 7 // IPSET_CMD_LIST
	ipsetVersion = 6

	ipsetProtocol = 1
	ipsetName     = 2
	ipsetType     = 3
	ipsetFamily   = 5
	ipsetADT      = 8

	entryIP    = 1
	entryCIDR  = 3
	entryPort  = 4
	entryProto = 7
	entryFlags = 8
	entryMark  = 10
	entryEther = 17
	entryIP2   = 20
	entryCIDR2 = 21
	entryIface = 23

	ipsetNoMatch = 1 << 2
)

// readIPSets lists the sets of ipset(8) in the thread's namespace. The netlink
// library's reader drops the mark of exceptions (nomatch), which turns what a
// rule means round.
func readIPSets(conn *netlink.Conn) (map[string]*rules.IPSet, error) {
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: subsysIPSet<<8 | ipsetCmdList, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_INET, 0, 0, 0, 5, 0, ipsetProtocol, 0, ipsetVersion, 0, 0, 0},
	})
	if unsupported(err) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list ipsets: %w", err)
	}
	sets := map[string]*rules.IPSet{}
	for _, m := range msgs {
		if err := addIPSet(sets, m.Data); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// addIPSet reads one message; a large set comes in several.
func addIPSet(sets map[string]*rules.IPSet, b []byte) error {
	if len(b) < sizeofNfgenmsg {
		return fmt.Errorf("decode ipset: %w", errShort)
	}
	a, err := attributes(b[sizeofNfgenmsg:])
	if err != nil {
		return fmt.Errorf("decode ipset: %w", err)
	}
	name := a.text(ipsetName)
	s := sets[name]
	if s == nil {
		s = &rules.IPSet{Name: name}
		sets[name] = s
	}
	if a.has(ipsetType) {
		s.Type = a.text(ipsetType)
	}
	if f := a[ipsetFamily]; len(f) == 1 {
		s.Family = familyName(f[0])
		if f[0] == unix.NFPROTO_UNSPEC {
			s.Family = ""
		}
	}
	ad, err := netlink.NewAttributeDecoder(a[ipsetADT])
	if err != nil {
		return fmt.Errorf("decode ipset %s: %w", name, err)
	}
	for ad.Next() {
		e, err := attributes(ad.Bytes())
		if err != nil {
			return fmt.Errorf("decode ipset %s: %w", name, err)
		}
		s.Entries = append(s.Entries, ipsetEntry(e))
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("decode ipset %s: %w", name, err)
	}
	return nil
}

func ipsetEntry(a attrs) rules.IPSetEntry {
	prefix := func(ip, cidr uint16) netip.Prefix {
		for _, b := range a.nested(ip) {
			addr, ok := netip.AddrFromSlice(b)
			if !ok {
				continue
			}
			bits := addr.BitLen()
			if c := a[cidr]; len(c) == 1 {
				bits = int(c[0])
			}
			return netip.PrefixFrom(addr, bits)
		}
		return netip.Prefix{}
	}
	e := rules.IPSetEntry{
		Net: prefix(entryIP, entryCIDR), Net2: prefix(entryIP2, entryCIDR2), Iface: a.text(entryIface),
		Mark: a.u32(entryMark), NoMatch: a.u32(entryFlags)&ipsetNoMatch != 0,
	}
	if p := a[entryPort]; len(p) == 2 {
		e.Port = binary.BigEndian.Uint16(p)
	}
	if p := a[entryProto]; len(p) == 1 {
		e.Proto = p[0]
	}
	if m := a[entryEther]; len(m) == 6 {
		e.MAC = [6]byte(m)
	}
	return e
}
