// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tableDormant is NFT_TABLE_F_DORMANT.
const tableDormant = 1

// attrXTName is NFTA_MATCH_NAME and NFTA_TARGET_NAME.
const attrXTName = 1

// table is a table of nf_tables.
type table struct{ family, name string }

// decodeTable reads a table and whether it is dormant: then none of its chains
// is registered.
func decodeTable(b []byte) (t table, dormant bool, err error) {
	if len(b) < sizeofNfgenmsg {
		return table{}, false, fmt.Errorf("decode table: %w", errShort)
	}
	t.family = familyName(b[0])
	ad, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return table{}, false, fmt.Errorf("decode table: %w", err)
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_TABLE_NAME:
			t.name = ad.String()
		case unix.NFTA_TABLE_FLAGS:
			dormant = ad.Uint32()&tableDormant != 0
		}
	}
	if err := ad.Err(); err != nil {
		return table{}, false, fmt.Errorf("decode table: %w", err)
	}
	return t, dormant, nil
}

// decodeRule reads the family and the expressions' names of a message of
// nf_tables, without its netlink header. Whole rules are not needed, and an
// expression newer than this program must not fail it.
func decodeRule(b []byte) (rule, error) {
	if len(b) < sizeofNfgenmsg {
		return rule{}, fmt.Errorf("decode rule: %w", errShort)
	}
	r := rule{family: familyName(b[0])}
	ad, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return rule{}, fmt.Errorf("decode rule: %w", err)
	}
	for ad.Next() {
		if ad.Type() != unix.NFTA_RULE_EXPRESSIONS {
			continue
		}
		ad.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				list.Nested(r.decodeExpr)
			}
			return nil
		})
	}
	if err := ad.Err(); err != nil {
		return rule{}, fmt.Errorf("decode rule: %w", err)
	}
	return r, nil
}

func (r *rule) decodeExpr(ad *netlink.AttributeDecoder) error {
	var name string
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			name = ad.String()
		case unix.NFTA_EXPR_DATA:
			if name != "match" && name != "target" {
				continue
			}
			ad.Nested(func(data *netlink.AttributeDecoder) error {
				for data.Next() {
					if data.Type() == attrXTName {
						name += " " + data.String()
					}
				}
				return nil
			})
		}
	}
	r.exprs = append(r.exprs, name)
	return nil
}

// parseQueues reads nfnetlink_queue: a line for each bound queue, its number
// first.
func parseQueues(text string) ([]uint16, error) {
	var queues []uint16
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseUint(fields[0], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse NFQUEUE: %w", err)
		}
		queues = append(queues, uint16(n))
	}
	return queues, nil
}

func nativeBig() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }
