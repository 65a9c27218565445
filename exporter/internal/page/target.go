package page

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/tracer"
)

// Target lays out one target: its header, a table per path, and what follows
// them, all but its sentence (Words). over is the time its counts were taken
// in, for rates.
func Target(t tracer.Target, over time.Duration, o Options) []string {
	lines := Header(t, o)
	paths := shown(t.Paths)
	if len(paths) > 0 {
		lines = append(append(lines, o.paths(t, paths, over)...), "")
	}
	lines = append(lines, o.waiting(t.Waiting)...)
	lines = append(lines, o.proxied(t)...)
	lines = append(lines, o.totals(t)...)
	lines = append(lines, o.drops(t.Drops)...)
	lines = append(lines, o.unpredicted(t)...)
	return append(lines, o.accounting(t)...)
}

// Header is the line that says what the target is and how it is connected:
//
//	nginx  bridge  eth0@if27 <-> vethef1372a on docker0  172.17.0.2  8080->80/tcp
func Header(t tracer.Target, o Options) []string {
	var parts []string
	if t.Mode != "" {
		parts = append(parts, Escape(t.Mode))
	}
	for _, i := range t.Interfaces {
		parts = append(parts, device(i))
		addrs := make([]string, len(i.Addrs))
		for n, a := range i.Addrs {
			addrs[n] = a.String()
		}
		if len(addrs) > 0 {
			parts = append(parts, strings.Join(addrs, ", "))
		}
	}
	parts = append(parts, ports(t.Ports)...)
	for _, a := range t.Aliases {
		parts = append(parts, "also "+Escape(a))
	}
	if t.Gone {
		parts = append(parts, "ended")
	}
	name := Escape(t.Name)
	lines := o.flow("", indent, "  ", append([]string{name}, parts...))
	st := o.styles()
	if rest, whole := strings.CutPrefix(lines[0], name); whole {
		lines[0] = st.name.Render(name) + st.bold.Render(rest)
	} else { // a name that is cut itself
		lines[0] = st.name.Render(lines[0])
	}
	paint(st.bold, lines[1:])
	return lines
}

func device(i tracer.Interface) string {
	text := Escape(i.Name)
	if i.Peer == "" {
		return text
	}
	text += "@if" + strconv.Itoa(i.PeerIndex) + " <-> " + Escape(i.Peer)
	if i.Bridge != "" {
		text += " on " + Escape(i.Bridge)
	}
	return text
}

// ports writes each published port once, although Docker publishes it for both
// families.
func ports(ps []tracer.Port) []string {
	var parts []string
	for _, p := range ps {
		at := strconv.Itoa(int(p.Host.Port()))
		if a := p.Host.Addr(); a.IsValid() && !a.IsUnspecified() {
			at = p.Host.String()
		}
		text := at + "->" + strconv.Itoa(int(p.Container)) + "/" + Escape(p.Protocol)
		if !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	return parts
}

// shown are the paths that packets took: established before new, in before
// out, most packets first.
func shown(paths []tracer.Path) []tracer.Path {
	var ps []tracer.Path
	for _, p := range paths {
		if p.Packets > 0 || p.Latency.Hist.Count() > 0 {
			ps = append(ps, p)
		}
	}
	isNew := func(p tracer.Path) int {
		if p.Flow == "new" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ps, func(a, b tracer.Path) int {
		return cmp.Or(cmp.Compare(isNew(a), isNew(b)), cmp.Compare(a.Direction, b.Direction),
			cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.ID, b.ID))
	})
	return ps
}

func (o Options) paths(t tracer.Target, paths []tracer.Path, over time.Duration) []string {
	g := &grid{bar: true, columns: []column{
		{head: "hop"},
		{head: "side", drop: 1},
		{head: "device", drop: 5},
		{head: "n", right: true, drop: 2},
		{head: "p50", right: true},
		{head: "p90", right: true, drop: 4},
		{head: "p99", right: true},
		{head: "max", right: true, drop: 6},
		{head: "share", right: true, drop: 3, overBar: true},
	}}
	blocks := make([][]row, len(paths))
	var all []row
	for i, p := range paths {
		blocks[i] = o.rows(p)
		all = append(all, blocks[i]...)
	}
	g.fit(o.width(), all)
	var lines []string
	for i, p := range paths {
		lines = append(lines, "")
		lines = append(lines, o.heading(p, by(t, p), over)...)
		lines = append(lines, g.header(o.styles().dim))
		for _, r := range blocks[i] {
			lines = append(lines, g.line(r))
		}
	}
	return lines
}

// by is the target's own device that a path leads through: the last one on the
// way in, the first one on the way out. It is "" for a target that has only one
// with another end, which needs no telling.
func by(t tracer.Target, p tracer.Path) string {
	ends := 0
	for _, i := range t.Interfaces {
		if i.Peer != "" {
			ends++
		}
	}
	device := ""
	if ends < 2 {
		return device
	}
	for _, h := range p.Hops {
		// A name says nothing on the other side: the host has an eth0, too.
		i := slices.IndexFunc(t.Interfaces, func(i tracer.Interface) bool {
			return i.Peer != "" && (h.Side == tracer.SideTarget && i.Name == h.Device || h.Side == tracer.SideHost && i.Peer == h.Device)
		})
		if i < 0 {
			continue
		}
		device = t.Interfaces[i].Name
		if p.Direction == tracer.Egress {
			break
		}
	}
	return device
}

// heading names what the packets of a path have in common.
func (o Options) heading(p tracer.Path, device string, over time.Duration) []string {
	way := "in from "
	if p.Direction == tracer.Egress {
		way = "out to "
	}
	parts := []string{way + Escape(p.Peer)}
	if device != "" {
		parts = append(parts, "by "+Escape(device))
	}
	parts = append(parts, Escape(p.Family)+" "+Escape(p.Protocol))
	if p.Peer == "proxy" {
		parts = append(parts, leg(p))
	}
	if p.Flow == "new" {
		parts = append(parts, "new flows")
	}
	count := plural(p.Packets, "packet")
	if s := over.Seconds(); s > 0 {
		count += " (" + Quantity(float64(p.Packets)/s, "") + "/s)"
		parts = append(parts, count, Quantity(float64(p.Bytes)/s, "B/s"))
	} else {
		parts = append(parts, count)
	}
	if p.Segments > p.Packets {
		parts = append(parts, plural(p.Segments, "segment"))
	}
	return paint(o.styles().heading, o.flow("", indent, "  ", parts))
}

func (o Options) summary(l tracer.Latency) tracer.Summary {
	if o.Raw {
		return l.Raw()
	}
	return l.Corrected()
}

// rows are the hops of a path and the path itself. Bars are drawn on the scale
// of the largest hop.
func (o Options) rows(p tracer.Path) []row {
	st := o.styles()
	whole := o.summary(p.Latency)
	took := o.took(p.Hops)
	var rows []row
	largest := 0.0
	for _, h := range p.Hops {
		if strings.HasPrefix(h.Name, "null") && !o.Raw {
			continue
		}
		s := o.summary(h.Latency)
		share := 0.0
		if took > 0 {
			share = s.SumNs / took
		}
		r := row{cells: cells(Escape(h.Name), h.Side.String(), Escape(h.Device), s), bar: share, bars: st.host}
		r.cells[8] = Percent(share)
		if h.Side == tracer.SideTarget {
			r.bars = st.target
		}
		if !o.Raw && (h.Latency.WithinNull() || s.MeanNs < 0) {
			r.cells[4], r.cells[8], r.bar, r.style = "~0", "~0", 0, st.dim
		}
		largest = max(largest, r.bar)
		rows = append(append(rows, r), o.functions(h)...)
	}
	for i := range rows {
		if rows[i].inner {
			continue
		}
		if rows[i].bar == largest && largest > 0 {
			rows[i].style = st.hot
		}
		if largest > 0 {
			rows[i].bar /= largest
		}
	}
	total := row{cells: cells("whole path", "", "", whole), style: st.bold}
	if whole.Count > 0 {
		total.note = "mean " + Duration(whole.MeanNs)
	}
	return append(rows, total)
}

// took is what the hops took that took anything: shares are of it. With
// little traffic a null hop may take more than a stamp among others, so that a
// hop's mean is below 0, and the path's below that of its largest hop.
func (o Options) took(hops []tracer.Hop) float64 {
	sum := 0.0
	for _, h := range hops {
		sum += max(0, o.summary(h.Latency).SumNs)
	}
	return sum
}

func cells(name, side, device string, s tracer.Summary) []string {
	cs := []string{
		name, side, device, Count(s.Count),
		quantile(s.P50Ns), quantile(s.P90Ns), quantile(s.P99Ns), "-", "",
	}
	if s.Count > 0 {
		cs[7] = Duration(float64(s.MaxNs))
	}
	return cs
}

func quantile(ns *float64) string {
	if ns == nil {
		return "-"
	}
	return Duration(*ns)
}
