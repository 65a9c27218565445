package grafana

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/vethtrace/vethtrace/exporter/grafana/internal/feed"

	client "github.com/prometheus/client_golang/prometheus"
)

func allFiles(t *testing.T) []File {
	t.Helper()
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Fatalf("%d dashboards", len(files))
	}
	return files
}

// panels of a dashboard that ask something: all but rows.
func panels(d dashboard.Dashboard) []*dashboard.Panel {
	var all []*dashboard.Panel
	for _, p := range d.Panels {
		if p.Panel != nil {
			all = append(all, p.Panel)
		}
	}
	return all
}

func expressions(t *testing.T, p *dashboard.Panel) []*prometheus.Dataquery {
	t.Helper()
	var all []*prometheus.Dataquery
	for _, target := range p.Targets {
		switch q := target.(type) {
		case prometheus.Dataquery:
			all = append(all, &q)
		case *prometheus.Dataquery:
			all = append(all, q)
		default:
			t.Fatalf("%s: a query of %T", *p.Title, target)
		}
	}
	return all
}

func TestFilesAreWhatTheCodeMakes(t *testing.T) {
	for _, f := range allFiles(t) {
		want, err := Encode(f.Dashboard)
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s is not what the code makes: go generate ./exporter/grafana", f.Name)
		}
	}
}

func TestFilesDecodeStrictlyAndAreValid(t *testing.T) {
	for _, f := range allFiles(t) {
		text, err := os.ReadFile(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		if found := problems(t, d.UnmarshalJSONStrict(text)); len(found) > 0 {
			t.Errorf("%s: %v", f.Name, found)
		}
		if found := problems(t, d.Validate()); len(found) > 0 {
			t.Errorf("%s: %v", f.Name, found)
		}
		bad := bytes.Replace(text, []byte(`"description"`), []byte(`"decsription"`), 1)
		if len(problems(t, new(dashboard.Dashboard).UnmarshalJSONStrict(bad))) == 0 {
			t.Error("strict decoding takes a name that there is not")
		}
	}
}

// problems are those in an error of the SDK, which may be an empty list that is not nil.
func problems(t *testing.T, err error) cog.BuildErrors {
	t.Helper()
	var list cog.BuildErrors
	if err != nil && !errors.As(err, &list) {
		t.Errorf("%T: %v", err, err)
	}
	return list
}

func TestDashboardsKeepTheRules(t *testing.T) {
	uids := map[string]bool{}
	for _, f := range allFiles(t) {
		d := f.Dashboard
		if d.Uid == nil || uids[*d.Uid] || len(*d.Uid) > 40 {
			t.Errorf("%s: uid %v", f.Name, d.Uid)
		}
		uids[*d.Uid] = true
		if *d.Title == "" || *d.Description == "" || len(d.Links) == 0 || d.Links[0].Tags[0] != d.Tags[0] {
			t.Errorf("%s: title, description or links are missing", f.Name)
		}
		if len(d.Links) > 0 && d.Links[0].Placement != nil {
			t.Errorf("%s: its links are hidden: %s", f.Name, *d.Links[0].Placement)
		}
		if d.Id != nil {
			t.Errorf("%s has a database's id: it cannot be imported", f.Name)
		}
		checkVariables(t, f)
		titles, ids := map[string]bool{}, map[uint32]bool{}
		for _, p := range panels(d) {
			name := f.Name + ": " + *p.Title
			if titles[*p.Title] || ids[*p.Id] {
				t.Errorf("%s: its title or id is another one's too", name)
			}
			titles[*p.Title], ids[*p.Id] = true, true
			checkPanel(t, name, p)
		}
		checkGrid(t, f)
	}
}

func checkVariables(t *testing.T, f File) {
	t.Helper()
	have := map[string]bool{}
	for _, v := range f.Dashboard.Templating.List {
		have[v.Name] = true
		if v.Label == nil || v.Description == nil {
			t.Errorf("%s: variable %s has no label or description", f.Name, v.Name)
		}
	}
	for _, name := range []string{"datasource", "histograms", "host", "container"} {
		if !have[name] {
			t.Errorf("%s has no variable %s", f.Name, name)
		}
	}
	text, err := json.Marshal(f.Dashboard.Panels)
	if err != nil {
		t.Fatal(err)
	}
	for _, used := range regexp.MustCompile(`\$\{?(\w+)`).FindAllSubmatch(text, -1) {
		if name := string(used[1]); !have[name] && !strings.HasPrefix(name, "__") {
			t.Errorf("%s uses a variable %s that there is not", f.Name, name)
		}
	}
}

func checkPanel(t *testing.T, name string, p *dashboard.Panel) {
	t.Helper()
	if *p.Title == "" || p.Description == nil || !strings.HasSuffix(*p.Description, ".") {
		t.Errorf("%s: no title, or no sentence that describes it", name)
	}
	if p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == nil || *p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s: no unit", name)
	}
	if p.Datasource == nil || *p.Datasource.Uid != "${datasource}" {
		t.Errorf("%s: its data source is not the variable's", name)
	}
	refs := map[string]bool{}
	var native, classic int
	for _, q := range expressions(t, p) {
		if refs[*q.RefId] || *q.Datasource.Uid != "${datasource}" {
			t.Errorf("%s %s: another query has its name, or its data source is not the variable's", name, *q.RefId)
		}
		refs[*q.RefId] = true
		if strings.Contains(q.Expr, "rate(") && strings.Count(q.Expr, "[") != strings.Count(q.Expr, "[$__rate_interval]") {
			t.Errorf("%s %s: a rate over a fixed time: %s", name, *q.RefId, q.Expr)
		}
		if !strings.Contains(q.Expr, `instance=~"$host"`) || q.LegendFormat == nil {
			t.Errorf("%s %s: does not take the host, or has no legend", name, *q.RefId)
		}
		switch isNative, isClassic := strings.HasSuffix(q.Expr, ifNative), strings.HasSuffix(q.Expr, ifClassic); {
		case isNative:
			native++
		case isClassic:
			classic++
		case histogramMetric.MatchString(q.Expr):
			t.Errorf("%s %s: asks for a histogram whatever its form: %s", name, *q.RefId, q.Expr)
		}
	}
	if native != classic || len(refs) == 0 {
		t.Errorf("%s: %d queries, %d for native and %d for classic histograms", name, len(refs), native, classic)
	}
}

var histogramMetric = regexp.MustCompile(`vethtrace_(hop_latency|path_latency|waiting|proxy)_seconds`)

func checkGrid(t *testing.T, f File) {
	t.Helper()
	taken := map[[2]uint32]string{}
	fill := func(title string, at *dashboard.GridPos) {
		if at == nil || at.W == 0 || at.H == 0 || at.X+at.W > gridWidth {
			t.Fatalf("%s: %s lies at %+v", f.Name, title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]uint32{x, y}]; other != "" {
					t.Fatalf("%s: %s lies over %s", f.Name, title, other)
				}
				taken[[2]uint32{x, y}] = title
			}
		}
	}
	for _, p := range f.Dashboard.Panels {
		if p.Panel != nil {
			fill(*p.Panel.Title, p.Panel.GridPos)
		} else {
			fill(*p.RowPanel.Title, p.RowPanel.GridPos)
		}
	}
}

// TestMetricsExist: each metric that a dashboard or a rule names is one that the
// collector describes, or of a recording rule.
func TestMetricsExist(t *testing.T) {
	known := map[string]bool{}
	ch := make(chan *client.Desc, 100)
	feed.Collector(feed.NewMoving(0)).Describe(ch)
	close(ch)
	fqName := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range ch {
		name := fqName.FindStringSubmatch(d.String())[1]
		known[name] = true
		if histogramMetric.MatchString(name) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[name+suffix] = true
			}
		}
	}
	check := func(where, text string) {
		found := regexp.MustCompile(`(?:[\w]+:)?vethtrace_\w+(?::\w+)?`).FindAllString(text, -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", where)
		}
		for _, name := range found {
			if !known[name] {
				t.Errorf("%s: nothing exports %s", where, name)
			}
		}
	}
	rules := readRules(t)
	for _, r := range rules {
		if r.Record != "" {
			known[r.Record] = true
		}
	}
	for _, r := range rules {
		if r.Alert != "VethtraceExporterDown" { // of Prometheus' own up
			check(r.Record+r.Alert, r.Expr)
		}
	}
	for _, f := range allFiles(t) {
		for _, p := range panels(f.Dashboard) {
			for _, q := range expressions(t, p) {
				check(f.Name+": "+*p.Title, q.Expr)
			}
		}
		for _, v := range f.Dashboard.Templating.List {
			if v.Query != nil && v.Query.Map != nil {
				q, _ := v.Query.Map["query"].(string)
				check(f.Name+": variable "+v.Name, strings.ReplaceAll(q, "(_count)?", ""))
			}
		}
	}
}
