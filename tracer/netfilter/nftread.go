// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// nftRuleset reads all of nf_tables of the thread's namespace into set.
func nftRuleset(raw *netlink.Conn, set *rules.Set, with *decoders) error {
	dormant, err := dumpDormant(raw)
	if unsupported(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list tables of nf_tables: %w", err)
	}
	if len(dormant) == 0 {
		return nil
	}
	if err := nftAllChains(set, dormant); err != nil {
		return err
	}
	if err := nftSets(raw, set); err != nil {
		return err
	}
	msgs, err := dumpNFT(raw, unix.NFT_MSG_GETRULE)
	if err != nil {
		return fmt.Errorf("list rules of nf_tables: %w", err)
	}
	chains := map[[3]string]*rules.Chain{}
	for _, c := range set.Chains {
		if c.Backend == rules.NFT {
			chains[[3]string{c.Family, c.Table, c.Name}] = c
		}
	}
	if err := policyCounters(raw, chains); err != nil {
		return err
	}
	for _, m := range msgs {
		if err := addRule(set, chains, m.Data, with); err != nil {
			return err
		}
	}
	return nil
}

// nftAllChains lists the chains of tables; base chains of dormant tables are
// called by nobody.
func nftAllChains(set *rules.Set, dormant map[table]bool) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("open nf_tables: %w", err)
	}
	defer func() { _ = conn.CloseLasting() }()
	list, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("list chains of nf_tables: %w", err)
	}
	for _, c := range list {
		family := familyName(uint8(c.Table.Family))
		out := &rules.Chain{Backend: rules.NFT, Family: family, Table: c.Table.Name, Name: c.Name}
		if c.Hooknum != nil && c.Priority != nil && !dormant[table{family, c.Table.Name}] {
			out.Base = &rules.Base{
				Hook: hookName(family, uint32(*c.Hooknum)), Priority: int(*c.Priority), Type: string(c.Type), Policy: rules.Accept,
			}
			if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				out.Base.Policy = rules.Drop
			}
		}
		set.Chains = append(set.Chains, out)
	}
	return nil
}

// addRule decodes one message of a dump of rules and adds the rule to its chain.
func addRule(set *rules.Set, chains map[[3]string]*rules.Chain, b []byte, with *decoders) error {
	if len(b) < sizeofNfgenmsg {
		return fmt.Errorf("decode rule: %w", errShort)
	}
	family := familyName(b[0])
	a, err := attributes(b[sizeofNfgenmsg:])
	if err != nil {
		return fmt.Errorf("decode rule: %w", err)
	}
	c := chains[[3]string{family, a.text(unix.NFTA_RULE_TABLE), a.text(unix.NFTA_RULE_CHAIN)}]
	if c == nil {
		return nil // its chain came or went between the two lists; the generation tells
	}
	list, err := expressions(a[unix.NFTA_RULE_EXPRESSIONS])
	if err != nil {
		return fmt.Errorf("decode rule: %w", err)
	}
	r := reader{family: family, table: c.Table, iptables: c.IPTables(), sets: set.Sets, decoders: with}
	for _, e := range list {
		r.read(e)
	}
	rule := &rules.Rule{
		Number: len(c.Rules) + 1, Counter: r.counter, Stmts: r.stmts, Comment: ruleComment(a[unix.NFTA_RULE_USERDATA]),
	}
	if h := a[unix.NFTA_RULE_HANDLE]; len(h) == 8 {
		rule.Handle = binary.BigEndian.Uint64(h)
	}
	set.Describe(c, rule)
	c.Rules = append(c.Rules, rule)
	return nil
}

// expressions reads a list of expressions.
func expressions(b []byte) ([]expression, error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, fmt.Errorf("decode expressions: %w", err)
	}
	var list []expression
	for ad.Next() {
		a, err := attributes(ad.Bytes())
		if err != nil {
			return nil, err
		}
		list = append(list, expression{a.text(unix.NFTA_EXPR_NAME), a[unix.NFTA_EXPR_DATA]})
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("decode expressions: %w", err)
	}
	return list, nil
}

// ruleComment finds the comment in a rule's user data: entries of type, length
// and value; that of type 0 is the comment.
func ruleComment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return string(bytes.TrimRight(b[2:2+int(b[1])], "\x00"))
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// Attributes and flags of sets that the library and x/sys lack.
const (
	setDescConcat = 2  // NFTA_SET_DESC_CONCAT
	setFieldLen   = 1  // NFTA_SET_FIELD_LEN
	elemKeyEnd    = 10 // NFTA_SET_ELEM_KEY_END
	elemCatchAll  = 2  // NFT_SET_ELEM_CATCHALL
)

// nftSets lists the sets of all tables with their elements.
func nftSets(raw *netlink.Conn, set *rules.Set) error {
	msgs, err := dumpNFT(raw, unix.NFT_MSG_GETSET)
	if err != nil {
		return fmt.Errorf("list sets of nf_tables: %w", err)
	}
	set.Sets = map[rules.SetKey]*rules.NFSet{}
	for _, m := range msgs {
		key, s, err := decodeSet(m.Data)
		if err != nil {
			return err
		}
		elems, err := dumpElements(raw, m.Data[0], key)
		if err != nil {
			return err
		}
		for _, e := range elems {
			if err := addElements(s, e.Data); err != nil {
				return err
			}
		}
		finish(s)
		set.Sets[key] = s
	}
	return nil
}

func decodeSet(b []byte) (rules.SetKey, *rules.NFSet, error) {
	if len(b) < sizeofNfgenmsg {
		return rules.SetKey{}, nil, fmt.Errorf("decode set: %w", errShort)
	}
	a, err := attributes(b[sizeofNfgenmsg:])
	if err != nil {
		return rules.SetKey{}, nil, fmt.Errorf("decode set: %w", err)
	}
	flags := a.u32(unix.NFTA_SET_FLAGS)
	s := &rules.NFSet{
		Name:      a.text(unix.NFTA_SET_NAME),
		Anonymous: flags&unix.NFT_SET_ANONYMOUS != 0, Interval: flags&unix.NFT_SET_INTERVAL != 0,
		Map: flags&unix.NFT_SET_MAP != 0, Dynamic: flags&unix.NFT_SET_EVAL != 0,
		KeyLen: int(a.u32(unix.NFTA_SET_KEY_LEN)), DataLen: int(a.u32(unix.NFTA_SET_DATA_LEN)),
	}
	ad, err := netlink.NewAttributeDecoder(a.nested(unix.NFTA_SET_DESC)[setDescConcat])
	if err != nil {
		return rules.SetKey{}, nil, fmt.Errorf("decode set: %w", err)
	}
	for ad.Next() {
		if field, err := attributes(ad.Bytes()); err == nil && s.Interval {
			s.Fields = append(s.Fields, int(field.u32(setFieldLen)))
		}
	}
	return rules.SetKey{Family: familyName(b[0]), Table: a.text(unix.NFTA_SET_TABLE), Name: s.Name}, s, nil
}

func dumpElements(raw *netlink.Conn, family uint8, key rules.SetKey) ([]netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, key.Table)
	ae.String(unix.NFTA_SET_ELEM_LIST_SET, key.Name)
	b, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", key.Name, err)
	}
	msgs, err := raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSETELEM, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{family, 0, 0, 0}, b...),
	})
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", key.Name, err)
	}
	return msgs, nil
}

// addElements reads one message of a dump of elements. Until finish, an element's
// End of nil says that where it ends stands in another one, whose Key is nil.
func addElements(s *rules.NFSet, b []byte) error {
	if len(b) < sizeofNfgenmsg {
		return fmt.Errorf("decode element: %w", errShort)
	}
	a, err := attributes(b[sizeofNfgenmsg:])
	if err != nil {
		return fmt.Errorf("decode element: %w", err)
	}
	ad, err := netlink.NewAttributeDecoder(a[unix.NFTA_SET_ELEM_LIST_ELEMENTS])
	if err != nil {
		return fmt.Errorf("decode element: %w", err)
	}
	for ad.Next() {
		e, err := attributes(ad.Bytes())
		if err != nil {
			return fmt.Errorf("decode element: %w", err)
		}
		addElement(s, e)
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("decode element: %w", err)
	}
	return nil
}

func addElement(s *rules.NFSet, a attrs) {
	key := bytes.Clone(a.nested(unix.NFTA_SET_ELEM_KEY)[unix.NFTA_DATA_VALUE])
	e := rules.Element{Key: key}
	flags := a.u32(unix.NFTA_SET_ELEM_FLAGS)
	data := a.nested(unix.NFTA_SET_ELEM_DATA)
	if g, err := verdict(data); err == nil {
		e.Jump = &g
	} else {
		e.Data = bytes.Clone(data[unix.NFTA_DATA_VALUE])
	}
	switch {
	case flags&elemCatchAll != 0:
		s.CatchAll = &e
		return
	case flags&unix.NFT_SET_ELEM_INTERVAL_END != 0:
		e.Key, e.End = nil, key
	case a.has(elemKeyEnd):
		e.End = bytes.Clone(a.nested(elemKeyEnd)[unix.NFTA_DATA_VALUE])
	case !s.Interval:
		e.End = key
	}
	s.Elems = append(s.Elems, e)
}

// finish joins the starts and ends of ranges.
func finish(s *rules.NFSet) {
	var ends [][]byte
	list := make([]rules.Element, 0, len(s.Elems))
	for _, e := range s.Elems {
		if e.Key == nil {
			ends = append(ends, e.End)
			continue
		}
		list = append(list, e)
	}
	slices.SortFunc(ends, bytes.Compare)
	// The kernel lists hash tables in any order.
	slices.SortFunc(list, func(a, b rules.Element) int { return bytes.Compare(a.Key, b.Key) })
	for i := range list {
		if list[i].End != nil {
			continue
		}
		list[i].End = bytes.Repeat([]byte{0xff}, len(list[i].Key))
		at, _ := slices.BinarySearchFunc(ends, list[i].Key, bytes.Compare)
		for at < len(ends) && bytes.Equal(ends[at], list[i].Key) {
			at++
		}
		if at < len(ends) {
			list[i].End = before(ends[at])
		}
	}
	s.Elems = list
}

// before is the number in front of b.
func before(b []byte) []byte {
	out := bytes.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}
