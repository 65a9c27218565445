package grafana

import (
	"fmt"
	"strings"
)

// The metrics that are histograms, without the namespace.
const (
	hopLatency  = "hop_latency_seconds"
	pathLatency = "path_latency_seconds"
	waiting     = "waiting_seconds"
	proxyTime   = "proxy_seconds"
)

// Matchers of what the variables choose.
const (
	ofHost      = `instance=~"$host"`
	ofContainer = ofHost + `, container=~"$container"`
)

// What lets one of two variants answer: the variable is 1 for native, 0 for classic.
const (
	ifNative  = ` and on () (vector($histograms) == 1)`
	ifClassic = ` and on () (vector($histograms) == 0)`
)

// query is one line, or set of lines, of a panel.
type query struct {
	plain           string // PromQL; or both of these
	native, classic string
	legend          string
	exemplars       bool // with slow journeys as points, which lead to /journeys
}

// marked asks for exemplars too: by one query of a panel, as all have the same.
func (q query) marked() query {
	q.exemplars = true
	return q
}

// plain asks for metrics that are no histograms.
func plain(legend, format string, args ...any) query {
	return query{plain: fmt.Sprintf(format, args...), legend: legend}
}

// both makes a query of two variants.
func both(legend, native, classic string) query {
	return query{native: native + ifNative, classic: classic + ifClassic, legend: legend}
}

// minus is the difference of two queries with the labels alike.
func minus(legend string, a, b latency, q float64) query {
	return both(legend,
		"("+a.quantileNative(q)+") - ("+b.quantileNative(q)+")",
		"("+a.quantileClassic(q)+") - ("+b.quantileClassic(q)+")")
}

// latency is a histogram, of which series, by which labels.
type latency struct {
	metric   string // without the namespace
	matchers string
	by       string // labels, separated by commas; may be empty
	mode     string // matchers on the target's mode; may be empty
}

// rate is that of one of the metric's series over the panel's interval.
func (l latency) rate(suffix string) string {
	r := fmt.Sprintf("rate(vethtrace_%s%s{%s}[$__rate_interval])", l.metric, suffix, l.matchers)
	if l.mode == "" {
		return r
	}
	return fmt.Sprintf("%s and on (instance, container) vethtrace_target_info{%s, %s}", r, ofHost, l.mode)
}

func (l latency) sum(suffix string, more ...string) string {
	by := more
	if l.by != "" {
		by = append(by, l.by)
	}
	return fmt.Sprintf("sum by (%s) (%s)", strings.Join(by, ", "), l.rate(suffix))
}

func (l latency) quantileNative(q float64) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, l.sum(""))
}

func (l latency) quantileClassic(q float64) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, l.sum("_bucket", "le"))
}

// quantile of the time of packets.
func (l latency) quantile(legend string, q float64) query {
	return both(legend, l.quantileNative(q), l.quantileClassic(q))
}

// worst are the n highest quantiles.
func (l latency) worst(legend string, n int, q float64) query {
	return both(legend,
		fmt.Sprintf("topk(%d, %s)", n, l.quantileNative(q)), fmt.Sprintf("topk(%d, %s)", n, l.quantileClassic(q)))
}

// buckets are those of a heat map.
func (l latency) buckets() query {
	return both("{{le}}", l.sum(""), l.sum("_bucket", "le"))
}

// share is how much of the mean of all packets of whole is spent here: shares
// can be stacked, which quantiles cannot.
func (l latency) share(legend string, whole latency) query {
	return both(legend, l.shareNative(whole), l.shareClassic(whole))
}

func (l latency) shareNative(whole latency) string {
	return fmt.Sprintf("histogram_sum(%s) / on () group_left () histogram_count(%s)", l.sum(""), whole.sum(""))
}

func (l latency) shareClassic(whole latency) string {
	return fmt.Sprintf("%s / on () group_left () %s", l.sum("_sum"), whole.sum("_count"))
}

// minusShare is the difference of two shares: of what only one has, all of it.
// Where one of them has nothing at all there is no difference.
func minusShare(legend string, a, wholeA, b, wholeB latency) query {
	minus := func(a, b string) string {
		return fmt.Sprintf("(((%[1]s) - (%[2]s)) or (%[1]s) or (0 - (%[2]s))) and on () (%[1]s) and on () (%[2]s)", a, b)
	}
	return both(legend,
		minus(a.shareNative(wholeA), b.shareNative(wholeB)), minus(a.shareClassic(wholeA), b.shareClassic(wholeB)))
}

// perSecond is how many packets of the histogram there are.
func (l latency) perSecond(legend string) query {
	return both(legend, fmt.Sprintf("histogram_count(%s)", l.sum("")), l.sum("_count"))
}

// observedRate is a counter's rate in the time in which its container was
// traced: with a budget that is part of all time.
func observedRate(metric, matchers, by string) string {
	return fmt.Sprintf("sum by (%s) (rate(vethtrace_%s{%s}[$__rate_interval])"+
		" / on (instance, container) group_left () (rate(vethtrace_observed_seconds_total{%s}[$__rate_interval]) > 0))",
		by, metric, matchers, ofContainer)
}
