package prom

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/vethtrace/vethtrace/exporter/internal/sample"
	"github.com/vethtrace/vethtrace/tracer"
	"github.com/vethtrace/vethtrace/tracer/histogram"
)

const (
	acceptText        = "text/plain; version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text; version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// answered is what a scraper has of one scrape.
type answered struct {
	status int
	header http.Header
	body   []byte
}

// scrape asks once, and holds the answer's length against what its headers say.
func scrape(t *testing.T, handler http.Handler, accept, query string) answered {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "/metrics"+query, nil)
	request.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	a := answered{status: answer.Code, header: answer.Header(), body: answer.Body.Bytes()}
	if told := a.header.Get("Content-Length"); told != "" && told != strconv.Itoa(len(a.body)) {
		t.Errorf("%d bytes, and the header says %s", len(a.body), told)
	}
	return a
}

// strange is a snapshot with all that is hard to write: names with every
// character that is escaped, counts that text writes with an exponent, times
// beyond the last bucket, nothing but zeros.
func strange() tracer.Snapshot {
	s := sample.Snapshot()
	s.Hooks = []tracer.Attachment{{Hook: "netif_rx", Provider: "tp_btf", Links: 1}, {Hook: "host/forward/last", Provider: "netfilter"}}
	s.Missing = []tracer.Missing{{Hook: "recv_length", Why: "no such tracepoint"}}
	s.Targets[0].Name = "a\"b\\c\nd é"
	for i := range s.Journeys {
		if s.Journeys[i].Target == "nginx" {
			s.Journeys[i].Target = s.Targets[0].Name
		}
	}
	paths := s.Targets[0].Paths
	paths[0].Latency.Hist.AddN(3_000_000_000, 7)
	paths[0].Latency.Hist.AddN(100, 1<<53+1)
	paths[0].Hops[0].Latency.Hist = histogram.Histogram{}
	paths[0].Hops[0].Latency.Hist.AddN(0, 5)
	paths[0].Hops[1].Latency.Hist = histogram.Histogram{}
	paths[0].Bytes = 1 << 60
	slow := tracer.Journey{}
	for _, j := range s.Journeys {
		if j.Slow && j.Outcome == "completed" {
			slow = j
		}
	}
	for i, end := range []time.Duration{time.Millisecond, 40 * time.Millisecond, 4 * time.Second, 64, 65} {
		one := slow
		one.ID = uint64(1000 + i)
		one.Stamps = append(one.Stamps[:1:1], one.Stamps[len(one.Stamps)-1])
		one.Stamps[1].T = one.Stamps[0].T + end
		s.Journeys = append(s.Journeys, one)
	}
	return s
}

// everything is a collector of such a snapshot at a moment that does not pass,
// and a registry with the other types of metrics.
func everything(form Form, s tracer.Snapshot) *Joined {
	others := prometheus.NewRegistry()
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "aa_summary", Help: "first", Objectives: map[float64]float64{0.5: 0.1}})
	summary.Observe(3)
	others.MustRegister(summary, prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "vethtrace_journeys_in_between"}, func() float64 { return 1e9 }))
	all, inner := &Joined{}, &Joined{}
	all.Add(others)
	inner.Add(New(Config{
		Source: &fixed{snapshot: s}, Form: form, Journeys: NewJourneys(), EngineUp: func() bool { return true },
		Describe: func(id string) Info { return Info{Image: id + "\\", Networks: []string{"a", "b"}} },
		Now:      func() time.Time { return time.Unix(1_700_000_000, 123_456_789) },
	}))
	all.Add(inner)
	return all
}

// What we encode is what the client library would have made of the same metrics:
// text byte for byte, protobuf message for message.
func TestEncodingsAreThoseOfTheLibrary(t *testing.T) {
	for _, form := range []Form{{Native: true}, {Classic: true}, {Native: true, Classic: true}} {
		all := everything(form, strange())
		library := promhttp.HandlerFor(all, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true})
		ours := all.Handler(slog.New(slog.DiscardHandler))
		for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProtobuf, "", "text/plain", acceptText + "; escaping=allow-utf-8"} {
			for range 2 { // the second one has labels from the first
				mine, theirs := scrape(t, ours, accept, ""), scrape(t, library, accept, "")
				for _, name := range []string{"Content-Type", "Vary"} {
					if a, b := mine.header.Get(name), theirs.header.Get(name); a != b {
						t.Errorf("%+v %s: %s %q, the library's is %q", form, accept, name, a, b)
					}
				}
				a, b := mine.body, theirs.body
				if accept == acceptProtobuf {
					sameMessages(t, a, b)
				} else {
					sameLines(t, a, b)
				}
			}
		}
	}
}

// sameLines compares texts, and that they have everything that there is.
func sameLines(t *testing.T, ours, theirs []byte) {
	t.Helper()
	if !bytes.Equal(ours, theirs) {
		a, b := strings.Split(string(ours), "\n"), strings.Split(string(theirs), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d:\n%s\nthe library has\n%s", i, a[i], b[i])
			}
		}
		t.Fatalf("%d lines, the library has %d", len(a), len(b))
	}
	for _, m := range Metrics() {
		if !bytes.Contains(ours, []byte("\n"+m.Name)) {
			t.Errorf("nothing of %s", m.Name)
		}
	}
}

func sameMessages(t *testing.T, ours, theirs []byte) {
	t.Helper()
	a, b := messages(t, ours), messages(t, theirs)
	if len(a) != len(b) || len(a) < len(Metrics()) {
		t.Fatalf("%d families, the library has %d", len(a), len(b))
	}
	for i := range a {
		if !proto.Equal(a[i], b[i]) {
			t.Errorf("%s differs from the library's %s", a[i].GetName(), b[i].GetName())
		}
	}
}

func messages(t *testing.T, raw []byte) (all []*dto.MetricFamily) {
	t.Helper()
	from := bufio.NewReader(bytes.NewReader(raw))
	for {
		one := &dto.MetricFamily{}
		err := protodelim.UnmarshalFrom(from, one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if unknown := one.ProtoReflect().GetUnknown(); len(unknown) > 0 {
			t.Errorf("%s has fields that nobody knows", one.GetName())
		}
		all = append(all, one)
	}
}

// Forms that we do not write are the library's.
func TestOtherFormsAreAnsweredToo(t *testing.T) {
	all := everything(Form{}, sample.Snapshot())
	library := promhttp.HandlerFor(all, promhttp.HandlerOpts{EnableOpenMetrics: true, DisableCompression: true})
	for _, c := range [][2]string{
		{acceptText + "; escaping=dots", ""},
		{acceptOpenMetrics, "?name[]=vethtrace_targets&name[]=vethtrace_hop_latency_seconds"},
		{"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text", ""},
	} {
		ours := scrape(t, all.Handler(slog.New(slog.DiscardHandler)), c[0], c[1]).body
		theirs := scrape(t, library, c[0], c[1]).body
		// text of protobuf has spaces at random
		if a, b := strings.ReplaceAll(string(ours), " ", ""), strings.ReplaceAll(string(theirs), " ", ""); a != b || len(a) < 1000 {
			t.Errorf("%s %s: %d bytes, the library writes %d", c[0], c[1], len(ours), len(theirs))
		}
	}
}

func TestHandlerTellsThatTheSourceFails(t *testing.T) {
	all := &Joined{}
	source := &fixed{err: errors.New("closed")}
	all.Add(New(Config{Source: source}))
	handler := all.Handler(slog.New(slog.DiscardHandler))
	answer := scrape(t, handler, acceptText, "")
	if text := string(answer.body); answer.status != http.StatusInternalServerError || !strings.Contains(text, "closed") {
		t.Errorf("%d %s", answer.status, text)
	}
	source.snapshot, source.err = sample.Snapshot(), nil
	if answer := scrape(t, handler, acceptText, ""); answer.status != http.StatusOK || len(answer.body) < 10000 {
		t.Errorf("afterwards: %d", answer.status)
	}
}

// FuzzRow holds one counter and one histogram against the library, whatever their numbers and labels are.
func FuzzRow(f *testing.F) {
	f.Add("nginx", 1.0, uint64(64), uint64(1), uint64(5_000_000_000), uint64(1_000_000))
	f.Add("a\"\\\n", 1e6, uint64(0), uint64(999_999), uint64(1<<31), uint64(1<<53))
	f.Add("", math.Inf(1), uint64(33_554_432), uint64(0), uint64(33_554_431), uint64(1))
	f.Add("é", -0.0001, uint64(1), uint64(1e15), uint64(2), uint64(123_456_789))
	f.Fuzz(func(t *testing.T, text string, value float64, ns1, n1, ns2, n2 uint64) {
		text = strings.ToValidUTF8(text, "?")
		h := &histogram.Histogram{}
		h.AddN(ns1, n1%(1<<60))
		h.AddN(ns2, n2%(1<<60))
		mark := kept{journey: tracer.Journey{ID: n1, Stamps: []tracer.Stamp{{T: 0}, {T: time.Duration(ns2 % (1 << 40))}}}, at: time.Unix(int64(ns1%(1<<33)), 5)}
		for _, form := range []Form{{Native: true}, {Classic: true}, {Native: true, Classic: true}} {
			l := newLayout(form)
			for _, r := range []*row{
				{of: counterOf("x_total", "a\\b\nc\"d", "zone", "container"), labels: &labels{values: []string{text, "c"}}, value: value, since: time.Unix(int64(n1%(1<<33)), int64(n2%1e9))},
				{of: gaugeOf("y", "help"), labels: &labels{}, value: value},
				{of: histogramOf("z_seconds", "help", "hop"), labels: &labels{values: []string{text}}, hist: h, marks: []*dto.Exemplar{mark.exemplar()}},
				{of: histogramOf("zz_seconds", "help"), labels: &labels{}, hist: h, since: time.Unix(0, 0)},
			} {
				against(t, l, r)
			}
		}
	})
}

// against compares each encoding of a row with the library's of its dto.
func against(t *testing.T, l *layout, r *row) {
	t.Helper()
	family := &dto.MetricFamily{Name: &r.of.name, Help: &r.of.help, Type: r.of.kind.Enum(), Metric: []*dto.Metric{l.metric(r)}}
	for format, as := range map[expfmt.Format]encoding{
		expfmt.NewFormat(expfmt.TypeTextPlain):   textEncoding{layout: l},
		expfmt.NewFormat(expfmt.TypeOpenMetrics): textEncoding{layout: l, openMetrics: true},
		expfmt.NewFormat(expfmt.TypeProtoDelim):  &wireEncoding{layout: l},
	} {
		var want bytes.Buffer
		if err := expfmt.NewEncoder(&want, format).Encode(family); err != nil {
			t.Fatal(err)
		}
		rows := as.row(nil, r)
		got := append(as.heading(nil, r.of, rows), rows...)
		if format.FormatType() == expfmt.TypeProtoDelim {
			if a, b := messages(t, got), messages(t, want.Bytes()); len(a) != 1 || !proto.Equal(a[0], b[0]) {
				t.Errorf("%v\nthe library has\n%v", a, b)
			}
		} else if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s\nthe library has\n%s", got, want.Bytes())
		}
	}
}
