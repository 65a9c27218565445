// SPDX-License-Identifier: Apache-2.0

package report

import (
	"html/template"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
)

// drawing writes elements. Everything that goes in is escaped, once, here: names
// of elements and attributes, which are ours, excepted.
type drawing struct {
	b strings.Builder
}

// open begins an element; attributes are names and values in turn.
func (d *drawing) open(name string, attributes ...string) {
	d.b.WriteByte('<')
	d.b.WriteString(name)
	for i := 0; i+1 < len(attributes); i += 2 {
		d.b.WriteByte(' ')
		d.b.WriteString(attributes[i])
		d.b.WriteString(`="`)
		d.b.WriteString(escaped(attributes[i+1]))
		d.b.WriteByte('"')
	}
	d.b.WriteByte('>')
}

func (d *drawing) close(name string) {
	d.b.WriteString("</")
	d.b.WriteString(name)
	d.b.WriteByte('>')
}

// mark is an element with nothing in it.
func (d *drawing) mark(name string, attributes ...string) {
	d.open(name, attributes...)
	d.close(name)
}

// text is an element with text in it.
func (d *drawing) text(name, content string, attributes ...string) {
	d.open(name, attributes...)
	d.b.WriteString(escaped(content))
	d.close(name)
}

// escaped is text from outside, neither markup nor anything that cannot be seen.
func escaped(s string) string { return template.HTMLEscapeString(page.Escape(s)) }

// html is what was drawn.
func (d *drawing) html() template.HTML {
	return template.HTML(d.b.String()) // escaped above
}

// percent is a position or a length, as a part of the plot.
func percent(p float64) string { return strconv.FormatFloat(p, 'f', 2, 64) + "%" }

func pixels(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// exact is a value as it stands in JSON.
func exact(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
