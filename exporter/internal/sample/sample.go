// Package sample makes one realistic snapshot, the same every time, for the
// tests of the exporters: a container behind a published port, one in host
// mode, one that docker-proxy answers for, and one that nobody talks to.
package sample

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/tracer"
)

// hop is what a hop of the sample looks like; its times are lognormal.
type hop struct {
	name   string
	side   tracer.Side
	device string
	from   string
	to     string
	median float64 // ns, what measuring costs included
	null   tracer.Null
}

const (
	host   = tracer.SideHost
	target = tracer.SideTarget
)

func nullNetfilter() tracer.Null {
	return tracer.Null{Count: 48210, MeanNs: 97, MedianNs: 95, SpreadNs: 14}
}

func nullTCX() tracer.Null {
	return tracer.Null{Count: 12044, MeanNs: 71, MedianNs: 70, SpreadNs: 9}
}

func ingress() []hop {
	nf, tc := nullNetfilter(), nullTCX()
	return []hop{
		{"uplink", host, "eth0", "uplink/ingress", "netfilter/prerouting/first", 1040, tc},
		{"netfilter/prerouting", host, "eth0", "netfilter/prerouting/first", "netfilter/prerouting/last", 1420, nf},
		{"null/netfilter", host, "eth0", "netfilter/prerouting/last", "netfilter/prerouting/null", 96, nf},
		{"routing", host, "eth0", "netfilter/prerouting/null", "netfilter/forward/first", 98, nf},
		{"netfilter/forward", host, "eth0", "netfilter/forward/first", "netfilter/forward/last", 2210, nf},
		{"netfilter/postrouting", host, "docker0", "netfilter/forward/last", "netfilter/postrouting/last", 530, nf},
		{"confirm+neighbour", host, "docker0", "netfilter/postrouting/last", "bridge/egress", 420, tc},
		{"bridge", host, "vethef1372a", "bridge/egress", "veth/egress", 690, tc},
		{"veth", target, "eth0", "veth/egress", "veth/crossed", 310, tc},
		{"softirq", target, "eth0", "veth/crossed", "container/ingress", 3900, tc},
		{"netfilter/prerouting", target, "eth0", "container/ingress", "netfilter/prerouting/last", 380, nf},
		{"netfilter/input", target, "eth0", "netfilter/prerouting/last", "netfilter/input/last", 640, nf},
	}
}

func egress() []hop {
	nf, tc := nullNetfilter(), nullTCX()
	return []hop{
		{"netfilter/output", target, "eth0", "netfilter/output/first", "netfilter/output/last", 610, nf},
		{"netfilter/postrouting", target, "eth0", "netfilter/output/last", "netfilter/postrouting/last", 93, nf},
		{"confirm+neighbour", target, "eth0", "netfilter/postrouting/last", "container/egress", 520, tc},
		{"veth", host, "vethef1372a", "container/egress", "veth/crossed", 330, tc},
		{"softirq", host, "vethef1372a", "veth/crossed", "veth/ingress", 2800, tc},
		{"bridge", host, "docker0", "veth/ingress", "bridge/ingress", 2900, tc},
		{"netfilter/forward", host, "docker0", "bridge/ingress", "netfilter/forward/last", 1980, nf},
		{"netfilter/postrouting", host, "eth0", "netfilter/forward/last", "netfilter/postrouting/last", 870, nf},
		{"qdisc", host, "eth0", "netfilter/postrouting/last", "uplink/xmit", 1650, tc},
	}
}

func hostIn() []hop {
	nf, tc := nullNetfilter(), nullTCX()
	return []hop{
		{"uplink", host, "eth0", "uplink/ingress", "netfilter/prerouting/first", 1010, tc},
		{"netfilter/prerouting", host, "eth0", "netfilter/prerouting/first", "netfilter/prerouting/last", 1320, nf},
		{"netfilter/input", host, "eth0", "netfilter/prerouting/last", "netfilter/input/last", 720, nf},
	}
}

func hostOut() []hop {
	nf, tc := nullNetfilter(), nullTCX()
	return []hop{
		{"netfilter/output", host, "eth0", "netfilter/output/first", "netfilter/output/last", 590, nf},
		{"netfilter/postrouting", host, "eth0", "netfilter/output/last", "netfilter/postrouting/last", 410, nf},
		{"qdisc", host, "eth0", "netfilter/postrouting/last", "uplink/xmit", 1500, tc},
	}
}

// kind is what identifies a path of the sample.
type kind struct {
	id, family, protocol string
	dir                  tracer.Direction
	peer, flow           string
	packets              int
	scale                float64 // of the medians
}

// maker draws the sample's times, always the same ones.
type maker struct{ r *rand.Rand }

func (m maker) ns(median float64) uint64 {
	v := median * math.Exp(0.22*m.r.NormFloat64())
	if m.r.IntN(400) == 0 {
		v *= 3 + 8*m.r.Float64() // a softirq got in between
	}
	return uint64(max(v, 1))
}

func (m maker) latency(median float64, n int) tracer.Latency {
	var l tracer.Latency
	for range n {
		l.Hist.Add(m.ns(median))
	}
	l.Rounds = rounds(l)
	return l
}

func rounds(l tracer.Latency) []tracer.Round {
	n := l.Hist.Count()
	if n == 0 {
		return nil
	}
	p50, _ := l.Hist.Quantile(0.5)
	return []tracer.Round{
		{Start: 0, Count: n / 2, SumNs: l.Hist.Sum / 2, P50Ns: p50},
		{Start: time.Second, Count: n - n/2, SumNs: l.Hist.Sum - l.Hist.Sum/2, P50Ns: p50},
	}
}

func (m maker) path(k kind, hops []hop) tracer.Path {
	p := tracer.Path{
		ID: k.id, Family: k.family, Protocol: k.protocol, Direction: k.dir, Peer: k.peer, Flow: k.flow,
		Packets: uint64(k.packets), Segments: uint64(k.packets) * 3 / 2, Bytes: uint64(k.packets) * 412,
	}
	for i, h := range hops {
		p.Hops = append(p.Hops, tracer.Hop{
			Index: i, Name: h.name, Side: h.side, Device: h.device, From: h.from, To: h.to,
			Latency: tracer.Latency{Null: h.null},
		})
		p.Latency.Null.Count += h.null.Count
		p.Latency.Null.MeanNs += h.null.MeanNs
		p.Latency.Null.MedianNs += h.null.MedianNs
		p.Latency.Null.SpreadNs += h.null.SpreadNs
	}
	for range k.packets {
		var sum uint64
		for i, h := range hops {
			ns := m.ns(h.median * k.scale)
			p.Hops[i].Latency.Hist.Add(ns)
			sum += ns
		}
		p.Latency.Hist.Add(sum)
	}
	p.Latency.Rounds = rounds(p.Latency)
	for i := range p.Hops {
		p.Hops[i].Latency.Rounds = rounds(p.Hops[i].Latency)
	}
	return p
}

// Snapshot returns the sample.
func Snapshot() tracer.Snapshot {
	m := maker{rand.New(rand.NewPCG(8080, 80))}
	return tracer.Snapshot{
		Version: "0.1.0", Kernel: "6.18.0-1-amd64", Detail: tracer.DetailHooks,
		Start: time.Date(2026, 11, 24, 21, 0, 0, 0, time.UTC), Duration: 2 * time.Second, Final: true,
		Targets:  []tracer.Target{m.nginx(), m.hostMode(), m.proxied(), idle()},
		Journeys: journeys(),
		Observer: tracer.Observer{
			StampNs: map[string]float64{"tcx": 70, "netfilter": 95, "tracepoint": 88},
			Stamps:  189204, CPUShare: 0.0087, Recorded: 2310, RingLost: 0, Observed: 1100 * time.Millisecond,
			Budget: &tracer.Budget{MaxShare: 0.01, State: tracer.BudgetEnded, Windows: 4},
			SelfCheck: &tracer.SelfCheck{
				Pairs: 11, WindowS: 5, CPU: tracer.Ratio{Value: 1.009, Low: 1.004, High: 1.013},
				Rate: tracer.Ratio{Value: 0.998, Low: 0.993, High: 1.002}, Same: tracer.Ratio{Value: 1.001, Low: 0.992, High: 1.009},
				CPUNs: 11200, AddedNs: 104,
			},
		},
		Notes: []string{"an NFQUEUE is bound in the namespace of nginx: its links go last, and once"},

		Environment: machine(),
	}
}

func machine() *environment.Environment {
	proxy := true
	return &environment.Environment{
		Host:   environment.Host{Name: "dhost", Machine: "0123456789ab", Boot: "3c5e7b1a-54f4-4f44-8f0c-3a2a2a0c7f11"},
		Kernel: environment.Kernel{Release: "6.18.0-1-amd64", Version: "#1 SMP PREEMPT_DYNAMIC", Arch: "x86_64"},
		CPU: environment.CPU{
			Model: "Example CPU", Count: 2, Virtual: true, Governor: "performance", ClockSource: "tsc",
			Mitigations: map[string]string{"retbleed": "Mitigation: Enhanced IBRS"},
		},
		Devices: []environment.Device{
			{Name: "eth0", Driver: "virtio_net", MTU: 1500, Qdisc: "fq_codel", Offloads: []string{"gro", "gso", "tso"}},
			{Name: "docker0", Kind: "bridge", Driver: "bridge", MTU: 1500, Offloads: []string{}},
		},
		Sysctls:   map[string]string{"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"},
		Netfilter: environment.Netfilter{Backend: "nf_tables", Rules: 12, Chains: map[string]int{"ip/filter": 8, "ip/nat": 4}},
		Docker: &environment.Docker{
			Version: "20.10.24", StorageDriver: "overlay2", CgroupVersion: "2", Runtime: "runc", UserlandProxy: &proxy,
			BridgeName: "docker0", BridgeMTU: "1500", BridgeICC: "true", BridgeMasquerade: "true", IPv4Forwarding: true,
		},
		Tool: "0.1.0", Unread: []string{},
	}
}

func (m maker) nginx() tracer.Target {
	t := tracer.Target{
		Name: "nginx", ID: "87eed538fbb74b83d0c53816b69bb4ee519213ca0666ae3f845ccc79e5cb8489",
		Mode: "bridge", PID: 1465, Netns: 4026532411, Aliases: []string{"sidecar"},
		Interfaces: []tracer.Interface{{
			Name: "eth0", Index: 26, Peer: "vethef1372a", PeerIndex: 27, Bridge: "docker0",
			Addrs: []netip.Addr{netip.MustParseAddr("172.17.0.2")},
		}},
		Ports: []tracer.Port{{Host: netip.AddrPortFrom(netip.Addr{}, 8080), Container: 80, Protocol: "tcp"}},
		Paths: []tracer.Path{
			m.path(kind{"3f1c9a", "ipv4", "tcp", tracer.Ingress, "uplink", "new", 42, 1.9}, ingress()),
			m.path(kind{"a01b77", "ipv4", "tcp", tracer.Ingress, "uplink", "established", 18214, 1}, ingress()),
			m.path(kind{"b7702e", "ipv4", "tcp", tracer.Egress, "uplink", "established", 17420, 1}, egress()),
			m.path(kind{"c0ffee", "ipv6", "udp", tracer.Ingress, "container:redis", "established", 320, 0.8}, ingress()[7:]),
		},
		Waiting: tracer.Waiting{
			Transport: m.latency(900, 18000),
			Reader:    m.latency(1.8e6, 16900), Share: 0.94,
		},
		Drops: []tracer.Drop{
			{Direction: tracer.Ingress, Hop: "netfilter/forward", Reason: "NETFILTER_DROP", Count: 37, Rules: []tracer.DropRule{
				{Count: 30, Packet: "198.51.100.2:40312 -> 172.17.0.2:81 tcp", Rule: &tracer.NetfilterRule{
					Backend: "nft", Family: "ip", Table: "filter", Chain: "DOCKER-USER", Number: 1, Text: "-p tcp -m tcp --dport 81 -j DROP", Handle: 12,
				}},
				{Count: 7, Packet: "198.51.100.2:40313 -> 172.17.0.2:82 tcp", Why: "perhaps policy drop of ip filter/FORWARD, which has no counter"},
			}},
			{Direction: tracer.Egress, Hop: "qdisc", Reason: "QDISC_DROP", Count: 2},
		},
	}
	t.Accounting[tracer.Ingress] = tracer.Accounting{Started: 18614, Cloned: 2, Completed: 18576, Dropped: 37, InFlight: 3}
	t.Accounting[tracer.Egress] = tracer.Accounting{Started: 17423, Completed: 17420, Dropped: 2, Merged: 1}
	t.Totals = &[2]tracer.Total{{Packets: 33210, Bytes: 13_700_000}, {Packets: 31700, Bytes: 2_300_000}}
	t.Skipped[tracer.Ingress] = []tracer.Skip{{Reason: "not-ip", Count: 6}}
	return t
}

func (m maker) hostMode() tracer.Target {
	t := tracer.Target{
		Name: "nginx-host", ID: "1654f43a0fb7acad96982b4cd67815d704eb1167b0e4c596b88265cf6968428e",
		Mode: "host", PID: 1512, Netns: 4026531840,
		Interfaces: []tracer.Interface{{Name: "eth0", Index: 3, Addrs: []netip.Addr{
			netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:51::1"),
		}}, {Name: "lo", Index: 1}},
		Paths: []tracer.Path{
			m.path(kind{"d1d1d1", "ipv4", "tcp", tracer.Ingress, "uplink", "established", 15002, 1}, hostIn()),
			m.path(kind{"e2e2e2", "ipv4", "tcp", tracer.Egress, "uplink", "established", 14871, 1}, hostOut()),
		},
		Waiting: tracer.Waiting{
			Transport: m.latency(880, 15000),
			Reader:    m.latency(1.7e6, 14950), Share: 0.997,
		},
	}
	t.Totals = &[2]tracer.Total{{Packets: 27300, Bytes: 9_100_000, Estimated: true}, {Packets: 27100, Bytes: 1_600_000, Estimated: true}}
	t.Accounting[tracer.Ingress] = tracer.Accounting{Started: 15002, Completed: 15002}
	t.Accounting[tracer.Egress] = tracer.Accounting{Started: 14875, Completed: 14871} // 4 are missing
	return t
}

func (m maker) proxied() tracer.Target {
	in := m.path(kind{"f00d01", "ipv4", "tcp", tracer.Ingress, "proxy", "established", 600, 0.7}, ingress()[7:])
	t := tracer.Target{
		Name: "web", ID: "9a8b7c6d5e4f", Mode: "shop_default", PID: 1700, Netns: 4026532500,
		Interfaces: []tracer.Interface{{
			Name: "eth0", Index: 30, Peer: "veth51aa02c", PeerIndex: 31, Bridge: "br-2f6c0d1a9b3e",
			Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.5")},
		}},
		Ports: []tracer.Port{{Host: netip.MustParseAddrPort("127.0.0.1:8081"), Container: 80, Protocol: "tcp"}},
		Paths: []tracer.Path{in, m.path(kind{
			"f00d00", "ipv4", "tcp", tracer.Ingress, "proxy", "established", 310, 1.1,
		}, hostIn())},
		Proxied: &tracer.Proxied{PID: 1688, Proxy: m.latency(42000, 300)},
	}
	t.Accounting[tracer.Ingress] = tracer.Accounting{Started: 910, Completed: 910}
	t.Unpredicted = []tracer.Unpredicted{{
		Path: "f00d01", Packets: 600, After: "host/output", Seen: "port/egress veth51aa02c", Predicted: []string{"bridge/egress br-2f6c0d1a9b3e"},
	}}
	t.Unseen = []tracer.Unseen{{Direction: tracer.Egress, Device: "eth0", Peer: "veth51aa02c", Packets: 588}}
	return t
}

func idle() tracer.Target {
	return tracer.Target{
		Name: "evil\x1b[31m\u202etac", ID: "", Mode: "netns", Netns: 4026532600,
		Interfaces: []tracer.Interface{{Name: "eth0", Index: 2, Peer: "veth-evil", PeerIndex: 40}},
	}
}

func journeys() []tracer.Journey {
	j := tracer.Journey{
		ID: 71, Target: "nginx", Path: "a01b77", Direction: tracer.Ingress, Peer: "uplink",
		Outcome: "completed", Slow: true, Bytes: 118,
	}
	at := 81234567890123 * time.Nanosecond
	j.Stamps = append(j.Stamps, tracer.Stamp{Hook: "uplink/ingress", Device: "eth0", CPU: 0, T: at})
	for i, h := range ingress() {
		at += time.Duration(h.median)
		if h.name == "softirq" {
			at += 1204 * time.Microsecond
		}
		j.Stamps = append(j.Stamps, tracer.Stamp{Hook: h.to, Hop: h.name, Device: h.device, CPU: i / 9, T: at})
	}
	dropped := tracer.Journey{
		ID: 72, Target: "nginx", Direction: tracer.Ingress, Peer: "uplink", Outcome: "dropped", Reason: "NETFILTER_DROP",
		Bytes: 60,
		Stamps: []tracer.Stamp{
			{Hook: "uplink/ingress", Device: "eth0", T: 5 * time.Second},
			{Hook: "netfilter/forward/first", Hop: "netfilter/forward", Device: "eth0", T: 5*time.Second + 3120},
		},
	}
	return []tracer.Journey{j, dropped}
}
