// SPDX-License-Identifier: Apache-2.0

package predict_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/predict"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// The world of these tests: eth0 is the uplink, docker0 has the veths of two
// targets and of a container that is none, br1 another one; mv is a macvlan on eth0.
const (
	uplink, bridge, portA, portB, portForeign, otherBridge, portC = 2, 3, 11, 12, 13, 4, 14
	inside                                                        = 7 // eth0 of each target
)

func world(calls bool) topology.Namespace {
	nf := &topology.Bridge{NFCall: topology.NFCall{IPTables: calls}}
	veth := func(index int, name string, master int) topology.Link {
		return topology.Link{Index: index, Name: name, Kind: "veth", Master: master, Parent: inside, ParentNetnsID: index}
	}
	return topology.Namespace{Links: []topology.Link{
		{Index: 1, Name: "lo", Loopback: true, ParentNetnsID: -1},
		{Index: uplink, Name: "eth0", ParentNetnsID: -1},
		{Index: bridge, Name: "docker0", Kind: "bridge", Bridge: nf, ParentNetnsID: -1},
		{Index: otherBridge, Name: "br1", Kind: "bridge", Bridge: nf, ParentNetnsID: -1},
		veth(portA, "vethA", bridge), veth(portB, "vethB", bridge), veth(portForeign, "vethF", bridge), veth(portC, "vethC", otherBridge),
	}}
}

func behindVeth(port int) *topology.Wiring {
	return &topology.Wiring{Interfaces: []topology.Interface{
		{Dev: topology.Link{Index: 1, Name: "lo", Loopback: true}},
		{Dev: topology.Link{Index: inside, Name: "eth0"}, Peer: &topology.Link{Index: port}},
	}}
}

func onUplink() *topology.Wiring {
	return &topology.Wiring{Interfaces: []topology.Interface{
		{Dev: topology.Link{Index: inside, Name: "mv0"}, Lower: &topology.Link{Index: uplink}},
	}}
}

// hooks is a path in short: ui uplink/ingress, uo, bi bridge/ingress, bo, A> the egress of A's port, A< its ingress,
// di, do the target's device, x netif_rx, q net_dev_start_xmit, pre, in, fwd, out, post of the host, t: of a target.
func hooks(t *testing.T, way string) []predict.Stamp {
	t.Helper()
	ports := map[byte]int{'A': portA, 'B': portB, 'F': portForeign, 'C': portC}
	points := map[string]journey.Point{
		"pre": journey.PreRouting, "in": journey.LocalIn, "fwd": journey.Forward, "out": journey.LocalOut, "post": journey.PostRouting,
	}
	devices := map[string]predict.Stamp{
		"ui": {Hook: journey.UplinkIngress, Device: uplink}, "uo": {Hook: journey.UplinkEgress, Device: uplink},
		"bi": {Hook: journey.BridgeIngress, Device: bridge}, "bo": {Hook: journey.BridgeEgress, Device: bridge},
		"Bo": {Hook: journey.BridgeEgress, Device: otherBridge}, "Bi": {Hook: journey.BridgeIngress, Device: otherBridge},
		"di": {Hook: journey.DeviceIngress, Device: inside}, "do": {Hook: journey.DeviceEgress, Device: inside},
		"x": {Hook: journey.NetifRx, Device: inside}, "q": {Hook: journey.StartXmit, Device: uplink},
		"lo": {Hook: journey.LoopbackEgress, Device: 1}, "li": {Hook: journey.LoopbackIngress, Device: 1},
		"g": {Hook: journey.GROReceive, Device: inside}, "u9": {Hook: journey.UplinkEgress, Device: 9},
	}
	var stamps []predict.Stamp
	for _, word := range strings.Fields(way) {
		point, target := strings.CutPrefix(word, "t:")
		if stamp, ok := devices[word]; ok {
			stamps = append(stamps, stamp)
		} else if p, ok := points[point]; ok {
			first := journey.Netfilter(target, p, 0)
			stamps = append(stamps, predict.Stamp{Hook: first}, predict.Stamp{Hook: first + journey.LastBorder})
		} else if word[1] == '>' {
			stamps = append(stamps, predict.Stamp{Hook: journey.PortEgress, Device: ports[word[0]]})
		} else if word[1] == '<' {
			stamps = append(stamps, predict.Stamp{Hook: journey.PortIngress, Device: ports[word[0]]})
		} else {
			t.Fatalf("no hook %q", word)
		}
	}
	return stamps
}

func model(calls bool, own, other *topology.Wiring) predict.Model {
	every := predict.Borders{journey.PreRouting: true, journey.Forward: true, journey.LocalIn: true, journey.LocalOut: true}
	return predict.Model{
		Host: predict.NewHost(world(calls), topology.Switches{BridgeNF: true}, []int{uplink}, []int{bridge, otherBridge}),
		Own:  own, Other: other, HostBorders: every,
		OwnBorders:   predict.Borders{journey.LocalIn: true, journey.LocalOut: true},
		OtherBorders: predict.Borders{journey.LocalIn: true, journey.LocalOut: true},
	}
}

// What ordinary packets do, as tracing shows it.
func TestOrdinaryWays(t *testing.T) {
	a, b, c := behindVeth(portA), behindVeth(portB), behindVeth(portC)
	for _, w := range []struct {
		name, way  string
		calls      bool
		own, other *topology.Wiring
	}{
		{"published port", "ui pre fwd bo A> x di t:in", true, a, nil},
		{"by NAPI", "ui pre fwd bo A> g di t:in", true, a, nil},
		{"tables", "ui pre fwd post bo A> x di t:pre t:in", true, a, nil},
		{"answer", "t:out do x A< pre bi fwd uo", true, a, nil},
		{"answer, with a queue", "t:out do x A< pre bi fwd uo q", true, a, nil},
		{"answer, bridge calls nothing", "t:out do x A< bi pre fwd uo", false, a, nil},
		{"from the host", "out bo A> x di t:in", true, a, nil},
		{"to the host", "t:out do x A< pre bi in", true, a, nil},
		{"to the host, bridge calls nothing", "t:out do x A< bi pre in", false, a, nil},
		{"to a target", "t:out do x A< pre fwd B> x di t:in", true, a, b},
		{"to a target, bridge calls nothing", "t:out do x A< B> x di t:in", false, a, b},
		{"to a target of another bridge", "t:out do x A< pre bi fwd Bo C> x di t:in", true, a, c},
		{"to a container", "t:out do x A< pre fwd x", true, a, nil},
		{"from a container", "x pre fwd A> x di t:in", true, a, nil},
		{"hairpin", "t:out do x A< bi pre fwd bo A> x di t:in", false, a, a},
		{"hairpin within the bridge", "t:out do x A< pre bo fwd A> x di t:in", true, a, a},
		{"begins late", "A> x di t:in", true, a, nil},
		{"begins late at its device", "di t:in", true, a, nil},
		{"raw socket", "do x A< pre bi fwd uo", true, a, nil},
		{"macvlan", "ui di t:in", false, onUplink(), nil},
		{"macvlan, out", "t:out do uo q", false, onUplink(), nil},
		{"host mode", "ui pre in", false, nil, nil},
		{"host mode, out", "out uo q", false, nil, nil},
		{"host mode, by lo", "out lo x li pre in", false, nil, nil},
		{"docker-proxy, second leg", "out bo A> x di t:in", true, a, nil},
	} {
		t.Run(w.name, func(t *testing.T) {
			if d := model(w.calls, w.own, w.other).Check(hooks(t, w.way)); d != nil {
				t.Errorf("%+v", d)
			}
		})
	}
}

// A VLAN tag hides packets in a bridge from netfilter, wherever it is given to them.
func TestTags(t *testing.T) {
	a, b := behindVeth(portA), behindVeth(portB)
	inContainer := behindVeth(portB)
	inContainer.Interfaces = append(inContainer.Interfaces, topology.Interface{
		Dev: topology.Link{Index: 8, Name: "eth0.10", Kind: "vlan"}, Inner: &topology.Link{Index: inside},
	})
	filtering, stacked := world(true), world(true)
	filtering.Links[2].Bridge = &topology.Bridge{VLANFiltering: true, NFCall: topology.NFCall{IPTables: true}}
	stacked.Links = append(stacked.Links, topology.Link{Index: 20, Name: "docker0.10", Kind: "vlan", Parent: bridge, ParentNetnsID: -1})
	for name, c := range map[string]struct {
		world topology.Namespace
		other *topology.Wiring
		may   bool
	}{
		"no tags": {world(true), b, false}, "by the bridge": {filtering, b, true}, "by the host": {stacked, b, true}, "by a container": {world(true), inContainer, true},
	} {
		m := model(true, a, c.other)
		m.Host = predict.NewHost(c.world, topology.Switches{BridgeNF: true}, []int{uplink}, []int{bridge, otherBridge})
		for _, way := range []string{"t:out do x A< B> x di t:in", "t:out do x A< pre B> x di t:in"} {
			if d := m.Check(hooks(t, way)); (d == nil) != c.may {
				t.Errorf("%s, %s: %+v", name, way, d)
			}
		}
		if d := m.Check(hooks(t, "t:out do x A< pre fwd B> x di t:in")); d != nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// The host routes what an ipvlan sends, but in mode l2.
func TestIPvlan(t *testing.T) {
	for mode, may := range map[string]bool{"l2": false, "l3": true, "l3s": true} {
		own := onUplink()
		own.Interfaces[0].Dev.Kind, own.Interfaces[0].Dev.Mode = "ipvlan", mode
		m := model(false, own, nil)
		if d := m.Check(hooks(t, "t:out do out post uo q")); (d == nil) != may {
			t.Errorf("%s: %+v", mode, d)
		}
		if d := m.Check(hooks(t, "t:out do uo q")); d != nil {
			t.Errorf("%s: %+v", mode, d)
		}
	}
}

// What a model of this world does not have: each is named by its first step that is another one.
func TestDeviations(t *testing.T) {
	a, b := behindVeth(portA), behindVeth(portB)
	for _, w := range []struct {
		name, way   string
		calls       bool
		other       *topology.Wiring
		after, seen string
		predicted   []string
	}{
		{"redirected to the veth", "ui A> x di t:in", true, nil, "uplink/ingress eth0", "port/egress vethA", []string{"host/prerouting"}},
		{"a flow table", "ui bo A> x di t:in", true, nil, "uplink/ingress eth0", "bridge/egress docker0", []string{"host/prerouting"}},
		{"redirected out of the veth", "t:out do x A< uo", true, nil, "port/ingress vethA", "uplink/egress eth0", []string{"host/prerouting"}},
		{"past the bridge's own device", "t:out do x A< pre uo", true, nil, "host/prerouting", "uplink/egress eth0", []string{"bridge/ingress docker0", "host/forward"}},
		{"to a port of another bridge", "ui pre fwd bo C> x", true, nil, "bridge/egress docker0", "port/egress vethC", []string{"port/egress vethA", "port/egress vethB", "port/egress vethF"}},
		{"by an uplink that nobody knows", "t:out do x A< pre bi fwd u9", true, nil, "host/forward", "uplink/egress if9", []string{"bridge/egress br1", "bridge/egress docker0", "uplink/egress eth0"}},
		{"a bridge that calls netfilter, and should not", "t:out do x A< pre fwd B> x di t:in", false, b, "host/prerouting", "port/egress vethB", nil},
		{"begins nowhere", "u9", true, nil, "", "uplink/egress if9", nil},
	} {
		t.Run(w.name, func(t *testing.T) {
			d := model(w.calls, a, w.other).Check(hooks(t, w.way))
			if d == nil {
				t.Fatal("not told")
			}
			if w.predicted == nil { // where it shows is open
				return
			}
			if d.After != w.after || d.Seen != w.seen || !slices.Equal(d.Predicted, w.predicted) {
				t.Errorf("got %+v", d)
			}
		})
	}
}

// What Open vSwitch or a VRF does with a packet is not known: nothing is said of it.
func TestMasterThatIsNoBridge(t *testing.T) {
	view := world(true)
	view.Links = append(view.Links, topology.Link{Index: 20, Name: "ovs-system", Kind: "openvswitch", ParentNetnsID: -1})
	view.ByIndex(portA).Master = 20
	m := model(true, behindVeth(portA), nil)
	m.Host = predict.NewHost(view, topology.Switches{BridgeNF: true}, []int{uplink}, []int{bridge, otherBridge})
	for _, way := range []string{"t:out do x A< uo", "t:out do x A< post B> x"} {
		if d := m.Check(hooks(t, way)); d != nil {
			t.Errorf("%s: %+v", way, d)
		}
	}
}

// Bonds and VLANs: the uplink is the lowest device, and carries what is stacked on it.
func TestStackedUplinks(t *testing.T) {
	view := world(false)
	view.Links = append(view.Links,
		topology.Link{Index: 30, Name: "bond0", Kind: "bond", ParentNetnsID: -1},
		topology.Link{Index: 31, Name: "bond0.5", Kind: "vlan", Parent: 30, ParentNetnsID: -1, Master: bridge},
	)
	view.ByIndex(uplink).Master = 30
	m := model(false, behindVeth(portA), nil)
	m.Host = predict.NewHost(view, topology.Switches{BridgeNF: true}, []int{uplink}, []int{bridge})
	for _, way := range []string{"ui A> x di t:in", "ui pre fwd bo A> x di t:in", "t:out do x A< uo", "t:out do x A< bi pre fwd uo"} {
		if d := m.Check(hooks(t, way)); d != nil {
			t.Errorf("%s: %+v", way, d)
		}
	}
}

// A detail without borders of netfilter is held to none.
func TestDetailDevices(t *testing.T) {
	m := model(true, behindVeth(portA), behindVeth(portB))
	m.HostBorders, m.OwnBorders, m.OtherBorders = nil, nil, nil
	for _, way := range []string{"ui bo A> di", "do A< bi uo", "do A< B> di"} {
		if d := m.Check(hooks(t, way)); d != nil {
			t.Errorf("%s: %+v", way, d)
		}
	}
	if d := m.Check(hooks(t, "ui A> di")); d == nil {
		t.Error("a redirect past the bridge is not told")
	}
}

// Same looks at what leads packets, and at nothing that counts them.
func TestSame(t *testing.T) {
	a, b := *behindVeth(portA), *behindVeth(portA)
	b.Interfaces[1].Peer.Counters.RxPackets = 7
	if !predict.Same(a, b) {
		t.Error("counters make another wiring")
	}
	b.Interfaces[1].Peer.Master = bridge
	if predict.Same(a, b) {
		t.Error("another bridge makes no other wiring")
	}
}
