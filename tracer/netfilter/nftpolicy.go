// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// policyCounters adds how many packets came to the end of a base chain, and so
// met its policy. Chains of iptables-nft count them, those of nft if told to.
func policyCounters(raw *netlink.Conn, chains map[[3]string]*rules.Chain) error {
	msgs, err := dumpNFT(raw, unix.NFT_MSG_GETCHAIN)
	if err != nil {
		return fmt.Errorf("list policies of nf_tables: %w", err)
	}
	for _, m := range msgs {
		if len(m.Data) < sizeofNfgenmsg {
			return fmt.Errorf("decode chain: %w", errShort)
		}
		a, err := attributes(m.Data[sizeofNfgenmsg:])
		if err != nil {
			return fmt.Errorf("decode chain: %w", err)
		}
		c := chains[[3]string{familyName(m.Data[0]), a.text(unix.NFTA_CHAIN_TABLE), a.text(unix.NFTA_CHAIN_NAME)}]
		if c == nil || c.Base == nil || a[unix.NFTA_CHAIN_COUNTERS] == nil {
			continue
		}
		if c.Base.Counter, err = counterOf(a[unix.NFTA_CHAIN_COUNTERS]); err != nil {
			return err
		}
	}
	return nil
}

func counterOf(b []byte) (*rules.Counter, error) {
	a, err := attributes(b)
	if err != nil {
		return nil, fmt.Errorf("decode counter: %w", err)
	}
	packets, bytes := a[unix.NFTA_COUNTER_PACKETS], a[unix.NFTA_COUNTER_BYTES]
	if len(packets) != 8 || len(bytes) != 8 {
		return nil, fmt.Errorf("decode counter: %w", errShort)
	}
	return &rules.Counter{Packets: binary.BigEndian.Uint64(packets), Bytes: binary.BigEndian.Uint64(bytes)}, nil
}
