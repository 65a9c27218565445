// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/vethtrace/vethtrace/internal/refbench"
	"github.com/vethtrace/vethtrace/internal/result"
)

//go:embed page.md.tmpl
var pageText string

// page writes the stored result out, with what is said of it by hand.
func (s stored) page() ([]byte, error) {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("read the page's template: %w", err)
	}
	published := find(s.Four, "tcp_rr", refbench.WayPublished)
	six := find(s.Six, "tcp_rr", refbench.WayPublished)
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"S": s, "Four": clients(s.Four), "Six": clients(s.Six), "Words": words(s.Four), "WordsSix": words(s.Six), "Layers": layers(published), "LayersSix": layers(six),
		"Rounds": published.Rounds, "Parts": groups(published), "Here": here(published),
	})
	if err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return b.Bytes(), nil
}

// find is the measurement of a way under a load; an empty one where it was left out.
func find(all []measurement, load, way string) measurement {
	i := slices.IndexFunc(all, func(m measurement) bool { return m.Load == load && m.Way == way })
	if i < 0 {
		return measurement{Load: load, Way: way}
	}
	return all[i]
}

// wayTitle is short enough for a table.
func wayTitle(way string) string {
	switch way {
	case refbench.WayPublished:
		return "published port (DNAT)"
	case refbench.WayAddress:
		return "container's address"
	case refbench.WayNetwork:
		return "user-defined bridge, published"
	case refbench.WayContainer:
		return "container to container"
	case refbench.WayProxy:
		return "docker-proxy, from the host itself"
	}
	return way
}

// clients is the table of what clients wait longer.
func clients(all []measurement) string {
	var b strings.Builder
	b.WriteString("| load | way | host mode | longer by | | of it in the hops | docker-proxy | not seen | explained share |\n|---|---|---|---|---|---|---|---|---|\n")
	last := ""
	for _, m := range all {
		e := m.Explained
		if e == nil || e.Base == nil || e.Client == nil {
			continue
		}
		load := m.LoadTitle
		if load == last {
			load = ""
		}
		last = m.LoadTitle
		proxy, rest := "", "-"
		for _, p := range e.Parts {
			if p.Name == "docker-proxy" {
				proxy = interval(&p.Mean)
			}
		}
		if e.NotSeen != nil {
			rest = interval(&e.NotSeen.Mean)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %+.0f%% | %s | %s | %s | %s |\n", load, wayTitle(m.Way), micros(e.Base.Ns),
			interval(e.Client), e.Client.Ns/e.Base.Ns*100, interval(e.Hops), proxy, rest, share(m.Share))
	}
	return b.String()
}

// reasons say why a layer costs what it costs.
func reasons() map[string]string {
	return map[string]string{
		"netfilter/forward":     "the filter table's rules, one after the other: DOCKER-USER, isolation, the bridge's rules",
		"routing":               "a route lookup and ip_forward in each direction; host mode has an early-demuxed socket instead",
		"netfilter/prerouting":  "conntrack and DNAT; on the way out br_netfilter calls it from inside the bridge once more",
		"bridge":                "forwarding database, port checks",
		"softirq":               "each crossing of the veth queues the packet for another softirq turn",
		"veth":                  "veth_xmit and scrubbing",
		"netfilter/postrouting": "MASQUERADE's chain, neighbour lookup",
		"container":             "the container's namespace has no rules, the host's has",
		"socket":                "from the end of LOCAL_IN to data ready: TCP or UDP itself",
	}
}

// layers is the table of where the difference is, the most first.
func layers(m measurement) string {
	all := slices.Clone(m.Layers)
	slices.SortStableFunc(all, func(a, b result.Layer) int { return int(size(b) - size(a)) })
	var b strings.Builder
	b.WriteString("| layer | bridge | host | difference | share | why |\n|---|---|---|---|---|---|\n")
	for _, l := range all {
		part := "-"
		if l.Share != nil {
			part = percent(l.Share.Share)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", l.Layer, cell(l.Of), cell(l.Against), interval(l.Mean), part, reasons()[l.Layer])
	}
	return b.String()
}

func size(l result.Layer) float64 {
	if l.Mean == nil {
		return 0
	}
	return l.Mean.Ns
}

// groups says what the layers are together; "" where they have no shares.
func groups(m measurement) string {
	if !slices.ContainsFunc(m.Layers, func(l result.Layer) bool { return l.Share != nil }) {
		return ""
	}
	var netfilter, spaces, routing float64
	for _, l := range m.Layers {
		if l.Share == nil {
			continue
		}
		switch {
		case strings.HasPrefix(l.Layer, "netfilter/"):
			netfilter += l.Share.Share
		case l.Layer == "bridge", l.Layer == "veth", l.Layer == "softirq":
			spaces += l.Share.Share
		case l.Layer == "routing":
			routing += l.Share.Share
		}
	}
	return fmt.Sprintf("Netfilter is %.0f%% of it, two namespaces (bridge, veth, softirq) %.0f%%, routing %.0f%%.", netfilter*100, spaces*100, routing*100)
}

// here is the row beside those of others.
func here(m measurement) string {
	if m.Explained == nil || m.Explained.Base == nil || m.Explained.Client == nil {
		return "| - | - |"
	}
	base := m.Explained.Base.Ns
	return fmt.Sprintf("| %s | %s |", micros(base+m.Explained.Client.Ns), micros(base))
}

// cell is empty where a side has no such hop.
func cell(ns float64) string {
	if ns == 0 {
		return ""
	}
	return micros(ns)
}

// micros are three digits of microseconds.
func micros(ns float64) string {
	us := ns / 1000
	switch {
	case us >= 100 || us <= -100:
		return strconv.FormatFloat(us, 'f', 0, 64)
	case us >= 10 || us <= -10:
		return strconv.FormatFloat(us, 'f', 1, 64)
	}
	return strconv.FormatFloat(us, 'f', 2, 64)
}

func interval(e *result.Estimate) string {
	if e == nil {
		return "-"
	}
	return fmt.Sprintf("%s [%s, %s]", micros(e.Ns), micros(e.Lo), micros(e.Hi))
}

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + "%" }

func share(s *result.Share) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%s [%.1f, %.1f]", percent(s.Share), s.Lo*100, s.Hi*100)
}
