// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
)

// layerClass is the style of a layer: its colour in every plot. The pieces of a
// netfilter hook, at detail tables, have their hook's.
func layerClass(layer string) string {
	if hook, ok := strings.CutPrefix(layer, "netfilter/"); ok {
		hook, _, _ = strings.Cut(hook, "/")
		switch hook {
		case "prerouting", "forward", "postrouting":
			return "l-" + hook
		}
		return "l-netfilter"
	}
	switch layer {
	case "routing", "forwarding", "bridge", "veth", "softirq", "container", "socket", "loopback":
		return "l-" + layer
	case "confirm+neighbour":
		return "l-postrouting"
	}
	return "l-device"
}

// layerWord is short enough for a piece of a bar.
func layerWord(layer string) string {
	layer = strings.TrimPrefix(layer, "netfilter/")
	if hook, table, ok := strings.Cut(layer, "/"); ok && hook != "" {
		layer = table
	}
	return strings.ToUpper(layer[:min(1, len(layer))]) + layer[min(1, len(layer)):]
}

// legend is the layers of a plot, each once, in order of appearance.
type legend struct {
	names []string
	seen  map[string]bool
}

func (l *legend) add(layer string) {
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	if !l.seen[layer] {
		l.seen[layer] = true
		l.names = append(l.names, layer)
	}
}

func (l *legend) draw(d *drawing) {
	d.open("p", "class", "legend")
	for _, name := range l.names {
		d.open("span")
		d.mark("i", "class", layerClass(name))
		d.text("span", name)
		d.close("span")
	}
	d.close("p")
}
