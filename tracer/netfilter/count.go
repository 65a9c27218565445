// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Counts are the rules of a namespace.
type Counts struct {
	NFT    map[string]int // rules of nf_tables by family and table: ip/filter
	Legacy map[string]int // entries of legacy tables, policies and chains' ends among them: legacy ip/filter
}

// Count counts the rules of a namespace. It loads no module: legacy tables that
// nobody uses stay unused.
func Count(ns Entry) (Counts, error) {
	c := Counts{NFT: map[string]int{}, Legacy: map[string]int{}}
	err := ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer conn.Close()
		msgs, err := dumpNFT(conn, unix.NFT_MSG_GETRULE)
		if err != nil && !unsupported(err) {
			return fmt.Errorf("list rules of nf_tables: %w", err)
		}
		for _, m := range msgs {
			name, err := decodeTableOf(m.Data)
			if err != nil {
				return err
			}
			c.NFT[name]++
		}
		return c.legacy()
	})
	if err != nil {
		return Counts{}, fmt.Errorf("count rules of netfilter: %w", err)
	}
	return c, nil
}

// decodeTableOf returns family and table of a rule.
func decodeTableOf(b []byte) (string, error) {
	if len(b) < sizeofNfgenmsg {
		return "", fmt.Errorf("decode rule: %w", errShort)
	}
	ad, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return "", fmt.Errorf("decode rule: %w", err)
	}
	name := familyName(b[0]) + "/"
	for ad.Next() {
		if ad.Type() == unix.NFTA_RULE_TABLE {
			name += ad.String()
		}
	}
	if err := ad.Err(); err != nil {
		return "", fmt.Errorf("decode rule: %w", err)
	}
	return name, nil
}

// legacyInfo is struct ipt_getinfo, which ip6t_getinfo equals.
type legacyInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	entries    uint32
	size       uint32
}

// getInfo is IPT_SO_GET_INFO, and IP6T_SO_GET_INFO.
const getInfo = 64

func (c *Counts) legacy() error {
	return eachLegacyTable(func(t legacyTable) error {
		n, err := legacyEntries(t.fd, t.level, t.name)
		if err != nil {
			return fmt.Errorf("read legacy table %s: %w", t.name, err)
		}
		c.Legacy["legacy "+t.family+"/"+t.name] = n
		return nil
	})
}

func legacyEntries(fd, level int, table string) (int, error) {
	var info legacyInfo
	copy(info.name[:len(info.name)-1], table)
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	if !bytes.HasPrefix(info.name[:], []byte(table)) {
		return 0, fmt.Errorf("the kernel answered about another table")
	}
	return int(info.entries), nil
}
