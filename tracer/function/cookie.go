package function

import "fmt"

// Kind is how an argument leads to the packet.
type Kind uint8

// The kinds, as enum vt_kind of bpf/hook_call.h numbers them.
const (
	KindSkb    Kind = 0 // struct sk_buff *
	KindMember Kind = 1 // a pointer to what has one: struct sk_buff **, struct nft_pktinfo *
	KindPoll   Kind = 2 // no packet
)

// Argument is where a function has the packet.
type Argument struct {
	Kind     Kind
	Position int    // of the argument, from 0
	Offset   uint16 // in bytes, of the pointer to the packet, for KindMember
	// Table is the position of the netfilter table plus 1, 0 for none; Name is
	// the offset of the table's name.
	Table int
	Name  uint16
}

// Numbers of functions: plain ones from 1 on, those with tables in groups of
// eight (VT_FUNCTION_TABLES of bpf/journey.h).
const (
	firstNumber = 1
	firstTables = 112
	tablesEach  = 8
	endNumber   = 128
)

// Return marks the number of a call that is a return (VT_RETURN).
const Return = 0x80

// Most is how many functions can be probed at a time.
const Most = firstTables - firstNumber

// tables are the netfilter tables, by number in a group.
func tables() []string { return []string{"", "raw", "mangle", "nat", "filter", "security"} }

// Cookie tells the kernel programs what to do in this function (VT_COOKIE_*).
func (p Probe) Cookie() uint64 {
	c := uint64(p.Number) | uint64(p.Argument.Position)<<8 | uint64(p.Argument.Kind)<<12 |
		uint64(p.Argument.Offset)<<16 | uint64(p.Argument.Table)<<32 | uint64(p.Argument.Name)<<40
	if p.Spec.Returns || p.Spec.Poll {
		c |= 1 << 7
	}
	return c
}

// Names gives the name of each number that calls of these functions may carry:
// nft_do_chain, ipt_do_table/nat.
func Names(probes []Probe) map[uint8]string {
	names := map[uint8]string{}
	for _, p := range probes {
		names[p.Number] = p.Name
		if !p.Spec.Tables {
			continue
		}
		for i, table := range tables() {
			if i > 0 {
				names[p.Number+uint8(i)] = p.Name + "/" + table
			}
		}
	}
	return names
}

// number gives each probe its number, in order.
func number(probes []Probe) error {
	plain, grouped := firstNumber, firstTables
	for i := range probes {
		if probes[i].Spec.Tables {
			if grouped >= endNumber {
				return fmt.Errorf("probe %s: no more than %d functions with tables at a time", probes[i].Name, (endNumber-firstTables)/tablesEach)
			}
			probes[i].Number = uint8(grouped)
			grouped += tablesEach
			continue
		}
		if plain >= firstTables {
			return fmt.Errorf("probe %s: no more than %d functions at a time", probes[i].Name, Most)
		}
		probes[i].Number = uint8(plain)
		plain++
	}
	return nil
}
