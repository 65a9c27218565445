// SPDX-License-Identifier: Apache-2.0

package report

import (
	"html/template"
	"math"
	"strconv"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/result"
)

// none stands where there is no figure.
const none = "–"

// data is a figure of the document: its text, its value, and the JSON pointer
// that leads to it, by which a reader (and a test) finds it again.
func data(text string, value float64, at string) template.HTML {
	var d drawing
	d.text("data", text, "value", exact(value), "data-at", at)
	return d.html()
}

// nanos is a time.
func nanos(ns float64, at string) template.HTML { return data(page.Duration(ns), ns, at) }

// quantile is a time that may not be told.
func quantile(ns *float64, at string) template.HTML {
	if ns == nil {
		return none
	}
	return nanos(*ns, at)
}

// estimate is a difference with its interval.
func estimate(e *result.Estimate, at string) template.HTML {
	if e == nil {
		return none
	}
	return data(compare.Interval(*e, true), e.Ns, at)
}

// part is a share of a whole with its interval.
func part(s *result.Share, at string) template.HTML {
	if s == nil {
		return none
	}
	return data(shareText(s), s.Share, at)
}

func shareText(s *result.Share) string {
	if s == nil {
		return none
	}
	return percents(s.Share) + " [" + percents(s.Lo) + ", " + percents(s.Hi) + "]"
}

// percents has one digit behind the point: an explained share of 99.7 is not 100.
func percents(share float64) string {
	return strconv.FormatFloat(math.Round(share*1000)/10+0, 'f', 1, 64) + "%"
}

// count is a number of things.
func count(n uint64, at string) template.HTML { return data(page.Count(n), float64(n), at) }

func quantileText(ns *float64) string {
	if ns == nil {
		return none
	}
	return page.Duration(*ns)
}

// relative is a difference as a part of what it is added to.
func relative(e *result.Estimate, base float64) string {
	if e == nil || base <= 0 {
		return none
	}
	p := e.Ns / base * 100
	if p >= 0 {
		return "+" + strconv.FormatFloat(p, 'f', 0, 64) + "%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}
