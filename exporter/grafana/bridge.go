package grafana

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Matchers on a target's mode.
const (
	hostMode   = `mode="host"`
	bridgeMode = `mode=~"$network", mode!="host"`
)

// established are packets of whole ways: the first ones of a connection take longer, and would hide differences.
const established = ofContainer + `, flow="established"`

// bridgeVersusHost is the headline: what a bridge adds over host mode.
func bridgeVersusHost() *dashboard.DashboardBuilder {
	b := newDashboard(bridgeUID, "vethtrace / Bridge vs host",
		"How long packets take to containers behind a bridge and to those in host mode, and where the difference comes from.",
		labelValues("network", "Bridge networks", "The networks that are compared with host mode.",
			`vethtrace_target_info{instance=~"$host", mode!~"host|netns|none"}`, "mode"),
		hopVariable())
	layOut(b, []section{
		{"Latency by mode", latencyByMode()},
		{"Where the time goes", append(stackedHops("ingress"), stackedHops("egress")...)},
		{"Each hop", []panel{{
			kind: heat, title: "$hop", unit: seconds, width: gridWidth, repeat: "hop",
			description: "How packets of the chosen containers spread over the times that this hop takes. Brighter: more packets.",
			queries:     []query{latency{metric: hopLatency, matchers: ofContainer + `, hop=~"$hop"`}.buckets()},
		}}},
	})
	return b
}

func latencyByMode() []panel {
	var all []panel
	for _, q := range []struct {
		title string
		q     float64
	}{{"median", 0.5}, {"99th percentile", 0.99}} {
		at := func(mode string) latency {
			return latency{metric: pathLatency, matchers: established, by: "direction", mode: mode}
		}
		all = append(all, panel{
			title: "Path latency, " + q.title, unit: seconds, width: 12,
			description: "Time from the first hook to the last, over all chosen containers of a mode; established connections only.",
			queries:     []query{at(bridgeMode).quantile("bridge {{direction}}", q.q), at(hostMode).quantile("host {{direction}}", q.q)},
		}, panel{
			title: "Bridge minus host, " + q.title, unit: seconds, width: 12,
			description: "How much longer packets take through a bridge than in host mode. Below zero: bridge mode was faster.",
			queries:     []query{minus("{{direction}}", at(bridgeMode), at(hostMode), q.q)},
		})
	}
	return all
}

func stackedHops(direction string) []panel {
	matchers := fmt.Sprintf(`%s, direction=%q`, ofContainer, direction)
	of := func(mode string) (hops, paths latency) {
		return latency{metric: hopLatency, matchers: matchers, by: "side, hop", mode: mode},
			latency{metric: pathLatency, matchers: matchers, mode: mode}
	}
	var all []panel
	for _, m := range []struct{ name, mode string }{{"Bridge", bridgeMode}, {"Host", hostMode}} {
		hops, paths := of(m.mode)
		all = append(all, panel{
			kind: stacked, title: fmt.Sprintf("%s mode, %s: mean time by hop", m.name, direction), unit: seconds, width: 12,
			description: "Mean time of a packet, divided into its hops: they add up to the mean of the path. Side is where a hop ends. Each of the two panels has a scale of its own.",
			queries:     []query{hops.share("{{side}} {{hop}}", paths)},
		})
	}
	bridgeHops, bridgePaths := of(bridgeMode)
	hostHops, hostPaths := of(hostMode)
	return append(all, panel{
		title: fmt.Sprintf("Bridge minus host, %s: mean time by hop", direction), unit: seconds, width: gridWidth,
		description: "What each hop adds to the mean of a bridge's path: all of a hop that host mode has not, the difference of one that both have. Below zero: host mode spends more there.",
		queries:     []query{minusShare("{{side}} {{hop}}", bridgeHops, bridgePaths, hostHops, hostPaths)},
	})
}
