package tracer_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

var gateway = netip.MustParseAddr("172.17.0.1") // docker0's own address

// ways are the hops, in order, of each way between a container on the default
// bridge and whoever it talks to. The host calls netfilter from inside the bridge.
func ways(detail tracer.Detail) map[string]string {
	switch detail {
	case tracer.DetailDevices:
		return map[string]string{
			"in uplink": "forwarding bridge veth", "out uplink": "veth bridge forwarding",
			"in host": "netfilter/output bridge veth", "out host": "veth bridge netfilter/input",
			"container": "veth bridge veth",
		}
	case tracer.DetailHooks:
		return map[string]string{
			"in uplink":  "netfilter/prerouting routing netfilter/forward netfilter/postrouting bridge veth softirq netfilter/input",
			"out uplink": "netfilter/output veth softirq netfilter/prerouting bridge routing netfilter/forward netfilter/postrouting",
			"in host":    "netfilter/output netfilter/postrouting bridge veth softirq netfilter/input",
			"out host":   "netfilter/output veth softirq netfilter/prerouting bridge netfilter/input",
			"container":  "netfilter/output veth softirq netfilter/prerouting bridge netfilter/forward netfilter/postrouting veth softirq netfilter/input",
		}
	}
	const pre = "netfilter/prerouting/defrag netfilter/prerouting/conntrack netfilter/prerouting/nat"
	return map[string]string{
		"in uplink":  "uplink " + pre + " routing netfilter/forward/filter netfilter/postrouting/nat confirm+neighbour bridge veth softirq netfilter/input",
		"out uplink": "netfilter/output veth softirq bridge " + pre + " bridge routing netfilter/forward/filter netfilter/postrouting/nat confirm+neighbour",
		"in host": "netfilter/output/defrag netfilter/output/conntrack netfilter/output/nat netfilter/postrouting/nat " +
			"confirm+neighbour bridge veth softirq netfilter/input",
		"out host": "netfilter/output veth softirq bridge " + pre + " bridge routing netfilter/input/nat",
		"container": "netfilter/output veth softirq bridge " + pre + " bridge netfilter/forward/filter netfilter/postrouting/nat " +
			"bridge veth softirq netfilter/input",
	}
}

// The exact order of hops and the exact number of packets, for each detail, on
// every way that packets take between a container and whoever it talks to.
func TestOrderOfHops(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, detail := range []tracer.Detail{tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables} {
			for _, by := range []tracer.Provider{tracer.ProviderTCX, tracer.ProviderTracepoint} {
				t.Run(string(detail)+"/"+string(by), func(t *testing.T) {
					orderOfHops(t, wire, tracer.Config{Detail: detail, Devices: by})
				})
			}
		}
	})
}

func orderOfHops(t *testing.T, wire lab.WireKind, cfg tracer.Config) tracer.Snapshot {
	t.Helper()
	detail := cfg.Detail
	s := newStage(t, lab.Config{
		Wire: wire, Names: []string{"nginx", "c2"},
		Ports: []lab.Port{{Host: 8080, Container: 80}, {Host: 7007, Container: 7, Proto: "udp"}},
	})
	w := s.world
	s.echoServer(w.Client, 9)
	s.echoServer(w.Host, 9)
	s.open(cfg, "nginx", "c2")
	nginx, c2 := w.Container("nginx"), w.Container("c2")
	s.exact(w.Client.HTTP(s.ctx, "http://198.51.100.1:8080/", 20, lab.LoadConfig{KeepAlive: true}))
	s.udp(w.Client, w.Host.IP4, 7007, 20)  // DNAT
	s.udp(w.Host, nginx.IP4, 7, 30)        // the host is in the container's network
	s.udp(nginx.Node, gateway, 9, 40)      // to the host
	s.udp(nginx.Node, w.Client.IP4, 9, 50) // MASQUERADE: the answers are known at the uplink
	s.tcp(nginx.Node, c2.IP4, lab.PortEcho, 20)
	snapshot := s.stop()

	hops := ways(detail)
	if misses(snapshot, "netfilter/tables") {
		for way := range hops {
			hops[way] = undivided(hops[way])
			if by(snapshot, "host/forward/first") == tracer.ProviderTrampoline {
				// the host enters PRE_ROUTING anew with what its bridge passes up, and leaves it at once
				hops[way] = strings.ReplaceAll(hops[way], " bridge routing ", " bridge ip routing ")
			}
		}
	}
	if wire == lab.WireTap { // a tap has a queue
		hops["out uplink"] += " qdisc"
	}
	news := uint64(1) // a flow's first packet is apart, where netfilter hooks show which it is
	if detail == tracer.DetailDevices {
		news = 0
	}
	for _, w := range []want{
		{direction: tracer.Ingress, protocol: "tcp", peer: "uplink", hops: hops["in uplink"]},
		{direction: tracer.Egress, protocol: "tcp", peer: "uplink", hops: hops["out uplink"]},
		{direction: tracer.Ingress, protocol: "udp", peer: "uplink", hops: hops["in uplink"], packets: 70 - news},
		{direction: tracer.Egress, protocol: "udp", peer: "uplink", hops: hops["out uplink"], packets: 70 - news},
		{direction: tracer.Ingress, protocol: "udp", peer: "host", hops: hops["in host"], packets: 70 - news},
		{direction: tracer.Egress, protocol: "udp", peer: "host", hops: hops["out host"], packets: 69},
		{direction: tracer.Egress, protocol: "tcp", peer: "container:c2", hops: hops["container"]},
		{direction: tracer.Ingress, protocol: "tcp", peer: "container:c2", hops: hops["container"]},
		{target: "c2", direction: tracer.Ingress, protocol: "tcp", peer: "container:nginx", hops: hops["container"]},
		{target: "c2", direction: tracer.Egress, protocol: "tcp", peer: "container:nginx", hops: hops["container"]},
	} {
		if w.target == "" {
			w.target = "nginx"
		}
		established := expect(t, snapshot, w)
		if strings.Contains(w.peer, ":") || w.protocol == "tcp" || detail == tracer.DetailDevices {
			continue
		}
		w.flow, w.packets = "new", 1
		if first := expect(t, snapshot, w); first.ID == established.ID {
			t.Errorf("a new and an established flow have one path: %s", first.ID)
		}
	}
	sameBetween(t, snapshot)
	return snapshot
}

// undivided are hops where the chains of a hook of netfilter are not told apart: its hop has all of them.
func undivided(hops string) string {
	var joined []string
	for _, hop := range strings.Fields(hops) {
		parts, last := strings.Split(hop, "/"), len(joined)-1
		if hook := strings.Join(parts[:len(parts)-1], "/") + "/"; last >= 0 && len(parts) == 3 && strings.HasPrefix(joined[last], hook) {
			joined[last] += "+" + parts[2]
			continue
		}
		joined = append(joined, hop)
	}
	return strings.Join(joined, " ")
}

// by is the provider that the tracer says a hook has; "": it has none.
func by(snapshot tracer.Snapshot, hook string) tracer.Provider {
	for _, a := range snapshot.Hooks {
		if a.Hook == hook {
			return a.Provider
		}
	}
	return ""
}

// misses tells whether the tracer says that it does without a hook, and why.
func misses(snapshot tracer.Snapshot, hook string) bool {
	return slices.ContainsFunc(snapshot.Missing, func(m tracer.Missing) bool { return m.Hook == hook && m.Why != "" })
}

// sameBetween holds that what one target sends to another is what that one gets.
func sameBetween(t *testing.T, snapshot tracer.Snapshot) {
	t.Helper()
	count := func(name, peer string, direction tracer.Direction) (n uint64) {
		for _, p := range targetOf(t, snapshot, name).Paths {
			if p.Peer == "container:"+peer && p.Direction == direction {
				n += p.Packets
			}
		}
		return n
	}
	for _, pair := range [][2]string{{"nginx", "c2"}, {"c2", "nginx"}} {
		out, in := count(pair[0], pair[1], tracer.Egress), count(pair[1], pair[0], tracer.Ingress)
		if out != in || out == 0 {
			t.Errorf("%s sent %d packets to %s, which got %d", pair[0], out, pair[1], in)
		}
	}
}
