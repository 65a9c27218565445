package prom

import (
	"slices"
	"strings"
)

// encoding writes rows and their headings in one of the forms that scrapers
// take. The client library makes an object of each bucket and writes that,
// label by label; for thousands of histograms this is most of a scrape.
type encoding interface {
	// row appends a row to those of its family.
	row(to []byte, r *row) []byte
	// heading appends what stands before the rows of a family.
	heading(to []byte, d *definition, rows []byte) []byte
}

// page is an answer, or a part of one: its families, encoded.
type page struct {
	bodies [][]byte // by the index of the definition
	blocks []block
}

// block is one family.
type block struct {
	name       string
	head, body []byte
}

// add encodes a row.
func (p *page) add(as encoding, r *row) {
	p.bodies[r.of.index] = as.row(p.bodies[r.of.index], r)
}

// finish puts headings over all families that have rows.
func (p *page) finish(as encoding, all []*definition) {
	p.blocks = p.blocks[:0]
	for _, d := range all {
		if body := p.bodies[d.index]; len(body) > 0 {
			p.blocks = append(p.blocks, block{name: d.name, head: as.heading(nil, d, body), body: body})
		}
	}
	slices.SortFunc(p.blocks, func(a, b block) int { return strings.Compare(a.name, b.name) })
}

// clear makes room for another answer in the same memory.
func (p *page) clear(families int) {
	if p.bodies == nil {
		p.bodies = make([][]byte, families)
	}
	for i := range p.bodies {
		p.bodies[i] = p.bodies[i][:0]
	}
}

// encode reads what the tracer has seen and writes it. done gives the page back
// when it has been sent.
func (c *Collector) encode(as func(*layout) encoding) (blocks []block, done func(), err error) {
	p, _ := c.pages.Get().(*page)
	if p == nil {
		p = &page{}
	}
	all := c.definitions()
	p.clear(len(all))
	to := as(c.layout)
	if err := c.collect(func(r *row) { p.add(to, r) }); err != nil {
		c.pages.Put(p)
		return nil, nil, err
	}
	p.finish(to, all)
	return p.blocks, func() { c.pages.Put(p) }, nil
}
