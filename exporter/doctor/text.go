// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/doctor"
)

// Options say how to write text. The zero value is plain, and not wrapped.
type Options struct {
	Color bool // with terminal escapes; NO_COLOR is for the caller to respect
	Width int  // columns of the terminal, 0 without limit; below 64 it is 64
}

// leastWidth is what a line needs at least to be readable.
const leastWidth = 64

// Terminal escapes.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// mark is how a state is shown: never by color alone.
func mark(s doctor.State) (sign, style string) {
	switch s {
	case doctor.OK:
		return "✓", green
	case doctor.Warn:
		return "!", yellow
	case doctor.Fail:
		return "✗", red
	}
	return "·", dim
}

// Text writes the table: a line per check and per hook, what to do below those
// that fail, and the verdict last, where a terminal's user looks.
func Text(w io.Writer, d doctor.Document, o Options) error {
	b := bufio.NewWriter(w)
	if o.Width > 0 {
		o.Width = max(o.Width, leastWidth)
	}
	p := printer{w: b, o: o, names: nameWidth(d)}
	p.title(d)
	for _, section := range []string{
		doctor.SectionKernel, doctor.SectionRights, doctor.SectionHooks, doctor.SectionNetwork, doctor.SectionEngine, doctor.SectionCost,
	} {
		p.section(d, section)
	}
	state := doctor.OK
	if !d.Works {
		state = doctor.Fail
	}
	sign, style := mark(state)
	fmt.Fprintf(b, "\n")
	p.wrapped(p.styled(style, sign)+" ", "  ", page.Escape(d.Verdict), bold)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// printer writes lines that are never wider than the terminal.
type printer struct {
	w     *bufio.Writer
	o     Options
	names int // width of the column of names
}

// mostName bounds the column of names: devices of containers have long ones.
const mostName = 20

func nameWidth(d doctor.Document) int {
	width := 0
	for _, c := range d.Checks {
		if w := lipgloss.Width(page.Escape(c.Name)); w <= mostName {
			width = max(width, w)
		}
	}
	return width
}

func (p printer) styled(style, s string) string {
	if !p.o.Color || s == "" || style == "" {
		return s
	}
	return style + s + plain
}

func (p printer) title(d doctor.Document) {
	p.wrapped("", "  ", "vethtrace doctor  "+page.Escape(d.Version)+"  "+page.Escape(d.Time), bold)
}

func (p printer) section(d doctor.Document, name string) {
	head := false
	begin := func() {
		if !head {
			fmt.Fprintf(p.w, "\n%s\n", p.styled(bold, name))
		}
		head = true
	}
	for _, c := range d.Checks {
		if c.Section == name {
			begin()
			p.row(c.State, c.Name, c.Value, c.Todo)
		}
	}
	switch name {
	case doctor.SectionHooks:
		p.hooks(d.Hooks)
	case doctor.SectionCost:
		for _, line := range costLines(d.Cost) {
			begin()
			p.row(doctor.Note, line[0], line[1], "")
		}
	}
}

// row is a line of the table, and below it what to do.
func (p printer) row(state doctor.State, name, value, todo string) {
	sign, style := mark(state)
	name = page.Escape(name)
	hang := strings.Repeat(" ", p.names+6)
	first := "  " + p.styled(style, sign) + " " + name
	if w := lipgloss.Width(name); w <= p.names {
		first += strings.Repeat(" ", p.names-w+2)
	} else {
		fmt.Fprintln(p.w, first)
		first = hang
	}
	p.wrapped(first, hang, page.Escape(value), "")
	p.todo(hang, todo, style)
}

func (p printer) todo(indent, todo, style string) {
	if todo != "" {
		p.wrapped(indent+p.styled(style, "→")+" ", indent+"  ", page.Escape(todo), "")
	}
}

// wrapped writes text behind first, and what has no room in more lines behind hang.
func (p printer) wrapped(first, hang, text, style string) {
	head, line := first, ""
	flush := func() {
		fmt.Fprintln(p.w, strings.TrimRight(head+p.styled(style, line), " "))
		head, line = hang, ""
	}
	for word := range strings.SplitSeq(text, " ") {
		for _, piece := range p.pieces(word, lipgloss.Width(hang)) {
			longer := piece
			if line != "" {
				longer = line + " " + piece
			}
			if p.o.Width > 0 && line != "" && lipgloss.Width(head)+lipgloss.Width(longer) > p.o.Width {
				flush()
				longer = piece
			}
			line = longer
		}
	}
	flush()
}

// pieces cuts a word that has no room on a line of its own.
func (p printer) pieces(word string, indent int) []string {
	room := p.o.Width - indent
	if p.o.Width == 0 || room < 1 || lipgloss.Width(word) <= room {
		return []string{word}
	}
	var all []string
	piece := ""
	for _, r := range word {
		if lipgloss.Width(piece+string(r)) > room {
			all, piece = append(all, piece), ""
		}
		piece += string(r)
	}
	return append(all, piece)
}

// hooks writes the table of hooks.
func (p printer) hooks(all []doctor.Hook) {
	if len(all) == 0 {
		return
	}
	names, providers := len("hook"), len("provider")
	for _, h := range all {
		names = max(names, lipgloss.Width(page.Escape(h.Hook)))
		providers = max(providers, lipgloss.Width(provider(h)))
	}
	const detail = len("devices only")
	hang := strings.Repeat(" ", 4+names+2)
	fmt.Fprintf(p.w, "\n%s\n", p.styled(dim, p.fit(fmt.Sprintf("    %s  %s  %s  what it does", pad("hook", names), pad("provider", providers), pad("from detail", detail)))))
	for _, h := range all {
		sign, style := mark(h.State)
		what := style
		if h.State == doctor.OK {
			what = ""
		}
		head := "  " + p.styled(style, sign) + " " + pad(page.Escape(h.Hook), names) + "  " + p.styled(what, pad(provider(h), providers)) + "  "
		p.wrapped(head, strings.Repeat(" ", 4+names+2+providers+2+detail+2), pad(from(h.Details), detail)+"  "+page.Escape(h.Is), "")
		for _, a := range h.Tried {
			if a.Error != "" {
				p.wrapped(hang, hang+"  ", page.Escape(a.Provider)+": "+page.Escape(a.Error), "")
			}
		}
		p.todo(hang, h.Todo, style)
	}
}

// fit cuts a line to the terminal's width.
func (p printer) fit(line string) string {
	if r := []rune(line); p.o.Width > 0 && len(r) > p.o.Width {
		return string(r[:p.o.Width])
	}
	return line
}

func provider(h doctor.Hook) string {
	if h.Provider == "" {
		return "none"
	}
	return page.Escape(h.Provider)
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-lipgloss.Width(s), 0))
}

// from says which details have a hook.
func from(details []string) string {
	switch {
	case len(details) == 1 && details[0] == "devices":
		return "devices only"
	case slices.Contains(details, "devices"):
		return "devices"
	case slices.Contains(details, "hooks"):
		return "hooks"
	}
	return strings.Join(details, " ")
}

// costLines are what tracing costs, in words.
func costLines(c doctor.Cost) [][2]string {
	var lines [][2]string
	var stamps []string
	for _, s := range c.Stamps {
		stamps = append(stamps, page.Escape(s.Kind)+" "+page.Duration(s.Ns))
	}
	if len(stamps) > 0 {
		lines = append(lines, [2]string{"a stamp", strings.Join(stamps, ", ") + " (medians of null hops, measured now)"})
	}
	for _, p := range c.Packets {
		lines = append(lines, [2]string{
			"a packet " + p.Way,
			fmt.Sprintf("%s: %d stamps, %s (%s packets measured)", p.Target, p.Stamps, page.Duration(p.Ns), page.Count(p.Count)),
		})
	}
	return lines
}
