package grafana

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

const most = 10 // lines of a "worst" panel

// fleet shows all hosts: where to look first, and what tracing costs.
func fleet() *dashboard.DashboardBuilder {
	b := newDashboard(fleetUID, "vethtrace / Fleet",
		"All hosts: the worst containers and machines, drops, and what tracing costs.")
	layOut(b, []section{
		{"State", fleetState()},
		{"Worst first", worstFirst()},
		{"Tracing", tracingCost()},
	})
	return b
}

func fleetState() []panel {
	one := func(title, description, unit, format string, args ...any) panel {
		return panel{
			kind: figure, title: title, description: description, unit: unit, width: 6,
			queries: []query{plain(title, format, args...)},
		}
	}
	return []panel{
		one("Hosts", "Exporters that answered the last scrape.", plainNumber, "count(vethtrace_targets{%s})", ofHost),
		one("Containers", "Containers, processes and namespaces that are traced now.", plainNumber, "sum(vethtrace_targets{%s})", ofHost),
		one("Packets", "Packets that completed their path, all containers.", perSecond,
			"sum(rate(vethtrace_packets_total{%s, outcome=\"completed\"}[$__rate_interval]))", ofContainer),
		one("Engines that do not answer", "Hosts whose container engine is away: starts and stops go unnoticed there.", plainNumber,
			"count(vethtrace_engine_up{%s}) - sum(vethtrace_engine_up{%s})", ofHost, ofHost),
	}
}

func worstFirst() []panel {
	containers := latency{metric: pathLatency, matchers: ofContainer, by: "instance, container, direction"}
	hosts := latency{metric: pathLatency, matchers: ofContainer, by: "instance"}
	hops := latency{metric: hopLatency, matchers: ofContainer, by: "instance, side, hop"}
	proxied := latency{metric: pathLatency, matchers: ofContainer + `, peer="proxy"`, by: "instance, container"}
	return []panel{
		{
			title: "Slowest containers, 99th percentile", unit: seconds, width: 12,
			description: "The ten containers whose slowest packets take longest.",
			queries:     []query{containers.worst("{{instance}} {{container}} {{direction}}", most, 0.99)},
		},
		{
			title: "Slowest hosts, 99th percentile", unit: seconds, width: 12,
			description: "The ten machines whose containers' slowest packets take longest.",
			queries:     []query{hosts.worst("{{instance}}", most, 0.99)},
		},
		{
			title: "Slowest hops, 99th percentile", unit: seconds, width: 12,
			description: "The ten hops of a machine that take longest.",
			queries:     []query{hops.worst("{{instance}} {{side}} {{hop}}", most, 0.99)},
		},
		{
			title: "Most drops", unit: perSecond, width: 12,
			description: "The ten containers, hops and reasons with most packets dropped by the kernel.",
			queries: []query{plain("{{instance}} {{container}} {{hop}} {{reason}}", "topk(%d, %s)", most,
				observedRate("drops_total", ofContainer, "instance, container, hop, reason"))},
		},
		{
			title: "Through docker-proxy", unit: perSecond, width: 24,
			description: "Packets that reach a container by way of docker-proxy: two connections in place of one, and a process between them.",
			queries:     []query{proxied.perSecond("{{instance}} {{container}}")},
		},
	}
}

// overhead is what tracing costs beside what it may.
func overhead() panel {
	return panel{
		title: "Overhead", unit: percentage, width: gridWidth / 3,
		description: "CPU time that tracing takes on a host, of one CPU, and the budget that it has (--max-overhead).",
		queries: []query{
			plain("{{instance}}", "sum by (instance) (rate(vethtrace_overhead_seconds_total{%s}[$__rate_interval]))", ofHost),
			plain("{{instance}} budget", "max by (instance) (vethtrace_budget_ratio{%s})", ofHost),
		},
	}
}

// third makes a panel narrow enough for three beside each other.
func third(p panel) panel {
	p.width = gridWidth / 3
	return p
}

func tracingCost() []panel {
	at := func(title, description, unit, legend, format string, args ...any) panel {
		return panel{
			title: title, description: description, unit: unit, width: 12,
			queries: []query{plain(legend, format, args...)},
		}
	}
	lost := at("Gaps in tracing", "What tracing missed: journeys evicted, expired or cut, programs left out by the kernel, slow journeys and paths without room.",
		perSecond, "{{instance}} {{outcome}}",
		`sum by (instance, outcome) (rate(vethtrace_packets_total{%s, outcome=~"evicted|expired|cut"}[$__rate_interval]))`, ofContainer)
	for _, one := range []struct{ metric, name string }{
		{"recursion_misses_total", "recursion misses"},
		{"records_lost_total", "records lost"},
		{"unpathed_total", "without a path"},
	} {
		lost.queries = append(lost.queries, plain("{{instance}} "+one.name,
			"sum by (instance) (rate(vethtrace_%s{%s}[$__rate_interval]))", one.metric, ofHost))
	}
	return []panel{
		overhead(),
		third(at("Time with hooks attached", "Share of all time in which journeys could start. With a budget hooks are attached only as long as it lasts; busy hosts are traced for less of the time.",
			percentage, "{{instance}}", "sum by (instance) (rate(vethtrace_attached_seconds_total{%s}[$__rate_interval]))", ofHost)),
		third(at("Hosts by state of their budget", "Attached and detached take turns. Over: what stays attached alone costs more than the budget, and nothing is traced.",
			plainNumber, "{{state}}", "sum by (state) (vethtrace_budget_state{%s})", ofHost)),
		at("Windows", "Times that the budget's hooks are attached.", perSecond, "{{instance}}",
			"sum by (instance) (rate(vethtrace_budget_windows_total{%s}[$__rate_interval]))", ofHost),
		at("Cost of a stamp", "Median time of a stamp in place: subtract it from a hop's quantile.", seconds, "{{type}}",
			"avg by (type) (vethtrace_stamp_cost_seconds{%s})", ofHost),
		at("Stamps", "Stamps taken.", perSecond, "{{instance}}", "sum by (instance) (rate(vethtrace_stamps_total{%s}[$__rate_interval]))", ofHost),
		lost,
		at("Hooks attached", "Places in which hooks are attached, by provider.", plainNumber, "{{instance}} {{provider}}",
			"sum by (instance, provider) (vethtrace_hook_links{%s})", ofHost),
		at("Time of a scrape", "Time that collecting the metrics takes on the host.", seconds, "{{instance}}",
			"max by (instance) (vethtrace_scrape_duration_seconds{%s})", ofHost),
	}
}
