// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
)

// markdown writes one page.
type markdown struct {
	b *bytes.Buffer
}

func writeMarkdown(b *bytes.Buffer, r *reading) {
	m := markdown{b}
	v := newPage(r)
	m.line("# %s.", m.words(v.Answer))
	if v.Caution != "" {
		m.line("**%s.**", m.words(upper(v.Caution)))
	}
	if v.Bench != nil && v.Bench.Others.Caution != "" {
		m.line("**%s.**", m.words(upper(v.Bench.Others.Caution)))
	}
	m.line("%s, %s; vethtrace %s %s", m.words(moment(v.Start)), page.Duration(v.DurationS*1e9), v.Kind, m.words(v.Version))
	for _, e := range v.Environments {
		if e.Name != "" {
			m.b.WriteString(m.cell(e.Name) + ": ")
		}
		m.line("%s", m.cell(e.Sentence))
	}
	m.table("## What differs in the environments", v.Differences)
	m.table("## What clients wait longer", v.Overview)
	for _, s := range v.Sections {
		m.section(s)
	}
	m.notes(v)
	m.table("## Environment", v.Environment)
}

func (m markdown) section(s sectionView) {
	if s.Title != "" {
		m.line("## %s", m.words(upper(s.Title)))
	}
	m.table("### What clients saw, with nothing attached", s.Clients)
	for _, c := range s.Comparisons {
		m.line("### %s", m.cell(c.Title))
		m.line("%s.", m.words(c.Verdict))
		measured := "what measuring costs is subtracted"
		if c.Raw {
			measured = "as measured"
		}
		m.line("%s; %d and %d rounds; %s. Intervals are 95%%, each by itself; a hop is told from zero only where that holds for all hops together.", m.words(c.Class), c.Rounds[0], c.Rounds[1], measured)
		m.table("", c.LayerTable)
		m.table("", c.RowTable)
		m.table("", c.Explained)
		if c.Disturbed != "" {
			m.line("%s.", m.words(upper(c.Disturbed)))
		}
		switch {
		case len(c.Explained.rows) == 0:
		case c.ExplainedShare != nil:
			m.line("Explained share: **%s** of what the client waits longer is seen in the hops.", shareText(c.ExplainedShare))
		default:
			m.line("No explained share: %s.", m.words(c.ExplainedReason))
		}
	}
	m.table("### Each hop", s.Hops)
	m.table("### Accounting", s.Accounting)
	m.table("", s.Losses)
	m.table("### What measuring cost", s.Cost)
}

func (m markdown) notes(v view) {
	var all []string
	if v.Bench != nil {
		for _, l := range v.Bench.LeftOut {
			all = append(all, "left out: "+l)
		}
	}
	for _, n := range append(all, v.Notes...) {
		m.b.WriteString("- " + m.words(n) + "\n")
	}
	if len(all)+len(v.Notes) > 0 {
		m.b.WriteByte('\n')
	}
}

// line is a paragraph.
func (m markdown) line(format string, values ...any) {
	fmt.Fprintf(m.b, format+"\n\n", values...)
}

// table writes what the page has in a table; nothing without rows.
func (m markdown) table(title string, t table) {
	if len(t.rows) == 0 {
		return
	}
	if title != "" {
		m.line("%s", title)
	}
	m.b.WriteByte('|')
	for _, h := range t.head {
		m.b.WriteString(" " + m.cell(h) + " |")
	}
	m.b.WriteString("\n|")
	for i := range t.head {
		if i < t.left {
			m.b.WriteString("---|")
		} else {
			m.b.WriteString("---:|")
		}
	}
	m.b.WriteByte('\n')
	for _, row := range t.rows {
		m.b.WriteByte('|')
		for _, c := range row {
			m.b.WriteString(" " + m.cell(bare(c)) + " |")
		}
		m.b.WriteByte('\n')
	}
	m.b.WriteByte('\n')
}

// bare is the text of a cell that this package made: its elements hold no > in
// an attribute, as that is escaped.
func bare(c template.HTML) string {
	var b strings.Builder
	inside := false
	for _, r := range string(c) {
		switch {
		case r == '<':
			inside = true
		case r == '>':
			inside = false
		case !inside:
			b.WriteRune(r)
		}
	}
	return html.UnescapeString(b.String())
}

// words is text from outside.
func (m markdown) words(s string) string { return m.cell(page.Escape(s)) }

// cell escapes what Markdown would take for its own, and leaves the underscores
// of names such as ip_forward alone.
func (m markdown) cell(s string) string {
	var b strings.Builder
	runes := []rune(s)
	word := func(i int) bool {
		return i >= 0 && i < len(runes) && (runes[i] >= '0' && runes[i] <= '9' || runes[i] >= 'a' && runes[i] <= 'z' || runes[i] >= 'A' && runes[i] <= 'Z')
	}
	for i, r := range runes {
		switch {
		case r == '<':
			b.WriteString("&lt;")
			continue
		case r == '&':
			b.WriteString("&amp;")
			continue
		case strings.ContainsRune("\\`*|~#>", r), r == '[' && linked(runes[i:]), r == '_' && (!word(i-1) || !word(i+1)):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// linked tells whether a bracket that opens here would be a link: an interval is none.
func linked(runes []rune) bool {
	for i, r := range runes {
		if r == ']' {
			return i+1 < len(runes) && (runes[i+1] == '(' || runes[i+1] == '[' || runes[i+1] == ':')
		}
	}
	return false
}
