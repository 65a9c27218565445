// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// rulesTries bounds how often rules are read that change meanwhile.
const rulesTries = 5

// ReadRules reads all rules of a namespace: of nf_tables and of iptables-legacy,
// IPv4 and IPv6, with counters, sets and maps, and the sets of ipset. It asks for
// nothing that would make the kernel create a table. Errors are the kernel's.
func ReadRules(ns Entry) (*rules.Set, error) {
	var set *rules.Set
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer conn.Close()
		for range rulesTries {
			before := generation(conn)
			if set, err = readRules(conn); err != nil {
				return err
			}
			if generation(conn) == before {
				return nil
			}
		}
		set.Notes = append(set.Notes, "the rules changed while they were read")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return set, nil
}

// readRules reads once.
func readRules(conn *netlink.Conn) (*rules.Set, error) {
	names, closeNames := ipsetNames()
	defer closeNames()
	set := &rules.Set{}
	var err error
	if set.IPSets, err = readIPSets(conn); err != nil {
		return nil, err
	}
	with := newDecoders(names)
	if err := legacyRuleset(set, with); err != nil {
		return nil, err
	}
	if err := nftRuleset(conn, set, with); err != nil {
		return nil, err
	}
	return set, nil
}

// attrGeneration is NFTA_GEN_ID.
const attrGeneration = 1

// generation is a number that changes with the rules of nf_tables; 0 where the
// kernel has none.
func generation(conn *netlink.Conn) uint32 {
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   make([]byte, sizeofNfgenmsg),
	})
	if err != nil || len(msgs) == 0 || len(msgs[0].Data) < sizeofNfgenmsg {
		return 0
	}
	a, err := attributes(msgs[0].Data[sizeofNfgenmsg:])
	if err != nil || len(a[attrGeneration]) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(a[attrGeneration])
}
