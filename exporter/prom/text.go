package prom

import (
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// textEncoding is Prometheus' text format, or that of OpenMetrics: byte for
// byte what the client library writes.
type textEncoding struct {
	layout      *layout
	openMetrics bool
}

// shortInteger is where the text format begins to write whole numbers with an exponent.
const shortInteger = 1_000_000

func (e textEncoding) heading(to []byte, d *definition, _ []byte) []byte {
	name := d.name
	if e.openMetrics && d.kind == dto.MetricType_COUNTER {
		name = strings.TrimSuffix(name, "_total")
	}
	to = append(append(append(to, "# HELP "...), name...), ' ')
	to = appendEscaped(to, d.help, e.openMetrics)
	to = append(append(append(to, "\n# TYPE "...), name...), ' ')
	return append(append(to, strings.ToLower(d.kind.String())...), '\n')
}

func (e textEncoding) row(to []byte, r *row) []byte {
	if r.labels.text == nil {
		r.labels.text = appendLabels(nil, r.of, r.labels.values)
	}
	if r.hist != nil {
		return e.histogram(to, r)
	}
	to = closed(append(to, r.of.name...), r.labels.text)
	return append(e.float(to, r.value), '\n')
}

// histogram writes the classic buckets, if there are any, and the last one, the sum and the count.
func (e textEncoding) histogram(to []byte, r *row) []byte {
	var own [classicCount + 1]uint64
	counts(r.hist, func(bucket int, n uint64) { own[e.layout.classic[bucket]] += n })
	var marks [classicCount + 1]*dto.Exemplar
	if e.openMetrics && e.layout.form.Classic {
		for _, mark := range r.marks {
			marks[e.layout.classicOf(mark.GetValue())] = mark
		}
	}
	below, start, end := uint64(0), 0, 0 // the last count as text: most buckets have that of the one before
	bucket := func(bound string, n uint64, mark *dto.Exemplar) {
		to = append(append(to, r.of.name...), "_bucket"...)
		if to = append(to, r.labels.text...); len(r.labels.text) == 0 {
			to = append(to, '{')
		} else {
			to = append(to, ',')
		}
		to = append(append(to, bound...), ' ')
		if at := len(to); end > 0 && n == below {
			to = append(to, to[start:end]...)
		} else {
			to = e.count(to, n)
			below, start, end = n, at, len(to)
		}
		if mark != nil {
			to = e.exemplar(to, mark)
		}
		to = append(to, '\n')
	}
	var total uint64
	for i, n := range own {
		total += n
		switch {
		case i == classicCount:
			bucket(`le="+Inf"}`, total, marks[i])
		case e.layout.form.Classic:
			bucket(e.layout.texts[i], total, marks[i])
		}
	}
	to = closed(append(append(to, r.of.name...), "_sum"...), r.labels.text)
	to = append(e.float(to, float64(r.hist.Sum)*secondsPerNs), '\n')
	to = closed(append(append(to, r.of.name...), "_count"...), r.labels.text)
	return append(e.count(to, total), '\n')
}

// count writes how many there are: a float in one format, an integer in the other.
func (e textEncoding) count(to []byte, n uint64) []byte {
	if e.openMetrics || n < shortInteger {
		return strconv.AppendUint(to, n, 10)
	}
	return strconv.AppendFloat(to, float64(n), 'g', -1, 64)
}

func (e textEncoding) float(to []byte, v float64) []byte {
	if whole := uint64(v); v >= 0 && v < shortInteger && float64(whole) == v {
		to = strconv.AppendUint(to, whole, 10)
		if e.openMetrics {
			to = append(to, ".0"...)
		}
		return to
	}
	start := len(to)
	to = strconv.AppendFloat(to, v, 'g', -1, 64)
	if e.openMetrics && v-v == 0 && !slices.Contains(to[start:], '.') && !slices.Contains(to[start:], 'e') { // v-v: not for what is not finite
		to = append(to, ".0"...)
	}
	return to
}

func (e textEncoding) exemplar(to []byte, mark *dto.Exemplar) []byte {
	to = append(to, " # {"...)
	for i, pair := range mark.GetLabel() {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(append(append(to, pair.GetName()...), `="`...), pair.GetValue()...)
		to = append(to, '"')
	}
	to = e.float(append(to, "} "...), mark.GetValue())
	return e.float(append(to, ' '), float64(mark.GetTimestamp().AsTime().UnixNano())/1e9)
}

// closed ends a name with its labels.
func closed(to, labels []byte) []byte {
	if len(labels) > 0 {
		to = append(append(to, labels...), '}')
	}
	return append(to, ' ')
}

// appendLabels writes labels by name, without what closes them.
func appendLabels(to []byte, d *definition, values []string) []byte {
	separator := byte('{')
	for _, i := range d.byName {
		to = append(append(append(to, separator), d.labels[i]...), `="`...)
		to = append(appendEscaped(to, values[i], true), '"')
		separator = ','
	}
	return to
}

// appendEscaped writes a text of which some bytes mean something else.
func appendEscaped(to []byte, text string, quotes bool) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\':
			to = append(to, `\\`...)
		case c == '\n':
			to = append(to, `\n`...)
		case c == '"' && quotes:
			to = append(to, `\"`...)
		default:
			to = append(to, c)
		}
	}
	return to
}
