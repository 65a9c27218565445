// SPDX-License-Identifier: Apache-2.0

package change

import (
	"slices"
	"testing"

	"github.com/vethtrace/vethtrace/internal/docschema"
	"github.com/vethtrace/vethtrace/internal/golden"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

const schemaFile = "../../../docs/topology-change-schema.json"

var update = golden.Update("the schema")

// The contract in docs/ is what the struct says.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := docschema.Make(Change{}, docschema.Head{
		ID: "https://github.com/vethtrace/vethtrace/docs/topology-change-schema.json", Title: "vethtrace topology --watch",
		Description: "One change of the wiring: a line of vethtrace topology --watch -o ndjson. Generated from the struct of tracer/wiring/change.",
	})
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, *update, schemaFile, string(want))
}

func rulesOf(texts ...string) []wiring.Rule {
	var list []wiring.Rule
	for i, s := range texts {
		list = append(list, wiring.Rule{Backend: "nft", Family: "ip", Table: "filter", Chain: "FORWARD", Number: i + 1, Text: s})
	}
	return list
}

func moment() Moment {
	peer := wiring.Device{Index: 27, Name: "veth1", Kind: "veth", Other: 26, MTU: 1500, Up: true, State: "up"}
	return Moment{
		Document: wiring.Document{
			Host:    wiring.Host{Forward4: true},
			Uplinks: []wiring.Device{{Index: 2, Name: "eth0", Up: true, State: "up", Addrs: []string{"198.51.100.1/24"}}},
			Bridges: []wiring.Bridge{{
				Device: wiring.Device{Index: 3, Name: "docker0", Kind: "bridge", MTU: 1500, Up: true, Addrs: []string{"172.17.0.1/16"}},
				Ports:  []wiring.Port{{Device: peer, State: "forwarding", Target: "nginx", Interface: "eth0", Learned: []string{"02:42:ac:11:00:02"}}},
			}},
			Targets: []wiring.Target{{
				Name: "nginx", ID: "abc", Mode: "bridge", PID: 12, Netns: 99,
				Interfaces: []wiring.Interface{{Device: wiring.Device{Index: 26, Name: "eth0", Other: 27, Up: true}, Peer: &peer, Bridge: "docker0"}},
				Published:  []wiring.Published{{Host: "0.0.0.0:8080", Container: 80, Protocol: "tcp", With: "forwarded"}},
				Listens:    []wiring.Socket{{Protocol: "tcp", Addr: "::", Port: 80, Processes: []wiring.Process{{PID: 12, Name: "nginx"}}}},
			}},
			Proxies: []wiring.Proxy{{Kind: "docker-proxy", PID: 77, Listens: []string{"tcp 0.0.0.0:8080"}, To: "172.17.0.2:80"}},
		},
		Chains: []wiring.Chain{{Backend: "nft", Family: "ip", Table: "filter", Name: "FORWARD", Hook: "forward", Policy: "drop", Rules: rulesOf("a", "b", "b")}},
		Sets:   []wiring.NamedSet{{Family: "inet", Table: "t", Name: "s", Elements: 2, Content: "x"}},
	}
}

// TestBetween: each thing that is otherwise is told once, and nothing else.
func TestBetween(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Moment)
		want   []string // does kind place name
	}{
		"nothing": {func(*Moment) {}, nil},
		"what packets change": {func(m *Moment) {
			n := uint64(7)
			m.Chains[0].Rules[0].Packets = &n
			m.Document.Bridges[0].Ports[0].Learned = nil
			m.Document.Targets[0].Interfaces[0].FDB = true
			m.Document.Targets[0].Listens[0].Processes[0].PID = 13
		}, nil},
		"a container stops": {func(m *Moment) {
			m.Document.Targets, m.Document.Bridges[0].Ports, m.Document.Proxies = nil, nil, nil
			m.Chains[0].Rules = rulesOf("a", "b")
		}, []string{
			"removed port host veth1@if26", "removed container host nginx", "removed proxy host docker-proxy[77]", "removed rule host ip filter/FORWARD rule 3",
		}},
		"it starts again": {func(m *Moment) { m.Document.Targets[0].Netns = 100 }, []string{
			"removed container host nginx", "added container host nginx", "added interface nginx eth0@if27", "added published nginx 0.0.0.0:8080 -> 80/tcp", "added listener nginx tcp [::]:80",
		}},
		"renamed": {func(m *Moment) { m.Document.Targets[0].Name = "web" }, []string{"changed container host web"}},
		"a link goes down": {func(m *Moment) {
			m.Document.Uplinks[0].Up, m.Document.Uplinks[0].State = false, "down"
		}, []string{"changed uplink host eth0", "changed uplink host eth0"}},
		"its own device goes down": {func(m *Moment) { m.Document.Targets[0].Interfaces[0].Device.Up = false }, []string{"changed interface nginx eth0@if27"}},
		"addresses": {func(m *Moment) {
			m.Document.Uplinks[0].Addrs = []string{"198.51.100.9/24"}
			m.Document.Targets[0].Interfaces[0].Device.Addrs = []string{"172.17.0.2/16"}
		}, []string{"removed address host 198.51.100.1/24", "added address host 198.51.100.9/24", "added address nginx 172.17.0.2/16"}},
		"a bridge appears": {func(m *Moment) {
			m.Document.Bridges = append(m.Document.Bridges, wiring.Bridge{Device: wiring.Device{Index: 4, Name: "br-app", Up: true}})
		}, []string{"added bridge host br-app"}},
		"a bridge's switches": {func(m *Moment) {
			m.Document.Bridges[0].STP, m.Document.Bridges[0].Ports[0].Hairpin, m.Document.Bridges[0].Ports[0].State = true, true, "blocking"
		}, []string{"changed bridge host docker0", "changed port host veth1@if26", "changed port host veth1@if26"}},
		"the host":            {func(m *Moment) { m.Document.Host.Forward4 = false }, []string{"changed host host host"}},
		"a rule comes":        {func(m *Moment) { m.Chains[0].Rules = rulesOf("c", "a", "b", "b") }, []string{"added rule host ip filter/FORWARD rule 1"}},
		"one of two goes":     {func(m *Moment) { m.Chains[0].Rules = rulesOf("a", "b") }, []string{"removed rule host ip filter/FORWARD rule 3"}},
		"rules change places": {func(m *Moment) { m.Chains[0].Rules = rulesOf("b", "b", "a") }, []string{"changed chain host ip filter/FORWARD"}},
		"a policy":            {func(m *Moment) { m.Chains[0].Policy = "accept" }, []string{"changed chain host ip filter/FORWARD"}},
		"a chain": {func(m *Moment) {
			m.Chains = append(m.Chains, wiring.Chain{Backend: "nft", Family: "ip", Table: "filter", Name: "MINE"})
		}, []string{"added chain host ip filter/MINE"}},
		"a set":            {func(m *Moment) { m.Sets[0].Elements = 3 }, []string{"changed set host inet t/s"}},
		"a set's elements": {func(m *Moment) { m.Sets[0].Content = "y" }, []string{"changed set host inet t/s"}},
		"the port's way":   {func(m *Moment) { m.Document.Targets[0].Published[0].With = "dropped" }, []string{"changed published nginx 0.0.0.0:8080 -> 80/tcp"}},
		"a socket":         {func(m *Moment) { m.Document.Targets[0].Listens = nil }, []string{"removed listener nginx tcp [::]:80"}},
		"a note":           {func(m *Moment) { m.Document.Notes = []string{"the engine is away"} }, []string{"added note host the engine is away"}},
		"a network connects": {func(m *Moment) {
			m.Document.Targets[0].Networks = []wiring.Attachment{{Network: "app", IP4: "172.18.0.2"}}
		}, []string{"added network nginx app 172.18.0.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			now := moment()
			c.change(&now)
			var got []string
			for _, c := range Between(moment(), now) {
				got = append(got, c.Does+" "+c.Kind+" "+c.Place+" "+c.Name)
				if c.Does == Changed && c.Text == "" || c.Kind == "rule" && c.Rule == nil {
					t.Errorf("says nothing: %+v", c)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	if text := Start(moment()).Text; text != "net:[0]  1 target, 1 uplink, 1 bridge with 1 port, 3 rules in 1 chain" {
		t.Error(text)
	}
}
