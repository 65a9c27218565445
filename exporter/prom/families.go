package prom

import "github.com/prometheus/client_golang/prometheus"

// The metrics that belong to containers.
const (
	hopLatency family = iota
	pathLatency
	waitingLatency
	proxyLatency
	started
	packets
	skipped
	drops
	bytes
	segments
	observed
	families // how many
)

// namespace is what all names begin with.
const namespace = "vethtrace"

// descriptions are those of the families, by family.
func descriptions() [families]*prometheus.Desc {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return [families]*prometheus.Desc{
		hopLatency: desc("hop_latency_seconds",
			"Time of packets between two neighbouring hooks, as measured: the cost of a stamp is in it, see vethtrace_stamp_cost_seconds.",
			"container", "direction", "side", "hop"),
		pathLatency: desc("path_latency_seconds",
			"Time of packets from the first hook to the last, as measured. flow=new: before their connection was confirmed.",
			"container", "direction", "peer", "flow"),
		waitingLatency: desc("waiting_seconds",
			"Time behind the network path, of those packets for which it could be measured: transport, to the socket's data ready; reader, from there to the first byte read.",
			"container", "stage"),
		proxyLatency: desc("proxy_seconds",
			"Time of requests within docker-proxy, which answered for the container in place of DNAT.",
			"container"),
		started: desc("journeys_started_total",
			"Journeys begun: packets of the container that a hook has seen first.",
			"container", "direction"),
		packets: desc("packets_total",
			"Journeys ended, by outcome: completed, dropped, merged (by GRO), evicted (no room in the table), expired (vanished unseen), cut (by attaching or detaching); cloned are begun as copies.",
			"container", "direction", "outcome"),
		skipped: desc("skipped_packets_total",
			"Packets of the container's devices that began no journey, by reason.",
			"container", "direction", "reason"),
		drops: desc("drops_total",
			"Packets that the kernel dropped, by the hop they were in and the kernel's reason.",
			"container", "direction", "hop", "reason"),
		bytes: desc("path_bytes_total",
			"Bytes, of IP and above, of completed journeys.",
			"container", "direction", "peer"),
		segments: desc("path_segments_total",
			"Packets on the wire that the skbs of completed journeys stood for (GSO and GRO).",
			"container", "direction", "peer"),
		observed: desc("observed_seconds_total",
			"Time in which the container's packets were traced: with a budget hooks are attached for part of the time.",
			"container"),
	}
}

// gauges are the metrics that are not counted by container's life.
type gauges struct {
	inFlight   *prometheus.Desc
	target     *prometheus.Desc
	stampCost  *prometheus.Desc
	stamps     *prometheus.Desc
	share      *prometheus.Desc
	missed     *prometheus.Desc
	ringLost   *prometheus.Desc
	unpathed   *prometheus.Desc
	targets    *prometheus.Desc
	scrapeTime *prometheus.Desc
	engineUp   *prometheus.Desc
	hook       *prometheus.Desc
	hookLinks  *prometheus.Desc
}

func newGauges() gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return gauges{
		inFlight: desc("journeys_in_flight", "Journeys under way.", "container", "direction"),
		target: desc("target_info", "What is traced.",
			"container", "id", "image", "compose_project", "compose_service", "mode", "network"),
		stampCost:  desc("stamp_cost_seconds", "Median time of a stamp in place, by type of hook: subtract it from a hop's quantile.", "type"),
		stamps:     desc("stamps_total", "Stamps taken."),
		share:      desc("overhead_ratio", "Time spent on stamps, of one CPU's."),
		missed:     desc("recursion_misses_total", "Program runs that the kernel has left out."),
		ringLost:   desc("records_lost_total", "Slow or sampled journeys that found the ring buffer full."),
		unpathed:   desc("unpathed_total", "Completed journeys whose path had no room in the table: counted, not in a histogram."),
		targets:    desc("targets", "Containers, processes and namespaces that are traced now."),
		scrapeTime: desc("scrape_duration_seconds", "Time that collecting these metrics took."),
		hook: desc("hook_attached", "Whether a hook is attached now: 1, or 0. Hooks of windows, such as null hops, come and go under load.",
			"hook", "provider"),
		hookLinks: desc("hook_links", "In how many places a hook is attached now: devices, namespaces by family, or the machine.", "hook", "provider"),
		engineUp:  desc("engine_up", "Whether the engine answers: 1, or 0 while starts and stops are not noticed."),
	}
}

func (g gauges) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		g.inFlight, g.target, g.stampCost, g.stamps, g.share, g.missed, g.ringLost, g.unpathed,
		g.targets, g.scrapeTime, g.engineUp, g.hook, g.hookLinks,
	} {
		ch <- d
	}
}
