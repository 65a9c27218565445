package main

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

var (
	intT  = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u8T   = &btf.Int{Name: "unsigned char", Size: 1}
	u32T  = &btf.Int{Name: "unsigned int", Size: 4}
	ulong = &btf.Int{Name: "long unsigned int", Size: 8}
)

// blob encodes types as a kernel would.
func blob(t *testing.T, types ...btf.Type) []byte {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func generateFrom(t *testing.T, list string, types ...btf.Type) (string, error) {
	t.Helper()
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(blob(t, types...)))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := parseList(strings.NewReader(list), "list")
	if err != nil {
		t.Fatal(err)
	}
	return generate(spec, entries, "list")
}

// kernel is a small one with everything that makes a declaration hard.
func kernel() []btf.Type {
	u8 := &btf.Typedef{Name: "u8", Type: &btf.Typedef{Name: "__u8", Type: u8T}}
	dev := &btf.Struct{Name: "net_device", Size: 4, Members: []btf.Member{{Name: "ifindex", Type: intT}}}
	state := &btf.Enum{Name: "state", Size: 4, Values: []btf.EnumValue{{Name: "OFF", Value: 0}, {Name: "ON", Value: 1}}}
	in6 := &btf.Struct{Name: "in6", Size: 4, Members: []btf.Member{{Name: "u", Type: &btf.Union{Size: 4, Members: []btf.Member{
		{Name: "w", Type: u32T}, {Name: "b", Type: &btf.Array{Index: u32T, Type: u8, Nelems: 4}},
	}}}}}
	netT := &btf.Typedef{Name: "net_t", Type: &btf.Struct{Size: 8, Members: []btf.Member{
		{Name: "net", Type: &btf.Pointer{Target: &btf.Fwd{Name: "net", Kind: btf.FwdStruct}}},
	}}}
	proto := &btf.FuncProto{Return: intT, Params: []btf.FuncParam{{Name: "x", Type: intT}}}
	deep := &btf.Union{Size: 16, Members: []btf.Member{
		{Type: &btf.Struct{Size: 16, Members: []btf.Member{
			{Name: "next", Type: &btf.Pointer{Target: dev}},
			{Name: "dev", Type: &btf.Pointer{Target: dev}, Offset: 64},
		}}},
		{Name: "other", Type: ulong},
		{Type: &btf.Struct{Size: 4, Members: []btf.Member{
			{Name: "kind", Type: u8, BitfieldSize: 3},
			{Name: "flag", Type: u8, Offset: 3, BitfieldSize: 1},
		}}},
	}}
	skb := &btf.Struct{Name: "skb", Size: 128, Members: []btf.Member{
		{Type: deep},
		{Name: "state", Type: &btf.Volatile{Type: state}, Offset: 128},
		{Name: "addr", Type: &btf.Const{Type: in6}, Offset: 160},
		{Name: "net", Type: netT, Offset: 192},
		{Name: "fn", Type: &btf.Pointer{Target: proto}, Offset: 256},
		{Name: "any", Type: &btf.Pointer{Target: &btf.Pointer{Target: &btf.Void{}}}, Offset: 320},
		{Name: "rows", Type: &btf.Pointer{Target: &btf.Array{Index: u32T, Type: u8, Nelems: 7}}, Offset: 384},
		{Name: "subs", Type: &btf.Array{Index: u32T, Type: &btf.Array{Index: u32T, Type: &btf.Pointer{Target: dev}, Nelems: 2}, Nelems: 3}, Offset: 448},
		{Name: "mode", Type: &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "MODE_A", Value: 4}}}, Offset: 832},
		{Name: "alias", Type: &btf.Typedef{Name: "in6_t", Type: in6}, Offset: 864},
		{Name: "f", Type: &btf.Float{Name: "float", Size: 4}, Offset: 896},
	}}
	return []btf.Type{skb, dev, state, in6, netT}
}

func TestGenerateKeepsNestingAndTakesOnlyWhatIsListed(t *testing.T) {
	got, err := generateFrom(t, "struct skb: flag dev", kernel()...)
	if err != nil {
		t.Fatal(err)
	}
	want := `struct net_device;

typedef unsigned char __u8;
typedef __u8 u8;

struct skb {
	union {
		struct {
			struct net_device *dev;
		};
		struct {
			u8 flag: 1;
		};
	};
};
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestGenerateWritesWhatATypeContainsFirst(t *testing.T) {
	list := "struct skb: state addr net fn any rows subs mode alias f\nenum state\nstruct in6: *\ntypedef net_t: net\n"
	got, err := generateFrom(t, list, kernel()...)
	if err != nil {
		t.Fatal(err)
	}
	want := `struct net;
struct net_device;

typedef unsigned char __u8;
typedef __u8 u8;

enum state {
	OFF = 0,
	ON = 1,
};

struct in6 {
	union {
		unsigned int w;
		u8 b[4];
	} u;
};
_Static_assert(sizeof(struct in6) == 4, "layout of struct in6");

typedef struct {
	struct net *net;
} net_t;

struct skb {
	enum state state;
	struct in6 addr;
	net_t net;
	void *fn;
	void **any;
	u8 (*rows)[7];
	struct net_device *subs[3][2];
	enum { MODE_A = 4, } mode;
	struct in6 alias;
	float f;
};
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestGenerateErrorsNameTheLine(t *testing.T) {
	loop := &btf.Struct{Name: "loop", Size: 4}
	loop.Members = []btf.Member{{Name: "self", Type: loop}}
	types := append(kernel(), loop,
		&btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "TWICE", Value: 1}}},
		&btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "TWICE", Value: 2}}})
	tests := []struct{ name, list, want string }{
		{"no such type", "\nstruct nope: a", "list:2: struct nope is not in this kernel's BTF"},
		{"another kind", "union skb: dev", "list:1: union skb is not in this kernel's BTF"},
		{"no such members", "struct skb: dev a b", "list:1: struct skb has no a, b in this kernel's BTF"},
		{"name of a nested struct's inside", "struct skb: w", "list:1: struct skb has no w in this kernel's BTF"},
		{"no such value", "enum state: ON BROKEN", "list:1: enum state has no BROKEN in this kernel's BTF"},
		{"struct inside not listed", "struct skb: addr", "list:1: struct skb contains struct in6: list it too"},
		{"enum inside not listed", "struct skb: state", "list:1: struct skb contains enum state: list it too"},
		{"typedef inside not listed", "struct skb: net", "list:1: struct skb contains typedef net_t: list it too"},
		{"typedef's members not listed", "typedef net_t", "list:1: typedef net_t is a struct of its own: list its members"},
		{"members of a scalar", "typedef u8: *", "list:1: typedef u8 has no members of its own: list the type it names"},
		{"endless", "struct loop: self", "list:1: struct loop contains itself"},
		{"no such constant", "const: ON NOWHERE", "list:1: no enum of this kernel's BTF has NOWHERE"},
		{"two values", "const: TWICE", "list:1: TWICE has two values in this kernel's BTF, "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := generateFrom(t, tt.list, types...)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestGenerateTakesTheNamesakeThatHasTheMembers(t *testing.T) {
	first := &btf.Struct{Name: "twin", Size: 4, Members: []btf.Member{{Name: "a", Type: intT}}}
	second := &btf.Struct{Name: "twin", Size: 4, Members: []btf.Member{{Name: "b", Type: u32T}}}
	got, err := generateFrom(t, "struct twin: b", first, second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, "unsigned int b;") {
		t.Errorf("got %s", got)
	}
}

func TestGenerateConstants(t *testing.T) {
	a := &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "A", Value: 1}, {Name: "B", Value: 2}}}
	c := &btf.Enum{Name: "c", Size: 4, Values: []btf.EnumValue{{Name: "C", Value: 3}}}
	got, err := generateFrom(t, "const: C A\nenum c: C", a, c)
	if err != nil {
		t.Fatal(err)
	}
	want := "\n\nenum {\n\tC = 3,\n\tA = 1,\n};\n\nenum c {\n\tC = 3,\n};\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestEnumValue(t *testing.T) {
	minusOne := int64(-1)
	minusBig := int64(math.MinInt32) - 1
	tests := []struct {
		value  uint64
		signed bool
		want   string
	}{
		{0, false, "0"},
		{math.MaxInt32, false, "2147483647"},
		{math.MaxInt32 + 1, false, "2147483648U"},
		{math.MaxUint32, false, "4294967295U"},
		{math.MaxUint32 + 1, false, "4294967296ULL"},
		{math.MaxUint64, false, "18446744073709551615ULL"},
		{uint64(minusOne), true, "-1"},
		{uint64(minusBig), true, "-2147483649LL"},
		{math.MaxInt32 + 1, true, "2147483648LL"},
		{1 << 63, true, "(-9223372036854775807LL - 1)"},
	}
	for _, tt := range tests {
		if got := enumValue(tt.value, tt.signed); got != tt.want {
			t.Errorf("enumValue(%d, %v) = %s, want %s", tt.value, tt.signed, got, tt.want)
		}
	}
}
