package function

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// symbols is what a kernel with some modules says of itself.
const symbols = `ffffffff81000000 T ip_rcv
ffffffff81000100 t ip_rcv_core
ffffffff81000200 T __netif_receive_skb_core.constprop.0
ffffffff81000300 t process_backlog
ffffffff81000400 t duplicate
ffffffff81000500 d not_a_function
ffffffff81000600 T notrace_me
ffffffff81000700 T tcp_sendmsg
ffffffff81000800 T ipt_do_table
ffffffffc0001000 T nf_conntrack_in	[nf_conntrack]
ffffffffc0001100 t br_handle_frame	[bridge]
ffffffffc0001200 T nft_do_chain	[nf_tables]
ffffffffc0001300 t br_nf_forward_ip	[br_netfilter]
ffffffffc0001400 t duplicate	[bridge]
ffffffffc0001500 t no_types	[strange]
`

func read(t *testing.T) *Symbols {
	t.Helper()
	s, err := ParseSymbols(strings.NewReader(symbols))
	if err != nil {
		t.Fatal(err)
	}
	var may strings.Builder
	for line := range strings.Lines(symbols) {
		if fields := strings.Fields(line); fields[2] != "notrace_me" {
			fmt.Fprintf(&may, "%s %s\n", fields[2], strings.Join(fields[3:], ""))
		}
	}
	if err := s.ParseMay(strings.NewReader(may.String())); err != nil {
		t.Fatal(err)
	}
	return s
}

// fakeTypes are types of modules, made here.
type fakeTypes map[string]*btf.Spec

func (f fakeTypes) Module(name string) (*btf.Spec, error) {
	if f[name] == nil {
		return nil, errors.New("no such module")
	}
	return f[name], nil
}

func spec(t *testing.T, types ...btf.Type) *btf.Spec {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	s, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pointer(to btf.Type) btf.Type { return &btf.Pointer{Target: to} }

func proto(name string, params ...btf.Type) *btf.Func {
	p := &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}}
	for i, param := range params {
		p.Params = append(p.Params, btf.FuncParam{Name: fmt.Sprint("a", i), Type: param})
	}
	return &btf.Func{Name: name, Type: p, Linkage: btf.GlobalFunc}
}

func types(t *testing.T) fakeTypes {
	t.Helper()
	skb := &btf.Struct{Name: "sk_buff", Size: 8, Members: []btf.Member{{Name: "next", Type: pointer(&btf.Void{})}}}
	state := &btf.Struct{Name: "nf_hook_state", Size: 8, Members: []btf.Member{{Name: "net", Type: pointer(&btf.Void{})}}}
	pktinfo := &btf.Struct{Name: "nft_pktinfo", Size: 16, Members: []btf.Member{
		{Name: "state", Type: pointer(state), Offset: 0}, {Name: "skb", Type: pointer(skb), Offset: 64},
	}}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	table := &btf.Struct{Name: "xt_table", Size: 40, Members: []btf.Member{
		{Name: "private", Type: pointer(&btf.Void{})}, {Name: "name", Type: char, Offset: 32 * 8},
	}}
	constant := &btf.Const{Type: pktinfo}
	return fakeTypes{
		"": spec(t, proto("ip_rcv", pointer(skb), pointer(&btf.Void{})), proto("ip_rcv_core", pointer(skb)),
			proto("tcp_sendmsg", pointer(state)), table,
			proto("ipt_do_table", pointer(&btf.Void{}), pointer(skb), pointer(&btf.Const{Type: state}))),
		"nf_conntrack": spec(t, proto("nf_conntrack_in", pointer(skb), pointer(state))),
		"bridge":       spec(t, proto("br_handle_frame", pointer(pointer(skb)))),
		"nf_tables":    spec(t, proto("nft_do_chain", pointer(constant), pointer(&btf.Void{}))),
		"br_netfilter": spec(t, proto("br_nf_forward_ip", pointer(state), pointer(skb))),
	}
}

// What the table has is found by whichever name the kernel has, with the
// argument that leads to the packet; what the kernel lacks is left out.
func TestResolveTable(t *testing.T) {
	probes, missing, err := Resolve(read(t), types(t), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Argument{}
	for _, p := range probes {
		got[p.Name] = p.Argument
	}
	want := map[string]Argument{
		"ip_rcv": {}, "ip_rcv_core": {}, "nf_conntrack_in": {},
		"process_backlog":  {Kind: KindPoll},
		"br_handle_frame":  {Kind: KindMember},
		"nft_do_chain":     {Kind: KindMember, Offset: 8},
		"br_nf_forward_ip": {Position: 1},
		"ipt_do_table":     {Position: 1, Table: 1, Name: 32},
	}
	for name, argument := range want {
		if got[name] != argument {
			t.Errorf("%s: %+v, want %+v", name, got[name], argument)
		}
	}
	if len(got) != len(want) || len(missing) != len(Table())-len(want) {
		t.Errorf("%d found, %d missing of %d: %v", len(got), len(missing), len(Table()), got)
	}
	if !slices.Contains(missing, "veth_xmit") || slices.Contains(missing, "br_nf_forward") {
		t.Errorf("missing: %v", missing)
	}
}

func TestResolveAsked(t *testing.T) {
	probes, _, err := Resolve(read(t), types(t), false, []string{"br_nf_forward_ip", "ip_rcv", "ip_rcv"})
	if err != nil {
		t.Fatal(err)
	}
	if len(probes) != 2 || probes[0].Spec.Returns || probes[0].Spec.Layer != "bridge" || probes[1].Number != 2 {
		t.Errorf("%+v", probes)
	}
	for name, want := range map[string]string{
		"nf_contrack_in":           "like it: nf_conntrack_in",
		"handle_frame":             "like it: br_handle_frame",
		"no_such_thing_at_all":     "none of that name",
		"not_a_function":           "none of that name",
		"duplicate":                "has 2 functions of that name",
		"notrace_me":               "does not let it be probed",
		"__netif_receive_skb_core": "it is __netif_receive_skb_core.constprop.0 in this kernel",
		"tcp_sendmsg":              "none of its arguments leads to a packet",
		"no_types":                 "no types of module strange",
	} {
		_, _, err := Resolve(read(t), types(t), false, []string{name})
		var unknown *UnknownError
		var noProbe *NoProbeError
		if !errors.As(err, &unknown) && !errors.As(err, &noProbe) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// Without tracefs, and with addresses hidden, names are enough.
func TestSymbolsWithoutTracefs(t *testing.T) {
	s, err := ParseSymbols(strings.NewReader("0000000000000000 T notrace_me\n"))
	if err != nil {
		t.Fatal(err)
	}
	if symbol, err := s.find("notrace_me"); err != nil || symbol != (Symbol{}) {
		t.Error(symbol, err)
	}
	if _, err := ParseSymbols(strings.NewReader("xyz T a\n")); err == nil {
		t.Error("an address that is none is taken")
	}
	if err := s.ParseMay(strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.find("notrace_me"); err != nil {
		t.Error("an empty list forbids all:", err)
	}
}

// The running kernel's own symbols and types tell the same as is known of it.
func TestRunningKernel(t *testing.T) {
	s, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	s.may = nil // where nothing may be probed the arguments are known all the same
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	for name, position := range map[string]int{"ip_rcv": 0, "ip_output": 2, "ip_finish_output2": 2, "nf_hook_slow": 0, "tcp_v4_do_rcv": 1} {
		p, err := one(s, fakeTypes{"": kernel}, known(name), name)
		if err != nil || p.Argument != (Argument{Position: position}) {
			t.Errorf("%s: %+v, %v; want argument %d", name, p.Argument, err, position)
		}
	}
	if _, err := os.Stat("/sys/kernel/tracing/available_filter_functions"); err == nil {
		again, err := Read()
		if err != nil || again.may == nil {
			t.Error("tracefs is mounted, and which functions may be probed is not read:", err)
		}
	}
}

func TestNumbersAndNames(t *testing.T) {
	var probes []Probe
	for _, spec := range Table() {
		probes = append(probes, Probe{Spec: spec, Name: spec.Names[0]})
	}
	if err := number(probes); err != nil {
		t.Fatal(err)
	}
	seen := map[uint8]string{}
	for n, name := range Names(probes) {
		if n == 0 || n >= Return || seen[n] != "" {
			t.Errorf("number %d of %s is no number, or that of %s too", n, name, seen[n])
		}
		seen[n] = name
	}
	for _, p := range probes {
		if p.Name == "ipt_do_table" && (seen[p.Number+3] != "ipt_do_table/nat" || seen[p.Number+4] != "ipt_do_table/filter") {
			t.Errorf("tables: %v", seen)
		}
		if got := p.Cookie(); uint8(got&0x7f) != p.Number || got>>7&1 == 1 != (p.Spec.Returns || p.Spec.Poll) {
			t.Errorf("%s: cookie %#x", p.Name, got)
		}
	}
	p := Probe{Number: 5, Argument: Argument{Kind: KindMember, Position: 3, Offset: 0x1234, Table: 2, Name: 32}}
	if got, want := p.Cookie(), uint64(0x00_0020_02_1234_13_05); got != want {
		t.Errorf("cookie %#x, want %#x", got, want)
	}
	if err := number(make([]Probe, Most+1)); err == nil {
		t.Error("more functions than there are numbers for")
	}
}

// Each name is in the table once: a call belongs to one row.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, spec := range Table() {
		if spec.Layer == "" || spec.What == "" || len(spec.Names) == 0 {
			t.Errorf("%+v", spec)
		}
		for _, name := range spec.Names {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "adc", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s to %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
