package grafana

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// oneContainer shows all there is to know of a container.
func oneContainer() *dashboard.DashboardBuilder {
	b := newDashboard(containerUID, "vethtrace / Container",
		"One container: how long its packets take in both directions, in which hops, and what becomes of them.")
	layOut(b, []section{
		{"At a glance", glance()},
		{"Latency", append(append(pathPanels("ingress"), pathPanels("egress")...), newConnections())},
		{"Packets", packetPanels()},
		{"Behind the path", behindPath()},
	})
	return b
}

func glance() []panel {
	paths := latency{metric: pathLatency, matchers: ofContainer, by: "direction"}
	one := func(title, description, unit string, q ...query) panel {
		return panel{kind: figure, title: title, description: description, unit: unit, width: 6, queries: q}
	}
	return []panel{
		one("Median", "Half of the packets take no longer from the first hook to the last.", seconds, paths.quantile("{{direction}}", 0.5)),
		one("99th percentile", "One packet of a hundred takes longer from the first hook to the last.", seconds, paths.quantile("{{direction}}", 0.99)),
		one("Packets", "Packets that completed their path, in the time that was traced.", perSecond,
			plain("{{direction}}", "%s", observedRate("packets_total", ofContainer+`, outcome="completed"`, "direction"))),
		one("Dropped", "Packets that the kernel dropped on the way, in the time that was traced.", perSecond,
			plain("{{direction}}", "%s", observedRate("packets_total", ofContainer+`, outcome="dropped"`, "direction"))),
	}
}

func pathPanels(direction string) []panel {
	matchers := fmt.Sprintf(`%s, direction=%q`, ofContainer, direction)
	paths := latency{metric: pathLatency, matchers: matchers}
	hops := latency{metric: hopLatency, matchers: matchers, by: "side, hop"}
	return []panel{
		{
			title: "Path latency, " + direction, unit: seconds, width: 12,
			description: "Time from the first hook to the last, what measuring costs included. Points are slow journeys: each leads to its stamps.",
			queries:     []query{paths.quantile("p50", 0.5), paths.quantile("p90", 0.9), paths.quantile("p99", 0.99).marked()},
		},
		{
			kind: stacked, title: "Mean time by hop, " + direction, unit: seconds, width: 12,
			description: "Mean time of a packet, divided into its hops: they add up to the mean of the path. Side is where a hop ends.",
			queries:     []query{hops.share("{{side}} {{hop}}", paths)},
		},
		{
			title: "Hops, 99th percentile, " + direction, unit: seconds, width: 12,
			description: "What one packet of a hundred exceeds, hop by hop. Percentiles of hops do not add up to that of the path.",
			queries:     []query{hops.quantile("{{side}} {{hop}}", 0.99)},
		},
		{
			kind: heat, title: "Distribution, " + direction, unit: seconds, width: 12,
			description: "How packets spread over the times that their path takes. Two bands: two ways, or a cache that is cold.",
			queries:     []query{paths.buckets()},
		},
	}
}

func newConnections() panel {
	return panel{
		title: "New and established connections, median", unit: seconds, width: 24,
		description: "Packets before their connection is confirmed cross all rules of NAT and filter; later ones do not.",
		queries:     []query{latency{metric: pathLatency, matchers: ofContainer, by: "direction, peer, flow"}.quantile("{{direction}} {{peer}} {{flow}}", 0.5)},
	}
}

// beside are the devices' own counters and what was traced, scaled to all time:
// where they differ by much, traffic in the windows was not like the rest.
func beside(title, description, unit, devices, traced string) panel {
	return panel{
		title: title, description: description, unit: unit, width: 12,
		queries: []query{
			plain("{{direction}} devices", "sum by (direction) (rate(vethtrace_%s{%s}[$__rate_interval]))", devices, ofContainer),
			plain("{{direction}} traced, scaled", "%s", observedRate(traced, ofContainer, "direction")),
		},
	}
}

func packetPanels() []panel {
	return []panel{
		beside("All packets", "What the container's devices have counted, and the rate of what was traced. With GRO a device counts less than the wire. Without a budget there is no count of devices: each packet is traced.",
			perSecond, "device_packets_total", "journeys_started_total"),
		beside("All bytes", "What the container's devices have counted, with the link layer's header, and the rate of what was traced, of IP and above.",
			bytesPerSec, "device_bytes_total", "path_bytes_total"),
		{
			title: "Packets by outcome", unit: perSecond, width: 12,
			description: "How journeys end, in the time that was traced. Evicted, expired and cut ones say that tracing had gaps.",
			queries:     []query{plain("{{direction}} {{outcome}}", "%s > 0", observedRate("packets_total", ofContainer, "direction, outcome"))},
		},
		{
			title: "Drops by hop and reason", unit: perSecond, width: 12,
			description: "Packets that the kernel dropped: in which hop, and the reason that the kernel gives.",
			queries:     []query{plain("{{direction}} {{hop}} {{reason}}", "%s", observedRate("drops_total", ofContainer, "direction, hop, reason"))},
		},
		{
			title: "Bytes", unit: bytesPerSec, width: 12,
			description: "Bytes, of IP and above, of packets that completed their path.",
			queries:     []query{plain("{{direction}} {{peer}}", "%s", observedRate("path_bytes_total", ofContainer, "direction, peer"))},
		},
		{
			title: "Packets on the wire", unit: perSecond, width: 12,
			description: "What the kernel's buffers stand for on the wire: one of them may be cut into many, or merged from them.",
			queries:     []query{plain("{{direction}} {{peer}}", "%s", observedRate("path_segments_total", ofContainer, "direction, peer"))},
		},
		{
			title: "Journeys in flight", unit: plainNumber, width: 12,
			description: "Packets under way at the time of the scrape.",
			queries:     []query{plain("{{direction}}", "sum by (direction) (vethtrace_journeys_in_flight{%s})", ofContainer)},
		},
		{
			title: "Skipped packets", unit: perSecond, width: 12,
			description: "Packets of the container's devices that are not followed, such as ARP.",
			queries:     []query{plain("{{direction}} {{reason}}", "%s", observedRate("skipped_packets_total", ofContainer, "direction, reason"))},
		},
	}
}

func behindPath() []panel {
	behind := latency{metric: waiting, matchers: ofContainer, by: "stage"}
	proxy := latency{metric: proxyTime, matchers: ofContainer, by: "container"}
	return []panel{
		{
			title: "Waiting for the reader", unit: seconds, width: 12,
			description: "Behind the path: transport, until the socket has its data; reader, until the process takes the first byte.",
			queries:     []query{behind.quantile("{{stage}} p50", 0.5), behind.quantile("{{stage}} p99", 0.99)},
		},
		{
			title: "Within docker-proxy", unit: seconds, width: 12,
			description: "Time of requests within docker-proxy, where it answers in place of DNAT. Nothing: it is not on the way.",
			queries:     []query{proxy.quantile("{{container}} p50", 0.5), proxy.quantile("{{container}} p99", 0.99)},
		},
	}
}
