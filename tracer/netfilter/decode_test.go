// SPDX-License-Identifier: Apache-2.0

package netfilter

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// message puts attributes, in network byte order, behind a family.
func message(t testing.TB, family uint8, fill func(*netlink.AttributeEncoder)) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	fill(ae)
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{family, 0, 0, 0}, b...)
}

func sampleHook(t testing.TB) []byte {
	return message(t, unix.NFPROTO_IPV4, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(attrHookNum, unix.NF_INET_FORWARD)
		ae.Uint32(attrHookPriority, 0xffffff6a) // -150
		ae.String(attrHookFunction, "nft_do_chain_inet")
		ae.String(attrHookModule, "nf_tables")
		ae.Nested(attrHookInfo, func(info *netlink.AttributeEncoder) error {
			info.Nested(attrInfoDesc, func(desc *netlink.AttributeEncoder) error {
				desc.String(attrChainTable, "fw")
				desc.Uint8(attrChainFamily, unix.NFPROTO_INET)
				desc.String(attrChainName, "guard")
				return nil
			})
			info.Uint32(attrInfoType, infoNFTables)
			return nil
		})
	})
}

func TestDecodeHook(t *testing.T) {
	got, err := decodeHook(sampleHook(t))
	want := registered{
		family: FamilyIP, hook: HookForward, priority: -150, function: "nft_do_chain_inet", module: "nf_tables",
		info: infoNFTables, chainFamily: FamilyInet, table: "fw", chain: "guard",
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	bpf, err := decodeHook(message(t, unix.NFPROTO_IPV6, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(attrHookNum, unix.NF_INET_LOCAL_IN)
		ae.Uint32(attrHookPriority, math.MaxInt32)
		ae.Nested(attrHookInfo, func(info *netlink.AttributeEncoder) error {
			info.Nested(attrInfoDesc, func(desc *netlink.AttributeEncoder) error {
				desc.Uint32(1, 4711) // the program's id
				return nil
			})
			info.Uint32(attrInfoType, infoBPF)
			return nil
		})
	}))
	if err != nil || !bpf.bpf() || bpf.priority != math.MaxInt32 || bpf.family != FamilyIP6 || bpf.hook != HookInput {
		t.Errorf("BPF link: %+v, %v", bpf, err)
	}
	if _, err := decodeHook([]byte{2}); !errors.Is(err, errShort) {
		t.Errorf("short: %v", err)
	}
}

func sampleRule(t testing.TB) []byte {
	expr := func(list *netlink.AttributeEncoder, name, xt string) {
		list.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
			e.String(unix.NFTA_EXPR_NAME, name)
			e.Nested(unix.NFTA_EXPR_DATA, func(d *netlink.AttributeEncoder) error {
				if xt != "" {
					d.String(attrXTName, xt)
				} else {
					d.Uint32(1, 1)
				}
				return nil
			})
			return nil
		})
	}
	return message(t, unix.NFPROTO_IPV4, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, "filter")
		ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(list *netlink.AttributeEncoder) error {
			expr(list, "meta", "")
			expr(list, "match", "conntrack")
			expr(list, "target", "LOG")
			return nil
		})
	})
}

func TestDecodeRule(t *testing.T) {
	got, err := decodeRule(sampleRule(t))
	want := rule{FamilyIP, []string{"meta", "match conntrack", "target LOG"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := decodeRule(nil); !errors.Is(err, errShort) {
		t.Errorf("short: %v", err)
	}
}

func sampleTable(t testing.TB, flags uint32) []byte {
	return message(t, unix.NFPROTO_IPV6, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, "asleep")
		ae.Uint32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

func TestDecodeTable(t *testing.T) {
	for flags, want := range map[uint32]bool{0: false, 1: true, 2: false, 3: true} {
		got, dormant, err := decodeTable(sampleTable(t, flags))
		if err != nil || got != (table{FamilyIP6, "asleep"}) || dormant != want {
			t.Errorf("flags %d: %+v, %v, %v", flags, got, dormant, err)
		}
	}
	if _, _, err := decodeTable(nil); !errors.Is(err, errShort) {
		t.Errorf("short: %v", err)
	}
}

func TestHookNames(t *testing.T) {
	for _, tt := range []struct {
		family string
		number uint32
		want   string
	}{
		{FamilyIP, 0, HookPrerouting},
		{FamilyIP6, 1, HookInput},
		{FamilyInet, 2, HookForward},
		{FamilyBridge, 3, HookOutput},
		{FamilyIP, 4, HookPostrouting},
		{FamilyInet, 5, HookIngress},
		{FamilyNetdev, 0, HookIngress},
		{FamilyNetdev, 1, HookEgress},
		{FamilyARP, 0, HookInput},
		{FamilyARP, 1, HookOutput},
		{FamilyARP, 2, HookForward},
		{FamilyIP, math.MaxUint32, "hook 4294967295"},
	} {
		if got := hookName(tt.family, tt.number); got != tt.want {
			t.Errorf("%s %d: %s, want %s", tt.family, tt.number, got, tt.want)
		}
	}
	if got := familyName(99); got != "family 99" {
		t.Errorf("unknown family: %s", got)
	}
}

func TestParseQueues(t *testing.T) {
	got, err := parseQueues("    0  31234     0 2 65531     0     0        0  1\n  511  31235     3 2 65531     0     0       12  1\n\n")
	if err != nil || !slices.Equal(got, []uint16{0, 511}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := parseQueues(""); err != nil || got != nil {
		t.Errorf("no queues: %v, %v", got, err)
	}
	for _, bad := range []string{"x 1\n", "70000 1\n", "-1\n"} {
		if _, err := parseQueues(bad); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}

func TestEncodeHookGet(t *testing.T) {
	b := encodeHookGet(unix.NFPROTO_IPV6, 4)
	r, err := decodeHook(b) // the same layout as an answer's beginning
	if err != nil || r.family != FamilyIP6 || r.hook != HookPostrouting {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sampleHook(f))
	f.Add(sampleRule(f))
	f.Add(sampleTable(f, 1))
	f.Add(encodeHookGet(unix.NFPROTO_IPV4, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeHook(b); err == nil {
			chains := fromHooks([]registered{r}, nil)
			if r.bpf() != (len(chains) == 0) {
				t.Errorf("%+v gives %+v", r, chains)
			}
			for _, c := range chains {
				Borders(chains, c.Family, c.Hook)
			}
		}
		if r, err := decodeRule(b); err == nil {
			infer(facts{rules: []rule{r}})
		}
		decodeTable(b)
		parseQueues(string(b))
	})
}
