// Package page lays a snapshot out for people: headers, tables, and words. The
// plain text and the live view are made of its lines, so that they always say
// the same.
//
//	tracer.Snapshot -> blocks of lines, each no wider than Options.Width -> text, tui
package page

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// Options say how to lay out. The zero value is plain, unlimited in width and
// corrected for what measuring costs.
type Options struct {
	Color bool // with terminal styles
	Width int  // columns there are, 0 without limit; at least 40 are used
	Raw   bool // as measured, null hops shown
	Final bool // the run is over: what has not come will not, and the accounting must balance
}

const (
	minWidth = 40
	indent   = "  "
)

// width is the limit in columns, 0 without one.
func (o Options) width() int {
	if o.Width <= 0 {
		return 0
	}
	return max(o.Width, minWidth)
}

// styles are what Color switches; all of them do nothing without it. Only the
// 16 colours of the terminal's own theme are used.
type styles struct {
	name, heading, dim, bold, host, target, warn, alarm, hot lipgloss.Style
}

func (o Options) styles() styles {
	s := lipgloss.NewStyle()
	if !o.Color {
		return styles{s, s, s, s, s, s, s, s, s}
	}
	return styles{
		name:    s.Bold(true).Foreground(lipgloss.BrightGreen),
		heading: s.Bold(true).Foreground(lipgloss.BrightCyan),
		dim:     s.Faint(true),
		bold:    s.Bold(true),
		host:    s.Foreground(lipgloss.BrightBlue),
		target:  s.Foreground(lipgloss.BrightMagenta),
		warn:    s.Foreground(lipgloss.BrightYellow),
		alarm:   s.Bold(true).Foreground(lipgloss.BrightRed),
		hot:     s.Bold(true).Foreground(lipgloss.BrightYellow),
	}
}

// flow joins parts with sep and breaks between them, never within one, where
// the line would get wider than the limit; lines after the first are indented
// by hang. A part that is alone too wide is cut with an ellipsis.
func (o Options) flow(first, hang, sep string, parts []string) []string {
	var lines []string
	line, empty := first, true
	for _, p := range parts {
		if !empty && o.width() > 0 && lipgloss.Width(line+sep+p) > o.width() {
			lines = append(lines, o.cut(strings.TrimRight(line+strings.TrimRight(sep, " "), " ")))
			line, empty = hang, true
		}
		if !empty {
			line += sep
		}
		line, empty = line+p, false
	}
	return append(lines, o.cut(line))
}

// paint gives every line a style.
func paint(style lipgloss.Style, lines []string) []string {
	for i := range lines {
		lines[i] = style.Render(lines[i])
	}
	return lines
}

// prose flows words behind first; further lines are indented.
func (o Options) prose(first, text string, style lipgloss.Style) []string {
	return paint(style, o.flow(first, indent, " ", strings.Fields(text)))
}

// cut shortens a line without styles to the limit.
func (o Options) cut(line string) string {
	if o.width() == 0 {
		return line
	}
	return shorten(line, o.width())
}

// shorten cuts text to w columns, the last of which is then an ellipsis.
func shorten(text string, w int) string {
	if lipgloss.Width(text) <= w {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if lipgloss.Width(b.String()+string(r)) > w-1 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// Rule is a line across the page, above a target.
func Rule(o Options) string {
	w := o.width()
	if w == 0 {
		w = 80
	}
	return o.styles().dim.Render(strings.Repeat("─", w))
}
