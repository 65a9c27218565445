// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/internal/doctor"
	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/golden"
)

var update = golden.Update("the golden files")

// evil is a name that means something to terminals.
const evil = "a\x1b[31m\u202e|`"

// sick is a document with a line of every state in every place.
func sick() doctor.Document {
	check := func(section, name string, state doctor.State, value, todo string) doctor.Check {
		return doctor.Check{Section: section, Name: name, State: state, Value: value, Todo: todo}
	}
	return doctor.Document{
		Schema: doctor.Schema, Version: "v1.2.3", Time: "2026-01-02T03:04:05Z", Verdict: "vethtrace does not work here: 2 failures",
		Checks: []doctor.Check{
			check("kernel", "release", doctor.OK, "6.1.0-18-amd64 x86_64", ""),
			check("kernel", "types (BTF)", doctor.Fail, "none: there is no /sys/kernel/btf/vmlinux", "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (the distributions' own have it); in a container, mount the machine's /sys"),
			check("kernel", "lockdown", doctor.Note, "the kernel does not tell", ""),
			check("rights", "capabilities", doctor.OK, "all that are needed, as user 0", ""),
			check("hooks", "tried", doctor.Fail, "1 of 3 attached (clsact 1)", "see the hooks below"),
			check("network", "br-0123456789ab", doctor.OK, "bridge, mtu 1500, gro gso sg tso tx-checksum", ""),
			check("network", "web"+evil+"/eth0", doctor.Warn, "uplink, XDP native", "packets are not seen"),
			check("engine", "engine", doctor.Note, "none answers at unix:///var/run/docker.sock", "start it"),
			check("cost", "clock", doctor.OK, "tsc", ""),
		},
		Hooks: []doctor.Hook{
			{Hook: "port/egress", Program: "vt_port_egress", Is: "border", Details: []string{"devices", "hooks", "tables"}, State: doctor.Warn, Provider: "clsact", Tried: []doctor.Attempt{
				{Provider: "tcx", Error: "attach vt_port_egress at device 5: not allowed here, needs tcx (Linux 6.6), CAP_BPF and CAP_NET_ADMIN: invalid argument"}, {Provider: "clsact"},
			}},
			{Hook: "host/forward/first", Program: "vt_border_0", Is: "border", Details: []string{"hooks", "tables"}, State: doctor.Fail, Tried: []doctor.Attempt{{Provider: "netfilter", Error: "no " + evil}}, Todo: "needs netfilter links (Linux 6.4)"},
			{Hook: "foreign/egress", Program: "vt_foreign_egress", Is: "end", Details: []string{"devices"}, State: doctor.OK, Provider: "tcx", Tried: []doctor.Attempt{{Provider: "tcx"}}},
			{Hook: "host/forward/tables", Program: "vt_border_1", Is: "border", Details: []string{"tables"}, State: doctor.OK, Provider: "netfilter", Tried: []doctor.Attempt{{Provider: "netfilter"}}},
		},
		Functions: []doctor.Attempt{{Provider: "fentry", Error: "no " + evil}, {Provider: "kprobe"}},
		Devices:   []doctor.MetDevice{{Where: "host", Name: "eth0", Role: "uplink", Offloads: []string{}}},
		Cost: doctor.Cost{
			Stamps:  []doctor.StampCost{{Kind: "tcx", Ns: 164}, {Kind: "netfilter", Ns: 204.4}},
			Packets: []doctor.PathCost{{Target: "bridge mode", Way: "in", Stamps: 9, Ns: 1560, Count: 1234}},
		},
		Modules: []doctor.Module{{Name: "bridge", State: "loaded", BTF: true}},
		Environment: environment.Environment{
			CPU: environment.CPU{Mitigations: map[string]string{}}, Devices: []environment.Device{}, Sysctls: map[string]string{},
			Netfilter: environment.Netfilter{Chains: map[string]int{}}, Unread: []string{},
		},
	}
}

func render(t *testing.T, d doctor.Document, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, d, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What users see: on a pipe, and on a narrow terminal.
func TestTextGolden(t *testing.T) {
	for name, o := range map[string]Options{"wide.txt": {}, "narrow.txt": {Width: 80}} {
		got := render(t, sick(), o)
		file := filepath.Join("testdata", name)
		golden.Compare(t, *update, file, got)
	}
}

// No line is wider than the terminal, and none loses a word.
func TestWidth(t *testing.T) {
	words := func(s string) string { return strings.Join(strings.Fields(s), "") }
	whole := render(t, sick(), Options{})
	for _, width := range []int{1, 40, 61, 80, 160} {
		got := render(t, sick(), Options{Width: width})
		for line := range strings.Lines(got) {
			line = strings.TrimSuffix(line, "\n")
			if w := lipgloss.Width(line); w > max(width, leastWidth) {
				t.Errorf("width %d: %d columns: %q", width, w, line)
			}
			if strings.HasSuffix(line, " ") {
				t.Errorf("width %d: blanks at the end of %q", width, line)
			}
		}
		if width >= 80 && words(got) != words(whole) {
			t.Errorf("width %d loses words:\n%s", width, got)
		}
	}
}

func TestColorChangesNoText(t *testing.T) {
	escapes := regexp.MustCompile("\x1b\\[[0-9]*m")
	for _, width := range []int{0, 80} {
		bare, colored := render(t, sick(), Options{Width: width}), render(t, sick(), Options{Width: width, Color: true})
		if strings.ContainsAny(bare, "\x1b\u202e") {
			t.Errorf("text from outside is not escaped: %q", bare)
		}
		if bare == colored || escapes.ReplaceAllString(colored, "") != bare {
			t.Errorf("colors change the text:\n%s", colored)
		}
	}
}

// A machine without anything to say, a writer that fails.
func TestTextEdges(t *testing.T) {
	d := doctor.Document{Works: true, Verdict: "vethtrace works here"}
	if got := render(t, d, Options{}); !strings.HasSuffix(got, "\n\n✓ vethtrace works here\n") || strings.Contains(got, "hooks") || strings.Contains(got, "cost") {
		t.Errorf("%q", got)
	}
	if err := Text(broken{}, sick(), Options{}); err == nil {
		t.Error("a write that fails is not told")
	}
	if err := JSON(broken{}, sick()); err == nil {
		t.Error("a write that fails is not told")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestJSONFollowsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/doctor-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []doctor.Document{sick(), doctor.Judge(doctor.Facts{Environment: sick().Environment})} {
		var b bytes.Buffer
		if err := JSON(&b, d); err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Error(err)
		}
	}
}
