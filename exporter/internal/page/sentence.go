package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// Sentence says a target's figures in words:
//
//	nginx: the network path takes 21 µs (p99 64 µs) in, 18 µs (p99 50 µs) out;
//	packets then wait 1.8 ms for the application; 37 dropped in netfilter/forward
//
// The figures are medians over all packets of established flows (of new ones,
// where there are no others) with the uplink, or with any peer where no packet
// came that way.
func Sentence(t tracer.Target, o Options) string {
	in, inNew := o.typical(t, tracer.Ingress)
	out, outNew := o.typical(t, tracer.Egress)
	var ways []string
	if in != "" {
		ways = append(ways, in+" in"+inNew)
	}
	if out != "" {
		ways = append(ways, out+" out"+outNew)
	}
	var parts []string
	switch len(ways) {
	case 0:
		parts = append(parts, o.without(t, "", tracer.Ingress, tracer.Egress))
	case 1:
		other := tracer.Egress
		if in == "" {
			other = tracer.Ingress
		}
		parts = append(parts, "the network path takes "+ways[0]+", "+o.without(t, " "+way(other), other))
	default:
		parts = append(parts, "the network path takes "+strings.Join(ways, ", "))
	}
	if wait := o.middle(t.Waiting.Reader); wait != "" {
		parts = append(parts, "packets then wait "+wait+" for the application")
	}
	if t.Proxied != nil {
		if own := o.middle(t.Proxied.Proxy); own != "" {
			parts = append(parts, "docker-proxy answers and takes "+own)
		}
	}
	if d := dropped(t.Drops); d != "" {
		parts = append(parts, d)
	}
	return Escape(t.Name) + ": " + strings.Join(parts, "; ")
}

// without says that no packet went all the way in these directions: "no packets
// out yet", or "120 started out, none completed".
func (o Options) without(t tracer.Target, where string, ds ...tracer.Direction) string {
	yet := " yet"
	if o.Final {
		yet = ""
	}
	var started, completed uint64
	for _, d := range ds {
		started += t.Accounting[d].Started
		completed += t.Accounting[d].Completed
	}
	if started > 0 && completed == 0 {
		return Count(started) + " started" + where + ", none completed" + yet
	}
	return "no packets" + where + yet
}

// middle is the median, the mean where there are too few samples for one, and
// "" without samples.
func (o Options) middle(l tracer.Latency) string {
	switch s := o.summary(l); {
	case s.Count == 0:
		return ""
	case s.P50Ns == nil:
		return short(s.MeanNs)
	default:
		return short(*s.P50Ns)
	}
}

// Words are the lines of a target's sentence.
func Words(t tracer.Target, o Options) []string {
	return o.prose(indent, Sentence(t, o), o.styles().bold)
}

// typical is "21 µs (p99 64 µs)" for a direction, and a word on it where it
// comes from new flows. What docker-proxy answers is taken last, and only its
// leg to the target: a mix of both legs is the time of no packet.
func (o Options) typical(t tracer.Target, d tracer.Direction) (text, word string) {
	peers := []func(tracer.Path) bool{
		func(p tracer.Path) bool { return p.Peer == "uplink" },
		func(p tracer.Path) bool { return p.Peer != "proxy" },
		func(p tracer.Path) bool { return p.Leg() == 2 },
	}
	for _, isNew := range []bool{false, true} {
		for _, peer := range peers {
			l := merged(t.Paths, func(p tracer.Path) bool {
				return p.Direction == d && (p.Flow == "new") == isNew && peer(p)
			})
			if text := spread(o.summary(l), short); text != "" {
				if isNew {
					word = " (new flows)"
				}
				return text, word
			}
		}
	}
	return "", ""
}

// merged is the latency of all packets of the paths that belong, and their
// null hops weighted by packets.
func merged(paths []tracer.Path, belongs func(tracer.Path) bool) tracer.Latency {
	var l tracer.Latency
	var total float64
	for _, p := range paths {
		if !belongs(p) {
			continue
		}
		n, null := float64(p.Latency.Hist.Count()), p.Latency.Null
		l.Hist.Merge(&p.Latency.Hist)
		l.Null.Count += null.Count
		l.Null.MeanNs += n * null.MeanNs
		l.Null.MedianNs += n * null.MedianNs
		l.Null.SpreadNs += n * null.SpreadNs
		total += n
	}
	if total > 0 {
		l.Null.MeanNs /= total
		l.Null.MedianNs /= total
		l.Null.SpreadNs /= total
	}
	return l
}

// housekeeping tells drops that are nobody's loss: a bridge sends its IPv6
// multicast to each port, and Docker turns IPv6 off in containers that have no
// such address; and what is unread when a socket is closed, its peer's FIN as a
// rule. They are listed, but no part of the answer.
func housekeeping(d tracer.Drop) bool {
	return d.Reason == "IPV6DISABLED" || d.Hop == "transport" && d.Reason == "QUEUE_PURGE"
}

// dropped is "37 dropped in netfilter/forward, 2 in qdisc": the three hops
// with the most drops, the rest in one number.
func dropped(drops []tracer.Drop) string {
	counts := make(map[string]uint64)
	var hops []string
	for _, d := range drops {
		if housekeeping(d) {
			continue
		}
		if d.Count > 0 && counts[d.Hop] == 0 {
			hops = append(hops, d.Hop)
		}
		counts[d.Hop] += d.Count
	}
	slices.SortFunc(hops, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	var parts []string
	var rest uint64
	for i, h := range hops {
		if i >= 3 {
			rest += counts[h]
			continue
		}
		verb := ""
		if i == 0 {
			verb = "dropped "
		}
		parts = append(parts, fmt.Sprintf("%s %sin %s", Count(counts[h]), verb, Escape(h)))
	}
	if rest > 0 {
		parts = append(parts, Count(rest)+" elsewhere")
	}
	return strings.Join(parts, ", ")
}
