// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// The layers of a graph, from the wire to the container.
const (
	layerUplink = iota
	layerBridge
	layerPort
	layerDevice
	layerTarget
	layers
)

// vertex is a thing of the wiring. Its lines are escaped for people, not yet for
// a language.
type vertex struct {
	layer int
	lines []string // the first one is its name
}

// edge leads from one vertex to another, by their numbers.
type edge struct {
	from, to int
	label    string
}

type graph struct {
	vertices []vertex
	edges    []edge
}

func (g *graph) vertex(layer int, lines ...string) int {
	var kept []string
	for _, l := range lines {
		if l != "" {
			kept = append(kept, l)
		}
	}
	g.vertices = append(g.vertices, vertex{layer, kept})
	return len(g.vertices) - 1
}

func (g *graph) edge(from, to int, label string) { g.edges = append(g.edges, edge{from, to, label}) }

// graphOf makes the graph of a document.
func graphOf(d wiring.Document) graph {
	var g graph
	uplinks, bridges := map[int]int{}, map[string]int{}
	for _, u := range d.Uplinks {
		uplinks[u.Index] = g.vertex(layerUplink, "uplink "+end(u), addrs(u), fmt.Sprintf("index %d, mtu %d", u.Index, u.MTU))
	}
	for _, b := range d.Bridges {
		network := ""
		if b.Network != nil {
			network = "network " + page.Escape(b.Network.Name)
		}
		at := g.vertex(layerBridge, "bridge "+end(b.Device), addrs(b.Device), fmt.Sprintf("index %d, mtu %d", b.Device.Index, b.Device.MTU), network)
		bridges[b.Device.Name] = at
		for _, u := range d.Uplinks {
			g.edge(uplinks[u.Index], at, "rules, routing")
		}
	}
	for _, t := range d.Targets {
		g.target(t, uplinks, bridges)
	}
	return g
}

func addrs(d wiring.Device) string { return page.Escape(strings.Join(d.Addrs, " ")) }

func (g *graph) target(t wiring.Target, uplinks map[int]int, bridges map[string]int) {
	lines := []string{page.Escape(t.Name) + " (" + page.Escape(t.Mode) + ")", fmt.Sprintf("net:[%d]", t.Netns)}
	if t.PID != 0 {
		lines[1] += fmt.Sprintf(", pid %d", t.PID)
	}
	for _, p := range t.Published {
		lines = append(lines, fmt.Sprintf("%s -> %d/%s", p.Host, p.Container, page.Escape(p.Protocol)))
	}
	for _, s := range t.Listens {
		lines = append(lines, "listens "+socket(s))
	}
	to := g.vertex(layerTarget, lines...)
	if len(t.Interfaces) == 0 && t.Mode == "host" {
		for _, at := range uplinks {
			g.edge(at, to, "host mode: no bridge, no veth, no NAT")
		}
	}
	for _, in := range t.Interfaces {
		dev := g.vertex(layerDevice, end(in.Device), addrs(in.Device), in.Device.MAC, fmt.Sprintf("index %d, mtu %d", in.Device.Index, in.Device.MTU))
		g.edge(dev, to, "")
		if in.Lower != nil {
			if at, ok := uplinks[in.Lower.Index]; ok {
				g.edge(at, dev, strings.TrimSpace(in.Device.Kind+" "+in.Device.Mode))
			}
		}
		if in.Peer == nil {
			continue
		}
		port := g.vertex(layerPort, end(*in.Peer), fmt.Sprintf("index %d, mtu %d", in.Peer.Index, in.Peer.MTU))
		g.edge(port, dev, "veth pair")
		if at, ok := bridges[in.Bridge]; ok {
			g.edge(at, port, "port")
			continue
		}
		for _, at := range uplinks {
			g.edge(at, port, "rules, routing")
		}
	}
}

// Dot writes the graph in the language of Graphviz.
func Dot(w io.Writer, d wiring.Document) error {
	g := graphOf(d)
	b := bufio.NewWriter(w)
	b.WriteString("digraph topology {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"monospace\"];\n\tedge [dir=none, fontname=\"monospace\"];\n")
	for i, v := range g.vertices {
		fmt.Fprintf(b, "\tn%d [label=\"%s\"];\n", i, quoteDot(strings.Join(v.lines, "\n")))
	}
	for _, e := range g.edges {
		fmt.Fprintf(b, "\tn%d -> n%d [label=\"%s\"];\n", e.from, e.to, quoteDot(e.label))
	}
	for layer := range layers {
		var same []string
		for i, v := range g.vertices {
			if v.layer == layer {
				same = append(same, fmt.Sprintf("n%d;", i))
			}
		}
		if len(same) > 1 {
			fmt.Fprintf(b, "\t{ rank=same; %s }\n", strings.Join(same, " "))
		}
	}
	b.WriteString("}\n")
	return flush(b)
}

// quoteDot makes text safe within a double-quoted string; its lines are set left.
func quoteDot(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\l`).Replace(s)
}

// Mermaid writes the graph in the language of mermaid, as GitHub draws it.
func Mermaid(w io.Writer, d wiring.Document) error {
	g := graphOf(d)
	b := bufio.NewWriter(w)
	b.WriteString("flowchart LR\n")
	for i, v := range g.vertices {
		lines := make([]string, len(v.lines))
		for j, l := range v.lines {
			lines[j] = quoteMermaid(l)
		}
		fmt.Fprintf(b, "    n%d[\"%s\"]\n", i, strings.Join(lines, "<br>"))
	}
	for _, e := range g.edges {
		if e.label == "" {
			fmt.Fprintf(b, "    n%d --- n%d\n", e.from, e.to)
			continue
		}
		fmt.Fprintf(b, "    n%d ---|\"%s\"| n%d\n", e.from, quoteMermaid(e.label), e.to)
	}
	return flush(b)
}

// quoteMermaid writes as numbers what means something in mermaid or in HTML.
func quoteMermaid(s string) string {
	var out strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\"<>&#`\\;|{}*_[]", r) {
			fmt.Fprintf(&out, "#%d;", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func flush(b *bufio.Writer) error {
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write topology: %w", err)
	}
	return nil
}
