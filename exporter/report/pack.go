// SPDX-License-Identifier: Apache-2.0

package report

import (
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
)

// pack packs what a reader does not see at first: loads but the first, and pairs
// of ways but the first. A page of all loads and ways is a sixth of its size so;
// its script unpacks them when it is loaded.
func (v *view) pack(t *template.Template) error {
	for i := range v.Sections {
		s := &v.Sections[i]
		if !s.Open {
			if err := packed(&s.Packed, t, "section", *s); err != nil {
				return err
			}
			continue
		}
		for k := range s.Comparisons {
			if c := &s.Comparisons[k]; !c.Open {
				if err := packed(&c.Packed, t, "comparison", *c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// packed is what a template makes of data, as gzip in base64.
func packed(to *template.HTML, t *template.Template, name string, data any) error {
	var b strings.Builder
	text := base64.NewEncoder(base64.StdEncoding, &b)
	z, err := gzip.NewWriterLevel(text, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("pack a part of the report: %w", err)
	}
	if err := t.ExecuteTemplate(z, name, data); err != nil {
		return fmt.Errorf("write a part of the report: %w", err)
	}
	for _, c := range []io.Closer{z, text} {
		if err := c.Close(); err != nil {
			return fmt.Errorf("pack a part of the report: %w", err)
		}
	}
	*to = template.HTML(b.String()) // base64 has no markup
	return nil
}
