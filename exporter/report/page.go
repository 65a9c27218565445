// SPDX-License-Identifier: Apache-2.0

package report

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/internal/result"
	"github.com/vethtrace/vethtrace/tracer"
)

//go:embed page.gohtml page.css page.js
var files embed.FS

// parse makes the template with its style and script. Their hashes are the
// page's policy: nothing else is loaded or run.
func parse() (*template.Template, error) {
	style, err := files.ReadFile("page.css")
	if err != nil {
		return nil, fmt.Errorf("read style of report: %w", err)
	}
	script, err := files.ReadFile("page.js")
	if err != nil {
		return nil, fmt.Errorf("read script of report: %w", err)
	}
	t, err := template.New("page.gohtml").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) },
		"script": func() template.JS { return template.JS(script) },
		"policy": func() string {
			return "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'"
		},
		"seconds": func(s float64) string { return page.Duration(s * 1e9) },
		"escape":  page.Escape,
		"upper":   upper,
		"moment":  moment,
	}).ParseFS(files, "page.gohtml")
	if err != nil {
		return nil, fmt.Errorf("read page of report: %w", err)
	}
	return t, nil
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// upper begins a sentence.
func upper(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// begun begins a sentence, unless with a name, which is written as it is.
func begun(s string, names ...string) string {
	for _, name := range names {
		if strings.HasPrefix(s, name) {
			return s
		}
	}
	return upper(s)
}

// moment is a time to the second; what is none is left as it is.
func moment(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.UTC().Format(time.DateTime) + " UTC"
}

// view is what the template is given.
type view struct {
	result.Document
	Title        string
	Overview     table
	Differences  table
	Sections     []sectionView
	Environments []environmentView
	Environment  table
	Failed       string // the environments could not be laid out
}

type environmentView struct{ Name, Sentence string }

type sectionView struct {
	ID, Title   string
	Open        bool
	Packed      template.HTML // what is in it, where it is closed at first
	Bars        template.HTML
	Hops        table
	Clients     table
	Effects     template.HTML
	Comparisons []comparisonView
	Accounting  table
	Losses      table
	Cost        table
}

type comparisonView struct {
	result.Comparison
	ID, Title, HopsID         string
	Open                      bool
	Packed                    template.HTML
	RoundTrip                 template.HTML
	TripTable                 table
	Layers, Effects, HopPlots template.HTML
	LayerTable, RowTable      table
	Explained                 table
	Disturbed                 string
	Share                     template.HTML
	Chains                    []chainView
	Timelines                 template.HTML
	Stamps                    table
}

type chainView struct {
	Title string
	SVG   template.HTML
}

func newPage(r *reading) view {
	v := view{Document: r.Document, Title: "vethtrace: " + r.Kind, Overview: overview(r), Differences: differences(r.Document)}
	if v.Caution != "" { // it stands below, by itself
		v.Answer = strings.TrimSuffix(v.Answer, "; "+v.Caution)
	}
	if len(v.Comparisons) > 0 {
		v.Answer = begun(v.Answer, v.Comparisons[0].Of+" ", v.Comparisons[0].Against+" ")
	}
	for i, s := range r.sections {
		v.Sections = append(v.Sections, newSection(s, i == 0))
	}
	for _, e := range r.environments {
		v.Environments = append(v.Environments, environmentView{page.Escape(e.name), sentence(e.env)})
	}
	var err error
	if v.Environment, err = environmentTable(r.environments); err != nil {
		v.Failed = err.Error()
	}
	return v
}

// differences are those of the environments of saved documents.
func differences(d result.Document) table {
	of, against := "of", "against"
	if len(d.Comparisons) == 1 && d.Comparisons[0].Of != d.Comparisons[0].Against {
		of, against = d.Comparisons[0].Of, d.Comparisons[0].Against
	}
	t := table{head: []string{"What differs", page.Escape(against), page.Escape(of)}, left: 3}
	for _, x := range d.Differences {
		t.add(text(x.Key), text(x.Against), text(x.Of))
	}
	return t
}

func newSection(s *section, open bool) sectionView {
	v := sectionView{
		ID: s.id, Title: s.title(), Open: open, Bars: stacked(s.sides), Hops: hops(s.sides), Clients: clients(s), Effects: clientEffects(s),
		Accounting: accounting(s.sides), Losses: losses(s.sides), Cost: cost(s.sides),
	}
	for i, c := range s.comparisons {
		one := newComparison(c, i == 0)
		one.HopsID = s.id + "-hops"
		v.Comparisons = append(v.Comparisons, one)
	}
	return v
}

func newComparison(c *comparison, open bool) comparisonView {
	sides := []*side{c.of, c.against}
	v := comparisonView{
		Comparison: c.Comparison, Open: open, ID: "c" + strings.ReplaceAll(c.at, "/", "-"),
		Title:  page.Escape(c.of.heading()) + " against " + page.Escape(c.against.title),
		Layers: effects(layerEffects(c)), Effects: effects(rowEffects(c)), HopPlots: curves(hopPanels(c), c.Of, c.Against),
		LayerTable: layerTable(c), RowTable: rowTable(c), Explained: explainedTable(c), Share: part(c.ExplainedShare, c.at+"/explained_share"),
		Timelines: timelines(sides), Stamps: stampTable(sides),
	}
	v.Verdict = begun(v.Verdict, c.Of+" ", c.Against+" ")
	if c.Explained != nil {
		v.Disturbed = page.Disturbed(c.Explained)
	}
	if c.of.cell != nil && c.against.cell != nil {
		v.RoundTrip = curves([]panel{roundTrip(c, "untraced"), roundTrip(c, "traced")}, c.of.title, c.against.title)
		v.TripTable = tripTable(sides)
	}
	for _, s := range sides {
		for _, d := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
			if svg := chain(s, d); svg != "" {
				v.Chains = append(v.Chains, chainView{page.Escape(s.heading()) + ": " + directionTitle(d), svg})
			}
		}
	}
	return v
}

// roundTrip is the distribution of what the clients of both ways waited.
func roundTrip(c *comparison, key string) panel {
	latency := func(s *side) result.Latency {
		if key == "traced" {
			return s.cell.Traced.Latency
		}
		return s.cell.Untraced.Latency
	}
	of, against := latency(c.of), latency(c.against)
	title := "The client's wait, nothing attached"
	if key == "traced" {
		title = "The client's wait, while traced"
	}
	return panel{
		title: title, class: "l-whole wide", of: curveOf(of.Buckets, of.MaxNs, 0), against: curveOf(against.Buckets, against.MaxNs, 0),
		figures: [2]*result.Figures{{P50Ns: of.P50Ns}, {P50Ns: against.P50Ns}},
		medians: [2]string{c.of.cellAt + "/" + key + "/latency/p50_ns", c.against.cellAt + "/" + key + "/latency/p50_ns"},
	}
}
