package prom

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// encoder is a source that encodes its families itself.
type encoder interface {
	encode(as func(*layout) encoding) (blocks []block, done func(), err error)
}

// Handler answers scrapes with all that there is: as text, as OpenMetrics, or as
// protobuf. What a scraper may ask for beside these, the client library answers.
func (j *Joined) Handler(log *slog.Logger) http.Handler {
	library := promhttp.HandlerFor(j, promhttp.HandlerOpts{
		EnableOpenMetrics: true, DisableCompression: true, // it would take more time than all else
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
		as := encodingOf(format)
		if as == nil || len(r.URL.Query()["name[]"]) > 0 {
			library.ServeHTTP(w, r)
			return
		}
		blocks, done, err := j.blocks(format, as)
		defer done()
		if err != nil {
			log.Error("metrics are not served", "error", err)
			http.Error(w, "read metrics: "+err.Error(), http.StatusInternalServerError)
			return
		}
		send(w, format, blocks)
	})
}

// encodingOf is our own for a format, nil where there is none.
func encodingOf(format expfmt.Format) func(*layout) encoding {
	if format.ToEscapingScheme() == model.DotsEscaping {
		return nil // changes each name
	}
	switch format.FormatType() {
	case expfmt.TypeTextPlain:
		return func(l *layout) encoding { return textEncoding{layout: l} }
	case expfmt.TypeOpenMetrics:
		return func(l *layout) encoding { return textEncoding{layout: l, openMetrics: true} }
	case expfmt.TypeProtoDelim:
		return func(l *layout) encoding { return &wireEncoding{layout: l} }
	}
	return nil
}

// blocks are all families, by name. done is to be called in any case.
func (j *Joined) blocks(format expfmt.Format, as func(*layout) encoding) (all []block, done func(), err error) {
	var ended []func()
	done = func() {
		for _, end := range ended {
			end()
		}
	}
	var errs []error
	for _, g := range j.sources() {
		var some []block
		var err error
		if own, ok := g.(encoder); ok {
			var end func()
			if some, end, err = own.encode(as); err == nil {
				ended = append(ended, end)
			}
		} else {
			some, err = encodeOthers(g, format)
		}
		all, errs = append(all, some...), append(errs, err)
	}
	slices.SortStableFunc(all, func(a, b block) int { return strings.Compare(a.name, b.name) })
	return all, done, errors.Join(errs...)
}

// send writes an answer: its length first, so that a scraper sees one that was cut off.
func send(w http.ResponseWriter, format expfmt.Format, blocks []block) {
	if format.FormatType() == expfmt.TypeOpenMetrics {
		blocks = append(blocks, block{body: []byte("# EOF\n")})
	}
	size := 0
	for _, one := range blocks {
		size += len(one.head) + len(one.body)
	}
	w.Header().Set("Content-Type", string(format))
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	for _, one := range blocks {
		for _, part := range [][]byte{one.head, one.body} {
			if _, err := w.Write(part); err != nil {
				return // the scraper has gone
			}
		}
	}
}
