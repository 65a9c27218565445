// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// evil is a name that means something to terminals, dot, mermaid and XML.
const evil = "a\"]<b>&amp;\x1b[31m\u202e\\n|`#"

func sample() wiring.Document {
	n := uint64(7)
	rule := &wiring.Rule{Backend: "legacy", Family: "ip", Table: "filter", Chain: "DOCKER", Number: 2, Text: "-d 172.17.0.2/32 -j ACCEPT", Packets: &n}
	dev := func(index, other int, name, kind string, addrs ...string) wiring.Device {
		return wiring.Device{Index: index, Name: name, Kind: kind, Other: other, MAC: "02:42:ac:11:00:02", MTU: 1500, Up: true, State: "up", Qdisc: "noqueue", Addrs: append([]string{}, addrs...)}
	}
	peer := dev(27, 26, "vethef1372a", "veth")
	lower := dev(2, 0, "eth0", "", "192.0.2.1/24")
	return wiring.Document{
		Schema: wiring.Schema, Version: "test", Host: wiring.Host{Netns: 1, Forward4: true, BridgeNF: true, Backends: []string{"legacy"}, Rules: 12},
		Uplinks: []wiring.Device{lower},
		Bridges: []wiring.Bridge{
			{
				Device: dev(3, 0, "docker0", "bridge", "172.17.0.1/16"), ID: "8000.0242ac110001", Network: &wiring.Network{Name: evil, Driver: "bridge", ICC: true},
				Ports: []wiring.Port{{Device: peer, State: "forwarding", Learned: []string{}, Target: "nginx", Interface: "eth0"}},
			},
			{Device: dev(4, 0, "br-empty", "bridge"), Ports: []wiring.Port{}},
		},
		Targets: []wiring.Target{
			{
				Name: "nginx", Aliases: []string{}, Image: evil, Mode: "bridge", Means: "bridge mode", PID: 4711, Netns: 2, Networks: []wiring.Attachment{},
				Interfaces: []wiring.Interface{{Device: dev(26, 27, "eth0", "veth", "172.17.0.2/16"), Peer: &peer, Bridge: "docker0", FDB: true, Differs: []string{}}},
				Published:  []wiring.Published{{Host: "0.0.0.0:8080", Container: 80, Protocol: "tcp", Proxies: []int{9}, From: "192.0.2.2", DNAT: rule, Accept: rule, With: "forwarded", Without: "dropped by policy"}},
				Listens:    []wiring.Socket{{Protocol: "tcp", Addr: "::", Port: 80, Dual: true, Processes: []wiring.Process{{PID: 4711, Name: evil}}}},
			},
			{
				Name: evil, Aliases: []string{}, Mode: "mv", PID: 1, Netns: 3, Networks: []wiring.Attachment{}, Published: []wiring.Published{}, Listens: []wiring.Socket{},
				Interfaces: []wiring.Interface{{Device: dev(5, 2, "eth0", "macvlan"), Lower: &lower, Differs: []string{}}},
			},
			{Name: "alone", Aliases: []string{}, Mode: "none", Means: "no device but lo", Netns: 4, Networks: []wiring.Attachment{}, Interfaces: []wiring.Interface{}, Published: []wiring.Published{}, Listens: []wiring.Socket{}},
		},
		Proxies:  []wiring.Proxy{{Kind: "docker-proxy", PID: 9, Listens: []string{"tcp 0.0.0.0:8080"}, To: "172.17.0.2:80", Target: "nginx"}},
		Policies: []wiring.Policy{{Backend: "legacy", Family: "ip", Table: "filter", Chain: "FORWARD", Hook: "forward", Policy: "drop", Rules: 6}},
		Ways:     []wiring.Way{}, Notes: []string{},
	}
}

func way() wiring.Way {
	return wiring.Way{
		From: "192.0.2.2:40000", To: "192.0.2.1:8080", Protocol: "tcp", Origin: "outside", Onward: []wiring.Step{}, Back: []wiring.Step{},
		There: []wiring.Step{
			{Place: "host", Kind: wiring.KindRule, Hook: "prerouting", Text: "x", Does: "dnat", NAT: "dnat 192.0.2.1:8080 -> 172.17.0.2:80", Rule: sample().Targets[0].Published[0].DNAT},
			{Place: evil, Kind: wiring.KindPolicy, Hook: "forward", Text: "policy drop", Does: "drop", Decides: true},
		},
		Verdict: wiring.Verdict{Kind: wiring.Dropped, Text: "dropped by policy", Processes: []wiring.Process{}},
	}
}

func render(t *testing.T, f func(io.Writer, wiring.Document) error, d wiring.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b, d); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\u202e") {
		t.Errorf("text of a container is not escaped: %q", b.String())
	}
	return b.String()
}

func plainText(w io.Writer, d wiring.Document) error { return Text(w, d, Options{}) }

func TestText(t *testing.T) {
	got := render(t, plainText, sample())
	for _, want := range []string{
		"host  net:[1]  ip_forward on  IPv6 forwarding off  bridge-nf-call-iptables off, -ip6tables off, -arptables off  12 rules (legacy)\n",
		"├─ uplink eth0  index 2", "│  └─ macvlan", "├─ bridge docker0  index 3", "│  └─ port vethef1372a@if26  index 27", "│     └─ <-> eth0@if27  index 26",
		"filter/DOCKER rule 2:  -d 172.17.0.2/32 -j ACCEPT  [7 packets]", "without this rule: dropped by policy", "├─ bridge br-empty", "alone  (none)  net:[4]", "└─ policies",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	d := sample()
	d.Ways = append(d.Ways, way())
	got = render(t, plainText, d)
	for _, want := range []string{"192.0.2.2:40000 -> 192.0.2.1:8080/tcp  from outside\n", "host PREROUTING  filter/DOCKER rule 2:", "=> dnat", "policy drop  <=\n", "└─ verdict: dropped  dropped by policy\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	var colored bytes.Buffer
	if err := Text(&colored, d, Options{Color: true}); err != nil {
		t.Fatal(err)
	}
	if bare := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(colored.String(), ""); bare != got {
		t.Errorf("colors change the text:\n%s", bare)
	}
	if err := Text(broken{}, d, Options{}); err == nil {
		t.Error("a write that fails is not told")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestJSONFollowsSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	schema, err := c.Compile("../../docs/topology-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	d := sample()
	d.Ways = append(d.Ways, way())
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

// TestSVG: it is well-formed, loads nothing, and its boxes do not overlap.
func TestSVG(t *testing.T) {
	got := render(t, SVG, sample())
	dec := xml.NewDecoder(strings.NewReader(got))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if e.Name.Local == "script" || a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("<%s %s>", e.Name.Local, a.Name.Local)
				}
			}
		}
	}
	g := graphOf(sample())
	boxes, width, height := g.layout()
	for i, a := range boxes {
		if a.x < 0 || a.y < 0 || a.x+a.w > width || a.y+a.h > height {
			t.Errorf("box %d is outside: %+v of %v x %v", i, a, width, height)
		}
		for j, b := range boxes[:i] {
			if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
				t.Errorf("boxes %d and %d overlap", i, j)
			}
		}
	}
	if !strings.Contains(render(t, SVG, wiring.Document{}), "</svg>") {
		t.Error("a document without anything")
	}
}

// TestDot: Graphviz reads it, where it is installed; always its strings end where they should.
func TestDot(t *testing.T) {
	got := render(t, Dot, sample())
	line := regexp.MustCompile(`^\t(n\d+ (-> n\d+ )?\[label="([^"\\]|\\.)*"\];|rankdir=LR;|node \[.*\];|edge \[.*\];|\{ rank=same; (n\d+; )+\})$`)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	for _, l := range lines[1 : len(lines)-1] {
		if !line.MatchString(l) {
			t.Errorf("line %q", l)
		}
	}
	if path, err := exec.LookPath("dot"); err == nil {
		cmd := exec.Command(path, "-Tplain")
		cmd.Stdin = strings.NewReader(got)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func TestMermaid(t *testing.T) {
	got := render(t, Mermaid, sample())
	line := regexp.MustCompile("^    n\\d+(\\[\"([^\"<>`\\\\]|<br>)*\"\\]| ---(\\|\"[^\"<>|`\\\\]*\"\\|)? n\\d+)$")
	for _, l := range strings.Split(strings.TrimSpace(got), "\n")[1:] {
		if !line.MatchString(l) {
			t.Errorf("line %q", l)
		}
	}
}
