package journey

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// noChains are details devices and hooks.
type noChains struct{}

func (noChains) Between(bool, Point, int, int) string { return "" }

// numbered names chains by the borders they lie between.
type numbered struct{}

func (numbered) Between(_ bool, _ Point, from, to int) string { return fmt.Sprintf("%d-%d", from, to) }

func host(point Point, border int) Hook   { return Netfilter(false, point, border) }
func target(point Point, border int) Hook { return Netfilter(true, point, border) }

// sequences are the hooks passed on each way, and what their hops are called.
func sequences() map[string]struct {
	hooks []Hook
	want  string
} {
	last := LastBorder
	return map[string]struct {
		hooks []Hook
		want  string
	}{
		"nothing":    {nil, ""},
		"one":        {[]Hook{UplinkIngress}, ""},
		"devices in": {[]Hook{UplinkIngress, BridgeEgress, PortEgress, DeviceIngress}, "forwarding bridge veth"},
		"devices out": {
			[]Hook{DeviceEgress, PortIngress, BridgeIngress, UplinkEgress, StartXmit},
			"veth bridge forwarding qdisc",
		},
		"in from uplink": {
			[]Hook{
				UplinkIngress, host(PreRouting, last), host(Forward, 0), host(Forward, last), BridgeEgress, PortEgress,
				NetifRx, DeviceIngress, target(LocalIn, last),
			},
			"netfilter/prerouting routing netfilter/forward netfilter/postrouting bridge veth softirq netfilter/input",
		},
		"in from uplink, NAPI": {
			[]Hook{
				UplinkIngress, host(PreRouting, last), host(Forward, 0), host(Forward, last), BridgeEgress, PortEgress,
				GROReceive, DeviceIngress, target(LocalIn, last),
			},
			"netfilter/prerouting routing netfilter/forward netfilter/postrouting bridge softirq gro netfilter/input",
		},
		"bridged, with a tag behind PRE_ROUTING": {
			[]Hook{
				target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, host(PreRouting, last), PortEgress, NetifRx, DeviceIngress, target(LocalIn, last),
			},
			"netfilter/output veth softirq netfilter/prerouting bridge veth softirq netfilter/input",
		},
		"to itself, DNAT inside the bridge": {
			[]Hook{
				target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, host(PreRouting, last), BridgeEgress, host(Forward, 0), host(Forward, last),
				PortEgress, NetifRx, DeviceIngress, target(LocalIn, last),
			},
			"netfilter/output veth softirq netfilter/prerouting routing bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input",
		},
		"out of the bridge by an uplink, with a tag": {
			[]Hook{target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, host(PreRouting, last), UplinkEgress, StartXmit},
			"netfilter/output veth softirq netfilter/prerouting bridge qdisc",
		},
		"out to uplink, bridge netfilter": {
			[]Hook{
				target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, host(PreRouting, last), BridgeIngress,
				host(Forward, 0), host(Forward, last), UplinkEgress,
			},
			"netfilter/output veth softirq netfilter/prerouting bridge routing netfilter/forward netfilter/postrouting",
		},
		"out to uplink": {
			[]Hook{
				target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, BridgeIngress, host(PreRouting, last),
				host(Forward, 0), host(Forward, last), UplinkEgress, StartXmit,
			},
			"netfilter/output veth softirq bridge netfilter/prerouting routing netfilter/forward netfilter/postrouting qdisc",
		},
		"host to container": {
			[]Hook{host(LocalOut, 0), host(LocalOut, last), BridgeEgress, PortEgress, NetifRx, DeviceIngress, target(LocalIn, last)},
			"netfilter/output netfilter/postrouting bridge veth softirq netfilter/input",
		},
		"container to container, bridge netfilter": {
			[]Hook{
				target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, host(PreRouting, last), host(Forward, 0),
				host(Forward, last), PortEgress, NetifRx, DeviceIngress, target(LocalIn, last),
			},
			"netfilter/output veth softirq netfilter/prerouting bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input",
		},
		"container to container": {
			[]Hook{target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, PortEgress, NetifRx, DeviceIngress, target(LocalIn, last)},
			"netfilter/output veth softirq bridge veth softirq netfilter/input",
		},
		"in from an uplink that is a port, bridge netfilter": {
			[]Hook{
				UplinkIngress, host(PreRouting, last), host(Forward, 0), host(Forward, last), PortEgress, NetifRx, DeviceIngress,
				target(LocalIn, last),
			},
			"netfilter/prerouting bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input",
		},
		"in from an uplink that is a port": {
			[]Hook{UplinkIngress, PortEgress, NetifRx, DeviceIngress, target(LocalIn, last)},
			"bridge veth softirq netfilter/input",
		},
		"host mode in":  {[]Hook{UplinkIngress, host(PreRouting, last), host(LocalIn, last)}, "netfilter/prerouting netfilter/input"},
		"host mode out": {[]Hook{host(LocalOut, 0), host(LocalOut, last), UplinkEgress}, "netfilter/output netfilter/postrouting"},
		"by lo": {
			[]Hook{host(LocalOut, 0), host(LocalOut, last), LoopbackEgress, NetifRx, LoopbackIngress, host(PreRouting, last), host(LocalIn, last)},
			"netfilter/output netfilter/postrouting loopback softirq netfilter/prerouting netfilter/input",
		},
		"macvlan": {[]Hook{UplinkIngress, DeviceIngress, target(LocalIn, last)}, "device netfilter/input"},
		"tables": {
			[]Hook{
				UplinkIngress, host(PreRouting, 0), host(PreRouting, 1), host(PreRouting, last), host(Forward, 0),
				host(Forward, last), host(PostRouting, 1), host(PostRouting, last), BridgeEgress,
			},
			"uplink netfilter/prerouting/0-1 netfilter/prerouting/1-11 routing netfilter/forward/0-11 netfilter/postrouting/0-1 netfilter/postrouting/1-11 confirm+neighbour",
		},
	}
}

func TestHops(t *testing.T) {
	for name, c := range sequences() {
		t.Run(name, func(t *testing.T) {
			chains := Chains(noChains{})
			if name == "tables" {
				chains = numbered{}
			}
			hops := Hops(c.hooks, Context{Chains: chains})
			if len(c.hooks) > 1 && len(hops) != len(c.hooks)-1 {
				t.Fatalf("%d hooks have %d hops", len(c.hooks), len(hops))
			}
			var names []string
			for _, h := range hops {
				names = append(names, h.Name)
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

// What is called a hop is defined: a name that docs/hops.md does not have is a bug.
func TestHopsAreDefined(t *testing.T) {
	var defined []string
	for _, d := range Definitions() {
		defined = append(defined, d.Name)
	}
	for name, c := range sequences() {
		for _, hop := range Hops(c.hooks, Context{Chains: noChains{}}) {
			if !slices.Contains(defined, hop.Name) {
				t.Errorf("%s: %s is not defined", name, hop.Name)
			}
		}
	}
}

// A hop lies where it ends, a crossing at the side that it leaves.
func TestHopSides(t *testing.T) {
	hops := Hops([]Hook{UplinkIngress, host(Forward, LastBorder), BridgeEgress, PortEgress, NetifRx, DeviceIngress, target(LocalIn, LastBorder)}, Context{Chains: noChains{}})
	var sides []bool
	for _, h := range hops {
		sides = append(sides, h.Target)
	}
	if want := []bool{false, false, false, false, true, true}; !slices.Equal(sides, want) {
		t.Errorf("sides %v, want %v", sides, want)
	}
	hops = Hops([]Hook{target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress}, Context{Chains: noChains{}})
	if !hops[0].Target || !hops[1].Target || hops[2].Target {
		t.Errorf("out: %+v", hops)
	}
}

// Where a packet was that got no further than these hooks.
func TestNext(t *testing.T) {
	for want, hooks := range map[string][]Hook{
		"unknown":              nil,
		"netfilter/prerouting": {UplinkIngress},
		"netfilter/forward":    {UplinkIngress, host(PreRouting, LastBorder), host(Forward, 0)},
		"routing":              {UplinkIngress, host(PreRouting, LastBorder)},
		"netfilter/input":      {UplinkIngress, NetifRx, DeviceIngress},
		"netfilter/output":     {target(LocalOut, 0)},
		"transport":            {DeviceIngress, target(LocalIn, LastBorder)},
		"bridge":               {DeviceEgress, NetifRx, PortIngress, host(PreRouting, LastBorder)},
		"softirq":              {PortEgress, NetifRx},
		"veth":                 {DeviceEgress},
		"qdisc":                {UplinkEgress},
		"loopback":             {LoopbackEgress},
		"confirm+neighbour":    {host(PostRouting, LastBorder)},
	} {
		if got := Next(hooks, Context{Chains: noChains{}}).Name; got != want {
			t.Errorf("behind %v: %s, want %s", hooks, got, want)
		}
	}
}

// No two hooks have the same name, and none that exists is called by its number.
func TestHookStringsAreUnique(t *testing.T) {
	seen := map[string]Hook{}
	for n := range 256 {
		hook := Hook(n)
		name := hook.String()
		if other, ok := seen[name]; ok {
			t.Errorf("%d and %d are both %s", other, hook, name)
		}
		seen[name] = hook
		_, _, _, netfilter := hook.AsNetfilter()
		if known := hook.IsDevice() || netfilter || hook == KfreeSkb; known == strings.HasPrefix(name, "hook") {
			t.Errorf("hook %d is called %s", n, name)
		}
	}
}

func TestNetfilterNumbers(t *testing.T) {
	for _, side := range []bool{false, true} {
		for point := PreRouting; point <= PostRouting; point++ {
			for border := range Borders {
				isTarget, p, b, ok := Netfilter(side, point, border).AsNetfilter()
				if !ok || isTarget != side || p != point || b != border {
					t.Errorf("%v %v %d came back as %v %v %d", side, point, border, isTarget, p, b)
				}
			}
		}
	}
	if got := Point(9).String(); got != "hook9" {
		t.Errorf("a hook the kernel does not have: %s", got)
	}
}

// Without a bridge a veth leads into the host's routing, and at detail devices
// all of the host's stack is one hop, also for a packet that gets no further.
func TestContext(t *testing.T) {
	way := []Hook{target(LocalOut, 0), DeviceEgress, NetifRx, PortIngress, host(PreRouting, LastBorder), host(Forward, 0)}
	for routed, want := range map[bool]string{true: "routing", false: "bridge"} {
		hops := Hops(way, Context{Chains: noChains{}, Routed: routed})
		if got := hops[len(hops)-1].Name; got != want {
			t.Errorf("routed %v: from prerouting to forward is %s, want %s", routed, got, want)
		}
		if got := Next(way[:5], Context{Chains: noChains{}, Routed: routed}).Name; got != want {
			t.Errorf("routed %v: behind prerouting comes %s, want %s", routed, got, want)
		}
	}
	for _, c := range []struct {
		c    Context
		hook Hook
		want string
	}{
		{Context{Devices: true}, UplinkIngress, "forwarding"},
		{Context{Devices: true}, BridgeIngress, "forwarding"},
		{Context{Devices: true}, PortIngress, "bridge"},
		{Context{Devices: true, Routed: true}, PortIngress, "forwarding"},
		{Context{}, UplinkIngress, "netfilter/prerouting"},
	} {
		if got := Next([]Hook{c.hook}, c.c).Name; got != c.want {
			t.Errorf("%+v: behind %s comes %s, want %s", c.c, c.hook, got, c.want)
		}
	}
}
