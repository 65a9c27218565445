package prom

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

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
	pathBytes
	segments
	observed
	devicePackets
	deviceBytes
	families // how many
)

// namespace is what all names begin with.
const namespace = "vethtrace"

// definition is one metric.
type definition struct {
	desc   *prometheus.Desc
	name   string
	help   string
	labels []string
	kind   dto.MetricType
	byName []int // places of the labels, in the order of their names, which encoders want
	index  int   // among all of a collector
}

func define(kind dto.MetricType, name, help string, labels ...string) *definition {
	name = namespace + "_" + name
	d := &definition{desc: prometheus.NewDesc(name, help, labels, nil), name: name, help: help, labels: labels, kind: kind}
	for i := range labels {
		d.byName = append(d.byName, i)
	}
	slices.SortFunc(d.byName, func(a, b int) int { return strings.Compare(labels[a], labels[b]) })
	return d
}

func counterOf(name, help string, labels ...string) *definition {
	return define(dto.MetricType_COUNTER, name, help, labels...)
}

func histogramOf(name, help string, labels ...string) *definition {
	return define(dto.MetricType_HISTOGRAM, name, help, labels...)
}

func gaugeOf(name, help string, labels ...string) *definition {
	return define(dto.MetricType_GAUGE, name, help, labels...)
}

// pairs are labels of these values, sorted by name as encoders want them.
func (d *definition) pairs(values ...string) []*dto.LabelPair {
	return prometheus.MakeLabelPairs(d.desc, values[:len(d.labels)])
}

// definitions are those of the families, by family.
func definitions() [families]*definition {
	return [families]*definition{
		hopLatency: histogramOf("hop_latency_seconds",
			"Time of packets between two neighbouring hooks, as measured: the cost of a stamp is in it, see vethtrace_stamp_cost_seconds.",
			"container", "direction", "side", "hop"),
		pathLatency: histogramOf("path_latency_seconds",
			"Time of packets from the first hook to the last, as measured. flow=new: before their connection was confirmed.",
			"container", "direction", "peer", "flow"),
		waitingLatency: histogramOf("waiting_seconds",
			"Time behind the network path, of those packets for which it could be measured: transport, to the socket's data ready; reader, from there to the first byte read.",
			"container", "stage"),
		proxyLatency: histogramOf("proxy_seconds",
			"Time of requests within docker-proxy, which answered for the container in place of DNAT.",
			"container"),
		started: counterOf("journeys_started_total",
			"Journeys begun: packets of the container that a hook has seen first.",
			"container", "direction"),
		packets: counterOf("packets_total",
			"Journeys ended, by outcome: completed, dropped, merged (by GRO), evicted (no room in the table), expired (vanished unseen), cut (by attaching or detaching); cloned are begun as copies.",
			"container", "direction", "outcome"),
		skipped: counterOf("skipped_packets_total",
			"Packets of the container's devices that began no journey, by reason.",
			"container", "direction", "reason"),
		drops: counterOf("drops_total",
			"Packets that the kernel dropped, by the hop they were in and the kernel's reason.",
			"container", "direction", "hop", "reason"),
		pathBytes: counterOf("path_bytes_total",
			"Bytes, of IP and above, of completed journeys.",
			"container", "direction", "peer"),
		segments: counterOf("path_segments_total",
			"Packets on the wire that the skbs of completed journeys stood for (GSO and GRO).",
			"container", "direction", "peer"),
		devicePackets: counterOf("device_packets_total",
			"Packets that the container's devices have counted while it was traced, seen or not; in host mode an estimate.",
			"container", "direction"),
		deviceBytes: counterOf("device_bytes_total",
			"Bytes of these, with the link layer's header; in host mode an estimate, without.",
			"container", "direction"),
		observed: counterOf("observed_seconds_total",
			"Time in which the container's packets were traced: with a budget hooks are attached for part of the time.",
			"container"),
	}
}

// gauges are the metrics that are not counted by container's life.
type gauges struct {
	inFlight    *definition
	unpredicted *definition
	unseen      *definition
	target      *definition
	stampCost   *definition
	stamps      *definition
	share       *definition
	missed      *definition
	ringLost    *definition
	unpathed    *definition
	targets     *definition
	scrapeTime  *definition
	engineUp    *definition
	hook        *definition
	hookLinks   *definition
	hookMissing *definition
	overhead    *definition
	attached    *definition
	budget      *definition
	state       *definition
	windows     *definition
}

func newGauges() gauges {
	return gauges{
		inFlight: gaugeOf("journeys_in_flight", "Journeys under way.", "container", "direction"),
		unpredicted: gaugeOf("unpredicted_paths",
			"Paths that packets took and that the wiring did not predict: something redirects them. Missing where there are none.",
			"container", "direction"),
		unseen: gaugeOf("unseen_ways",
			"Predicted ways whose devices counted packets and on which no journey was seen. Missing where there are none.",
			"container", "direction"),
		target: gaugeOf("target_info", "What is traced.",
			"container", "id", "image", "compose_project", "compose_service", "mode", "network"),
		stampCost:  gaugeOf("stamp_cost_seconds", "Median time of a stamp in place, by type of hook: subtract it from a hop's quantile.", "type"),
		stamps:     counterOf("stamps_total", "Stamps taken."),
		share:      gaugeOf("overhead_ratio", "Time spent on stamps, of one CPU's, since the start; vethtrace_overhead_seconds_total has it for any time."),
		missed:     counterOf("recursion_misses_total", "Program runs that the kernel has left out."),
		ringLost:   counterOf("records_lost_total", "Slow or sampled journeys that found the ring buffer full."),
		unpathed:   counterOf("unpathed_total", "Completed journeys whose path had no room in the table: counted, not in a histogram."),
		targets:    gaugeOf("targets", "Containers, processes and namespaces that are traced now."),
		scrapeTime: gaugeOf("scrape_duration_seconds", "Time that collecting these metrics took."),
		hook: gaugeOf("hook_attached", "Whether a hook is attached now: 1, or 0. Null hops come and go under load; with a budget all hooks do.",
			"hook", "provider"),
		hookLinks:   gaugeOf("hook_links", "In how many places a hook is attached now: devices, namespaces by family, or the machine.", "hook", "provider"),
		hookMissing: gaugeOf("hook_missing", "A hook that this kernel does not offer by any provider: always 1; there is none where all hooks work.", "hook"),
		overhead: counterOf("overhead_seconds_total",
			"CPU time spent on stamps; with a budget, on all runs of the programs."),
		attached: counterOf("attached_seconds_total",
			"Time in which journeys could start: all of it without a budget, with one while its hooks are attached."),
		budget: gaugeOf("budget_ratio", "What tracing may cost, of one CPU's time: --max-overhead. Not there without a budget."),
		state: gaugeOf("budget_state",
			"What the budget's hooks do, 1 for what is so now: attached, detached (to save up), over (what stays attached alone costs more), ended.",
			"state"),
		windows:  counterOf("budget_windows_total", "Times that the budget's hooks were attached."),
		engineUp: gaugeOf("engine_up", "Whether the engine answers: 1, or 0 while starts and stops are not noticed."),
	}
}

func (g gauges) all() []*definition {
	return []*definition{
		g.inFlight, g.unpredicted, g.unseen, g.target, g.stampCost, g.stamps, g.share, g.missed, g.ringLost, g.unpathed,
		g.targets, g.scrapeTime, g.engineUp, g.hook, g.hookLinks, g.hookMissing,
		g.overhead, g.attached, g.budget, g.state, g.windows,
	}
}
