package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseList(t *testing.T) {
	list := `# a comment
struct sk_buff: dev sk   # another one
	len
    mark

union nf: all
struct iphdr: *
enum tcp_state
enum ip_ct: A B
typedef __wsum
typedef possible_net_t: net
const: BPF_ANY
	BPF_EXIST
const: BPF_NOEXIST
`
	got, err := parseList(strings.NewReader(list), "list")
	if err != nil {
		t.Fatal(err)
	}
	want := []*entry{
		{kind: kindStruct, name: "sk_buff", members: []string{"dev", "sk", "len", "mark"}, line: 2},
		{kind: kindUnion, name: "nf", members: []string{"all"}, line: 6},
		{kind: kindStruct, name: "iphdr", all: true, line: 7},
		{kind: kindEnum, name: "tcp_state", all: true, line: 8},
		{kind: kindEnum, name: "ip_ct", members: []string{"A", "B"}, line: 9},
		{kind: kindTypedef, name: "__wsum", line: 10},
		{kind: kindTypedef, name: "possible_net_t", members: []string{"net"}, line: 11},
		{kind: kindConst, members: []string{"BPF_ANY", "BPF_EXIST"}, line: 12},
		{kind: kindConst, members: []string{"BPF_NOEXIST"}, line: 14},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestParseListErrors(t *testing.T) {
	tests := []struct{ name, list, want string }{
		{"members first", "\tlen\n", "f:1: members without a type before them"},
		{"unknown kind", "\nclass x: y\n", `f:2: want struct, union, enum, typedef or const, got "class x"`},
		{"only a colon", ": y\n", `f:1: want struct, union, enum, typedef or const, got ""`},
		{"no name", "struct: y\n", `f:1: want one name after "struct", got ""`},
		{"two names", "struct a b: y\n", `f:1: want one name after "struct", got "a b"`},
		{"const with a name", "const x: y\n", `f:1: want one name after "const", got "x"`},
		{"type twice", "struct a: b\n#\nstruct a: c\n", "f:3: struct a is already listed in line 1"},
		{"member twice", "struct a: b\n c b\n", "f:2: b is listed twice in struct a"},
		{"all and some", "struct a: * b\n", `f:1: struct a lists "*" and single members`},
		{"nothing", "struct a\n", "f:1: struct a lists no members"},
		{"no constants", "const:\n", "f:1: const lists no members"},
		{"all constants", "const: *\n", `f:1: const needs names, not "*"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseList(strings.NewReader(tt.list), "f")
			if err == nil || err.Error() != tt.want {
				t.Errorf("got error %v, want %s", err, tt.want)
			}
			var listErr *listError
			if !errors.As(err, &listErr) {
				t.Errorf("got %T, want *listError", err)
			}
		})
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestParseListReadError(t *testing.T) {
	if _, err := parseList(failingReader{}, "f"); err == nil || err.Error() != "read f: disk on fire" {
		t.Errorf("got error %v", err)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("struct a: b c\n\td\nenum e\nconst: X\n")
	f.Add("typedef x\n#\nunion u: *")
	f.Add("struct\x00: \t*")
	f.Fuzz(func(t *testing.T, list string) {
		entries, err := parseList(strings.NewReader(list), "f")
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, e := range entries {
			if e.kind != kindConst && seen[e.key()] {
				t.Errorf("%s is there twice", e.key())
			}
			seen[e.key()] = true
			if e.all && len(e.members) > 0 {
				t.Errorf("%s has all members and some", e.key())
			}
			for _, m := range append([]string{e.name}, e.members...) {
				if strings.ContainsAny(m, " \t\n#") {
					t.Errorf("name %q", m)
				}
			}
		}
	})
}
