package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/vethtrace/vethtrace/exporter/grafana/internal/feed"
)

// Sizes of the page, px.
const (
	pageWidth  = 1440
	column     = pageWidth / 24
	rowOfGrid  = 30
	gap        = 6
	legendRow  = 14
	legendSize = 250
	legendRest = 90 // of the legend: what marks a line, and its value
	letter     = 6
	axis       = 66
)

// page collects the SVG of a dashboard.
type page struct {
	body   bytes.Buffer
	bottom int
	title  string
}

func newPage(title string) *page { return &page{title: title} }

func (p *page) height() int { return p.bottom + 60 }

func (p *page) html() []byte {
	return fmt.Appendf(nil, `<!doctype html><meta charset="utf-8"><title>%s</title>
<body style="margin:0;background:#111217"><svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11" fill="#ccccdc">%s</svg>`,
		html.EscapeString(p.title), pageWidth, p.height(), p.body.String())
}

// box is a place on the page.
type box struct{ x, y, w, h float64 }

func (p *page) place(at *dashboard.GridPos) box {
	p.bottom = max(p.bottom, int(at.Y+at.H)*rowOfGrid)
	return box{
		float64(at.X*column + gap/2), float64(at.Y*rowOfGrid + gap/2),
		float64(at.W*column - gap), float64(at.H*rowOfGrid - gap),
	}
}

func (p *page) text(x, y float64, anchor, text string) {
	fmt.Fprintf(&p.body, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(text))
}

func (p *page) row(title string, at *dashboard.GridPos) {
	b := p.place(at)
	p.text(b.x+4, b.y+16, "start", "▾ "+title)
}

func (p *page) panel(of *dashboard.Panel, lines []feed.Line) {
	b := p.place(of.GridPos)
	fmt.Fprintf(&p.body, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#181b1f" stroke="#2c2f36"/>`, b.x, b.y, b.w, b.h)
	p.text(b.x+8, b.y+16, "start", *of.Title)
	unit := *of.FieldConfig.Defaults.Unit
	inner := box{b.x + axis, b.y + 26, b.w - axis - 8, b.h - 44}
	switch {
	case len(lines) == 0:
		p.text(b.x+b.w/2, b.y+b.h/2, "middle", "NO DATA")
	case of.Type == "stat":
		p.figures(b, unit, lines)
	case of.Type == "heatmap":
		p.heat(inner, unit, lines)
	default:
		legend := min(legendSize, b.w*0.45)
		inner.w -= legend
		p.lines(inner, unit, int((legend-legendRest)/letter), lines, bytes.Contains(mustJSON(of), []byte(`"mode":"normal"`)))
	}
}

func (p *page) figures(b box, unit string, lines []feed.Line) {
	for i, l := range lines {
		x := b.x + b.w*(float64(i)+0.5)/float64(len(lines))
		fmt.Fprintf(&p.body, `<g font-size="22">`)
		p.text(x, b.y+70, "middle", format(last(l.Values), unit))
		fmt.Fprint(&p.body, `</g>`)
		if len(lines) > 1 {
			p.text(x, b.y+92, "middle", l.Labels[""])
		}
	}
}

func (p *page) lines(b box, unit string, letters int, lines []feed.Line, stack bool) {
	slices.SortStableFunc(lines, func(a, b feed.Line) int { return cmp.Compare(last(b.Values), last(a.Values)) })
	from, to, low, high := extent(lines)
	below := map[float64]float64{} // of a stack, by time
	if stack {
		total := map[float64]float64{}
		low, high = 0, 0
		for _, l := range lines {
			for i, v := range l.Values {
				total[l.Times[i]] += v
				high = max(high, total[l.Times[i]])
			}
		}
	}
	y := func(v float64) float64 { return b.y + b.h*(1-(v-low)/(high-low)) }
	for i := range 5 {
		v := low + (high-low)*float64(i)/4
		fmt.Fprintf(&p.body, `<path d="M%.1f %.1fh%.1f" stroke="#2c2f36"/>`, b.x, y(v), b.w)
		p.text(b.x-4, y(v)+4, "end", format(v, unit))
	}
	for n, l := range lines {
		color := fmt.Sprintf("hsl(%d,65%%,60%%)", n*47%360)
		var path bytes.Buffer
		for i, v := range l.Values {
			if math.IsNaN(v) {
				continue
			}
			if stack {
				below[l.Times[i]] += v
				v = below[l.Times[i]]
			}
			command := "L"
			if path.Len() == 0 {
				command = "M"
			}
			if stack { // a bar from the line below, for an area
				fmt.Fprintf(&p.body, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-opacity="0.5" stroke-width="%.1f"/>`,
					b.x+b.w*(l.Times[i]-from)/max(to-from, 1), y(v), y(v-l.Values[i]), color, b.w/max(to-from+1, 1))
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", command, b.x+b.w*(l.Times[i]-from)/max(to-from, 1), y(v))
		}
		fmt.Fprintf(&p.body, `<path d="%s" fill="none" stroke="%s"/>`, path.String(), color)
		if at := b.y + 8 + float64(n*legendRow); at < b.y+b.h+8 {
			fmt.Fprintf(&p.body, `<rect x="%.1f" y="%.1f" width="10" height="3" fill="%s"/>`, b.x+b.w+8, at-4, color)
			p.text(b.x+b.w+22, at, "start", shortened(l.Labels[""], letters)+"  "+format(last(l.Values), unit))
		}
	}
}

// shortened leaves out the middle of a name that is longer than there is room for.
func shortened(name string, most int) string {
	letters := []rune(name)
	if len(letters) <= most {
		return name
	}
	return string(letters[:most/3]) + "…" + string(letters[len(letters)-(most-most/3-1):])
}

func extent(lines []feed.Line) (from, to, low, high float64) {
	from, high, low = math.Inf(1), math.Inf(-1), math.Inf(1)
	for _, l := range lines {
		for i, v := range l.Values {
			from, to = min(from, l.Times[i]), max(to, l.Times[i])
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	low = min(low, 0)
	if high <= low {
		high = low + 1
	}
	return from, to, low, high
}

// cell is one of a heat map.
type cell struct{ at, top, count float64 }

func (p *page) heat(b box, unit string, lines []feed.Line) {
	cells := cellsOf(lines)
	from, to, _, _ := extent(lines)
	low, high, most := math.Inf(1), 0.0, 0.0
	for _, c := range cells {
		if c.count > 0 && !math.IsInf(c.top, 0) {
			low, high, most = min(low, c.top), max(high, c.top), max(most, c.count)
		}
	}
	if high <= low {
		p.text(b.x+b.w/2, b.y+b.h/2, "middle", "NOTHING COUNTED")
		return
	}
	octaves := math.Log2(high / low)
	width := b.w / max(to-from+1, 1)
	height := b.h / (octaves + 1)
	if len(lines) == 1 { // native: eight buckets for each power of two
		height /= 8
	}
	for _, c := range cells {
		if c.count <= 0 || math.IsInf(c.top, 0) {
			continue
		}
		y := b.y + (b.h-height)*(1-math.Log2(c.top/low)/octaves)
		fmt.Fprintf(&p.body, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="hsl(%.0f,80%%,50%%)"/>`,
			b.x+(c.at-from)*width, y, width, height, 240*(1-math.Sqrt(c.count/most)))
	}
	p.text(b.x-4, b.y+8, "end", format(high, unit))
	p.text(b.x-4, b.y+b.h, "end", format(low, unit))
}

// cellsOf takes native histograms as they are, and classic ones by their differences.
func cellsOf(lines []feed.Line) []cell {
	var cells []cell
	slices.SortFunc(lines, func(a, b feed.Line) int { return cmp.Compare(bound(a), bound(b)) })
	below := map[float64]float64{}
	for _, l := range lines {
		for i, at := range l.Times {
			if len(l.Bars) > 0 {
				for top, n := range l.Bars[i] {
					cells = append(cells, cell{at, top, n})
				}
				continue
			}
			cells = append(cells, cell{at, bound(l), l.Values[i] - below[at]})
			below[at] = l.Values[i]
		}
	}
	return cells
}

func bound(l feed.Line) float64 {
	v, err := strconv.ParseFloat(l.Labels["le"], 64)
	if err != nil {
		return math.Inf(1)
	}
	return v
}
