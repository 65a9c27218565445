// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The kernel's numbers of the hook dump (linux/netfilter/nfnetlink_hook.h).
const (
	subsysHook = 12 // NFNL_SUBSYS_HOOK
	msgHookGet = 0  // NFNL_MSG_HOOK_GET

	attrHookNum      = 1
	attrHookPriority = 2
	attrHookFunction = 4
	attrHookModule   = 5
	attrHookInfo     = 6

	attrInfoDesc = 1
	attrInfoType = 2

	attrChainTable  = 1
	attrChainFamily = 2
	attrChainName   = 3

	infoNFTables = 1
	infoBPF      = 2
)

// sizeofNfgenmsg is struct nfgenmsg: family, version, resource.
const sizeofNfgenmsg = 4

// errShort is returned for a message that ends before its fixed header does.
var errShort = errors.New("message too short")

// registered is one entry of the hook dump.
type registered struct {
	family   string // whose dump it is in: ip, ip6, arp, bridge
	hook     string
	priority int
	function string // nft_do_chain_inet, ipv4_conntrack_in, ...
	module   string
	info     uint32 // what it is: infoNFTables, infoBPF; 0 where the kernel does not say
	// Of the chain, when it is one of nf_tables:
	chainFamily, table, chain string
}

// decodeHook reads one message of the hook dump without its netlink header.
func decodeHook(b []byte) (registered, error) {
	if len(b) < sizeofNfgenmsg {
		return registered{}, fmt.Errorf("decode hook: %w", errShort)
	}
	r := registered{family: familyName(b[0])}
	ad, err := netlink.NewAttributeDecoder(b[sizeofNfgenmsg:])
	if err != nil {
		return registered{}, fmt.Errorf("decode hook: %w", err)
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case attrHookNum:
			r.hook = hookName(r.family, ad.Uint32())
		case attrHookPriority:
			r.priority = int(int32(ad.Uint32())) //nolint:gosec // the kernel sends a signed number as an unsigned one
		case attrHookFunction:
			r.function = ad.String()
		case attrHookModule:
			r.module = ad.String()
		case attrHookInfo:
			ad.Nested(r.decodeInfo)
		}
	}
	if err := ad.Err(); err != nil {
		return registered{}, fmt.Errorf("decode hook: %w", err)
	}
	return r, nil
}

func (r *registered) decodeInfo(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case attrInfoType:
			r.info = ad.Uint32()
		case attrInfoDesc:
			ad.Nested(func(desc *netlink.AttributeDecoder) error {
				for desc.Next() {
					r.decodeDesc(desc)
				}
				return nil
			})
		}
	}
	return nil
}

// decodeDesc reads the description of a chain. That of a BPF link has an id
// where a chain has its table: it is of four bytes and not used.
func (r *registered) decodeDesc(desc *netlink.AttributeDecoder) {
	switch desc.Type() {
	case attrChainTable:
		r.table = desc.String()
	case attrChainFamily:
		if b := desc.Bytes(); len(b) == 1 {
			r.chainFamily = familyName(b[0])
		}
	case attrChainName:
		r.chain = desc.String()
	}
}

// fromHooks turns a hook dump into chains, in the order in which they run.
// known are the chains of nf_tables and of legacy tables: they give types, and
// the nat chains, which the kernel does not register themselves but calls from a
// function of its own. Links of BPF programs (vethtrace's own, for one) are left
// out.
func fromHooks(dump []registered, known []Chain) []Chain {
	var chains []Chain
	add := func(list ...Chain) {
		for _, c := range list {
			if !slices.Contains(chains, c) {
				chains = append(chains, c)
			}
		}
	}
	for _, r := range dump {
		switch {
		case r.bpf():
		case r.info == infoNFTables:
			add(r.nftChain(known))
		case strings.HasPrefix(r.function, "nf_nat_"):
			add(natAt(r.family, r.hook, r.priority, known)...)
		case r.legacyTable() != "":
			add(r.legacyChain())
		default:
			add(kernelChain(r.family, r.hook, r.priority, functionName(r.function)))
		}
	}
	// The dump has no netdev family, and ingress of inet is a device's.
	for _, c := range known {
		if c.Hook == HookIngress || c.Hook == HookEgress {
			add(c)
		}
	}
	return chains
}

func (r registered) bpf() bool {
	return r.info == infoBPF || r.function == "nf_hook_run_bpf" || strings.Contains(r.function, "bpf_nf_link") ||
		strings.HasPrefix(r.function, "nf_bpf")
}

func (r registered) nftChain(known []Chain) Chain {
	c := Chain{
		Family: r.chainFamily, Hook: r.hook, Priority: r.priority,
		Table: r.table, Name: r.chain, Backend: BackendNFT,
	}
	if c.Family == "" {
		c.Family = r.family
	}
	for _, k := range known {
		if k.Backend == BackendNFT && k.Family == c.Family && k.Table == c.Table && k.Name == c.Name {
			c.Type = k.Type
		}
	}
	return c
}

// legacyTable names the table that an entry of iptables-legacy runs, "" for
// other entries. Since Linux 5.16 all tables share one function.
func (r registered) legacyTable() string {
	if r.function == "ipt_do_table" || r.function == "ip6t_do_table" {
		for _, table := range []string{"raw", "mangle", "filter", "security"} {
			if legacyHooks(table)[0].priority == r.priority {
				return table
			}
		}
	}
	for _, prefix := range []string{"iptable_", "ip6table_"} {
		if rest, ok := strings.CutPrefix(r.function, prefix); ok {
			table, _, _ := strings.Cut(rest, "_")
			return table
		}
	}
	return ""
}

func (r registered) legacyChain() Chain {
	table := r.legacyTable()
	for _, c := range legacyChains(r.family, table) {
		if c.Hook == r.hook && c.Priority == r.priority {
			return c
		}
	}
	return Chain{
		Family: r.family, Hook: r.hook, Priority: r.priority, Table: table,
		Name: strings.ToUpper(r.hook), Backend: BackendLegacy,
	}
}

// functionName gives the kernel's functions names that stay the same over
// families and versions.
func functionName(function string) string {
	for _, n := range []struct{ part, name string }{
		{"defrag", "defrag"},
		{"confirm", "confirm"},
		{"ct_bridge_post", "confirm"},
		{"helper", "helper"},
		{"conntrack", "conntrack"},
		{"ct_bridge", "conntrack"},
		{"synproxy", "synproxy"},
		{"ip_vs", "ipvs"},
		{"br_nf_", "br_netfilter"},
		{"ip_sabotage", "br_netfilter"},
		{"selinux", "selinux"},
		{"smack", "smack"},
		{"apparmor", "apparmor"},
	} {
		if strings.Contains(function, n.part) {
			return n.name
		}
	}
	if function == "" {
		return "unknown" // kernel.kptr_restrict hides no names, CONFIG_KALLSYMS=n does
	}
	return function
}

func familyName(number uint8) string {
	switch number {
	case unix.NFPROTO_INET:
		return FamilyInet
	case unix.NFPROTO_IPV4:
		return FamilyIP
	case unix.NFPROTO_IPV6:
		return FamilyIP6
	case unix.NFPROTO_ARP:
		return FamilyARP
	case unix.NFPROTO_BRIDGE:
		return FamilyBridge
	case unix.NFPROTO_NETDEV:
		return FamilyNetdev
	}
	return fmt.Sprintf("family %d", number)
}

// hookName names a hook; each family numbers its own.
func hookName(family string, number uint32) string {
	names := []string{HookPrerouting, HookInput, HookForward, HookOutput, HookPostrouting, HookIngress}
	switch family {
	case FamilyARP:
		names = []string{HookInput, HookOutput, HookForward}
	case FamilyNetdev:
		names = []string{HookIngress, HookEgress}
	}
	if int64(number) < int64(len(names)) {
		return names[number]
	}
	return fmt.Sprintf("hook %d", number)
}
