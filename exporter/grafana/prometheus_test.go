package grafana

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"

	"github.com/vethtrace/vethtrace/exporter/grafana/internal/feed"
)

// rule is one of the rule file.
type rule struct {
	Record, Alert, Expr string
	Annotations         map[string]string
	Labels              map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile("rules/vethtrace.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("%d rules", len(all))
	}
	return all
}

// shorter makes days of rules into seconds: what they compare is then there
// within a test.
func shorter(rules string) string {
	return strings.NewReplacer(
		"[1w:30m]", "[10s:1s]", "offset 1d", "offset 2s", "[30m]", "[4s]", "[5m]", "[4s]", "[1h]", "[10s]",
		"interval: 30m", "interval: 1s", "interval: 1m", "interval: 1s",
	).Replace(rules)
}

func TestRulesDoWhatTheySay(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "vethtrace.yml"}, {"test", "rules", "vethtrace_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = "rules"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	text, err := os.ReadFile("rules/vethtrace_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	told, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readRules(t) {
		if !strings.Contains(string(text), r.Record+r.Alert) {
			t.Errorf("%s has no test", r.Record+r.Alert)
		}
		if r.Alert != "" && (r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "") {
			t.Errorf("%s: no summary, description or severity", r.Alert)
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "/docs/alerts.md#")
		if r.Alert != "" && (anchor != strings.ToLower(r.Alert) || !strings.Contains(string(told), "\n## "+r.Alert+"\n")) {
			t.Errorf("%s: its page is %q", r.Alert, r.Annotations["runbook_url"])
		}
	}
}

// slowAfter is when the feed's times grow, measureFor how long it is watched.
const (
	slowAfter  = 16 * time.Second
	measureFor = 20 * time.Second
	settled    = 6 * time.Second // until rates are there
	patience   = 90 * time.Second
)

// TestQueriesGiveSaneValues: a real Prometheus scrapes a collector, and each
// query of each panel, rule and alert gives what it should.
func TestQueriesGiveSaneValues(t *testing.T) {
	for _, native := range []bool{true, false} {
		name := map[bool]string{true: "native", false: "classic"}[native]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startFeed(t, native)
			begin := time.Now()
			time.Sleep(measureFor)
			var wrong faults
			for deadline := begin.Add(patience); ; time.Sleep(5 * time.Second) {
				wrong = checkQueries(t, server, native, begin.Add(settled), time.Now())
				if len(wrong) == 0 || time.Now().After(deadline) {
					break // a busy machine has too few scrapes at first
				}
			}
			for _, one := range wrong {
				t.Error(one)
			}
		})
	}
}

// faults are what is wrong now and may not be later.
type faults []string

func (p *faults) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// checkQueries asks those of all panels and rules.
func checkQueries(t *testing.T, server *feed.Server, native bool, from, to time.Time) (wrong faults) {
	t.Helper()
	choice := Choice{Native: native, Interval: 4 * time.Second}
	for _, f := range allFiles(t) {
		for _, p := range panels(f.Dashboard) {
			for _, q := range expressions(t, p) {
				where := f.Name + ": " + *p.Title + " " + *q.RefId
				lines, err := server.Query(t.Context(), choice.Substitute(q.Expr), from, to, time.Second)
				switch other := native != strings.HasSuffix(q.Expr, ifNative) && histogramMetric.MatchString(q.Expr); {
				case err != nil:
					wrong.add("%s: %v", where, err)
				case !other:
					wrong.checkLines(where, *p.FieldConfig.Defaults.Unit, *q.LegendFormat, lines)
				case len(lines) != 0:
					wrong.add("%s: the other form's query answers too", where)
				}
			}
		}
	}
	wrong.checkRules(t, server, from.Add(measureFor-settled), to) // an alert compares with a time that goes on
	return wrong
}

func startFeed(t *testing.T, native bool) *feed.Server {
	t.Helper()
	rules, err := os.ReadFile("rules/vethtrace.yml")
	if err != nil {
		t.Fatal(err)
	}
	server, err := feed.Start(context.Background(), feed.Config{
		Dir: t.TempDir(), Native: native, Rules: shorter(string(rules)), Source: feed.NewMoving(slowAfter),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() || strings.Contains(server.Log(), "level=error") {
			t.Error(server.Log())
		}
	})
	return server
}

// checkLines holds values against what the sample can give: each line's legend is filled in, too.
func (p *faults) checkLines(where, unit, legend string, lines []feed.Line) {
	if len(lines) == 0 {
		p.add("%s: nothing", where)
	}
	// names of differences, heat maps and figures aside, no sum of the sample is beyond these
	limits := map[string][2]float64{
		seconds: {-1e-3, 50e-3}, perSecond: {0, 1e6}, bytesPerSec: {0, 1e9}, plainNumber: {0, 100},
		percentage: {0, 2}, // rates of a second that came late
	}[unit]
	if strings.Contains(where, "Distribution") || strings.Contains(where, "$hop") {
		limits = [2]float64{0, 1e6} // counts, at times
	}
	if strings.Contains(where, "Time of a scrape") {
		limits = [2]float64{0, 1} // this machine's, with others on it
	}
	positive := false
	for _, l := range lines {
		for _, label := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(legend, -1) {
			if l.Labels[label[1]] == "" && label[1] != "le" {
				p.add("%s: no label %s for the legend: %v", where, label[1], l.Labels)
			}
		}
		for _, v := range l.Values {
			if (v < limits[0] || v > limits[1]) && !math.IsNaN(v) {
				p.add("%s: %v is %v %s", where, l.Labels, v, unit)
			}
			positive = positive || v > 0
		}
	}
	zero := strings.Contains(where, "do not answer")
	if positive == zero {
		p.add("%s: above zero: %v", where, positive)
	}
}

func (p *faults) checkRules(t *testing.T, server *feed.Server, from, to time.Time) {
	t.Helper()
	for _, r := range readRules(t) {
		name := r.Record + r.Alert
		lines, err := server.Query(t.Context(), shorter(r.Expr), from, to, time.Second)
		if err != nil {
			p.add("%s: %v", name, err)
			continue
		}
		limits := [2]float64{1e-9, 50e-3}
		switch {
		case strings.Contains(name, "packets"), r.Alert == "VethtraceProxyOnBusyPath", r.Alert == "VethtraceDropsByPolicy":
			limits = [2]float64{0.1, 1e6}
		case r.Alert == "VethtraceExporterDown":
			limits = [2]float64{0, 0}
		}
		if len(lines) == 0 {
			p.add("%s: nothing", name)
		}
		for _, l := range lines {
			for _, v := range l.Values {
				if !math.IsNaN(v) && (v < limits[0] || v > limits[1]) {
					p.add("%s: %v is %v", name, l.Labels, v)
				}
			}
		}
		if r.Record == "" {
			continue
		}
		if recorded, err := server.Query(t.Context(), r.Record, from, to, time.Second); err != nil || len(recorded) == 0 {
			p.add("%s: not recorded: %v", name, err)
		}
	}
}
