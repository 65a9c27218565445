// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"html/template"
	"strings"

	"github.com/vethtrace/vethtrace/tracer"
)

// The measures of a drawn path, in pixels.
const (
	chainWidth  = 272
	chainNode   = 24 // height of a place
	chainEdge   = 32 // of a hop between two places
	chainMargin = 22 // of a frame's title
)

// place is where a packet is stamped.
type place struct {
	name   string
	device bool // else within a stack
	frame  string
}

// chain draws one path: places from top to bottom within the namespaces that
// they are of, and the median of the hop on each edge.
func chain(s *side, direction tracer.Direction) template.HTML {
	p := s.paths[direction]
	if p == nil {
		return ""
	}
	places := placesOf(s, p)
	height := chainMargin
	tops := make([]int, len(places))
	for i, at := range places {
		if i > 0 {
			height += chainEdge
			if places[i-1].frame != at.frame {
				height += chainMargin
			}
		}
		tops[i] = height
		height += chainNode
	}
	height += 8
	var d drawing
	d.open("svg", "class", "chain", "width", pixels(chainWidth), "height", pixels(float64(height)), "role", "img",
		"aria-label", "path of "+s.title+", "+directionTitle(direction))
	frames(&d, places, tops)
	for i, h := range p.Hops {
		edge(&d, s, direction, i, h, tops)
	}
	for i, at := range places {
		at.draw(&d, tops[i])
	}
	d.close("svg")
	return d.html()
}

// frames draws the namespaces behind the places of each.
func frames(d *drawing, places []place, tops []int) {
	for from := 0; from < len(places); {
		to := from
		for to+1 < len(places) && places[to+1].frame == places[from].frame {
			to++
		}
		d.mark("rect", "class", "frame", "x", "1", "width", pixels(chainWidth-2), "rx", "6",
			"y", pixels(float64(tops[from]-chainMargin+2)), "height", pixels(float64(tops[to]-tops[from]+chainNode+chainMargin+3)))
		d.text("text", places[from].frame, "class", "frame", "x", pixels(chainWidth-10), "text-anchor", "end", "y", pixels(float64(tops[from]-6)))
		from = to + 1
	}
}

// edge is a hop between two places, as thick as nothing but its colour: its
// length says nothing, its figure does.
func edge(d *drawing, s *side, direction tracer.Direction, i int, h tracer.Hop, tops []int) {
	const x = 34
	sum, key := s.summary(h.Latency)
	from, to := float64(tops[i]+chainNode), float64(tops[i+1])
	middle := pixels((from+to)/2 + 4)
	if to-from > chainEdge { // between two namespaces: what is written stands between their frames
		middle = pixels(from + chainMargin)
	}
	d.open("g", "class", "mark edge "+layerClass(s.layer(direction, h.Name)),
		"data-tip", h.Name+", from "+h.From+" to "+h.To+": median "+quantileText(sum.P50Ns)+", p99 "+quantileText(sum.P99Ns))
	d.mark("line", "x1", pixels(x), "x2", pixels(x), "y1", pixels(from), "y2", pixels(to-6))
	d.mark("path", "d", "M"+pixels(x-5)+" "+pixels(to-8)+"h10l-5 8z")
	d.text("text", h.Name, "x", pixels(x+14), "y", middle)
	at := s.pathAt[direction] + "/hops/" + pixels(float64(i)) + "/latency/" + key + "/p50_ns"
	attributes := []string{"x", pixels(chainWidth - 10), "y", middle, "text-anchor", "end", "class", "median"}
	if sum.P50Ns != nil {
		attributes = append(attributes, "data-ns", exact(*sum.P50Ns), "data-at", at)
	}
	d.text("text", quantileText(sum.P50Ns), attributes...)
	d.close("g")
}

func (p place) draw(d *drawing, top int) {
	y := float64(top)
	if !p.device {
		d.mark("circle", "class", "stamp", "cx", "34", "cy", pixels(y+chainNode/2), "r", "4")
		d.text("text", p.name, "class", "stamp", "x", "48", "y", pixels(y+chainNode/2+4))
		return
	}
	d.mark("rect", "class", "device", "x", "14", "y", pixels(y), "width", pixels(chainWidth-28), "height", pixels(chainNode), "rx", "4")
	d.text("text", p.name, "class", "device", "x", pixels(chainWidth/2), "y", pixels(y+chainNode/2+4), "text-anchor", "middle")
}

// placesOf are one more than the hops. A veth is of the side that sends, so what
// follows it lies on the other side.
func placesOf(s *side, p *tracer.Path) []place {
	own := "container " + s.target.Name
	if s.target.Mode == "host" {
		own = "host"
	}
	frame := func(side tracer.Side) string {
		if side == tracer.SideTarget {
			return own
		}
		return "host"
	}
	var places []place
	for i, h := range p.Hops {
		if i == 0 {
			places = append(places, start(p, h, frame(h.Side)))
		}
		at := h.Side
		if h.Name == "veth" {
			at = tracer.SideTarget - at
		}
		places = append(places, stamped(h.To, h.Device, frame(at)))
	}
	last := &places[len(places)-1]
	if p.Direction == tracer.Ingress && !last.device {
		last.name, last.device = "socket", true
	}
	return places
}

// start is where a path begins: at a socket, or at a device of the peer.
func start(p *tracer.Path, h tracer.Hop, frame string) place {
	if strings.Contains(h.From, "output/") {
		return place{name: "socket", device: true, frame: frame}
	}
	name, _, _ := strings.Cut(h.From, "/")
	if peer, ok := strings.CutPrefix(p.Peer, "container:"); ok {
		name = peer // the veth of another container
	}
	return place{name: name, device: true, frame: frame}
}

// stamped is a place by the hook that stamps there: netfilter hooks lie within a
// stack, all others at a device.
func stamped(hook, device, frame string) place {
	for _, within := range []string{"prerouting/", "input/", "forward/", "output/", "postrouting/"} {
		if i := strings.Index(hook, within); i >= 0 {
			return place{name: strings.TrimPrefix(hook[i:], "netfilter/"), frame: frame}
		}
	}
	if device == "" || hook == "netif_rx" {
		return place{name: strings.TrimSpace(hook + " " + device), frame: frame}
	}
	return place{name: cmp.Or(device, hook), device: true, frame: frame}
}
