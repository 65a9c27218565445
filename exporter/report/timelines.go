// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"html/template"
	"slices"
	"strconv"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer"
)

// slowest is how many journeys of a side are drawn.
const slowest = 3

// trip is a journey and where it stands.
type trip struct {
	tracer.Journey
	at string
}

// trips are a side's journeys, the longest first.
func (s *side) trips() []trip {
	var all []trip
	for i, j := range s.snapshot.Journeys {
		if len(j.Stamps) > 1 {
			all = append(all, trip{j, fmt.Sprintf("%s/journeys/%d", s.at, i)})
		}
	}
	slices.SortStableFunc(all, func(a, b trip) int { return int(b.Latency() - a.Latency()) })
	return all[:min(slowest, len(all))]
}

// timelines draws the slowest journeys of sides from their starts, on one axis.
func timelines(sides []*side) template.HTML {
	longest := 0.0
	for _, s := range sides {
		for _, t := range s.trips() {
			longest = max(longest, float64(t.Latency()))
		}
	}
	if longest == 0 {
		return ""
	}
	a := linear(0, longest)
	var d drawing
	var names legend
	d.open("div", "class", "rows bars")
	for _, s := range sides {
		if trips := s.trips(); len(trips) > 0 {
			d.text("h5", s.heading()+" (of "+strconv.FormatUint(max(s.snapshot.Observer.Recorded, uint64(len(s.snapshot.Journeys))), 10)+" recorded)")
			for _, t := range trips {
				s.timeline(&d, t, a, &names)
			}
		}
	}
	scaleRow(&d, a)
	d.close("div")
	names.draw(&d)
	return d.html()
}

func (s *side) timeline(d *drawing, t trip, a axis, names *legend) {
	way := "in"
	if t.Direction == tracer.Egress {
		way = "out"
	}
	note := t.End() + ", sampled"
	if t.Slow {
		note = t.End() + ", slow"
	}
	rowHead(d, "", way+", "+strconv.FormatUint(uint64(t.Bytes), 10)+" bytes", note)
	d.open("svg", "class", "lane", "height", "26", "role", "img", "aria-label", "journey of "+s.title)
	a.grid(d)
	for i := 1; i < len(t.Stamps); i++ {
		stamp := t.Stamps[i]
		from, to := float64(t.Stamps[i-1].T-t.Stamps[0].T), float64(stamp.T-t.Stamps[0].T)
		layer := s.layer(t.Direction, stamp.Hop)
		names.add(layer)
		segment(d, a, from, to, layer, fmt.Sprintf("%s: %s, at %s on CPU %d (%s)",
			stamp.Hop, page.Duration(to-from), page.Duration(to), stamp.CPU, stamp.Hook))
	}
	d.close("svg")
	rowEnd(d, template.HTML(template.HTMLEscapeString(page.Duration(float64(t.Latency())))))
}

// stampTable is the table behind the timelines.
func stampTable(sides []*side) table {
	t := table{head: []string{"Target", "Journey", "Hop", "Stamped at", "CPU", "Since start", "Hop took"}, left: 4}
	for _, s := range sides {
		for _, j := range s.trips() {
			for i, stamp := range j.Stamps {
				took := template.HTML(none)
				if i > 0 {
					took = text(page.Duration(float64(stamp.T - j.Stamps[i-1].T)))
				}
				t.add(text(s.title), data(strconv.FormatUint(j.ID, 10), float64(j.ID), j.at+"/id"), text(stamp.Hop), text(stamp.Hook),
					data(strconv.Itoa(stamp.CPU), float64(stamp.CPU), fmt.Sprintf("%s/stamps/%d/cpu", j.at, i)),
					text(page.Duration(float64(stamp.T-j.Stamps[0].T))), took)
			}
		}
	}
	return t
}
