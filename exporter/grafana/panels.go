package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// kind is how a panel draws.
type kind int

const (
	lines   kind = iota
	stacked      // lines that add up
	heat
	figure // one number
)

// Units, as Grafana names them.
const (
	seconds      = "s"
	perSecond    = "cps"
	bytesPerSec  = "Bps"
	percentage   = "percentunit"
	plainNumber  = "short"
	gridWidth    = 24
	figureHeight = 4
	panelHeight  = 8
	rowHeight    = 1
)

// panel is what a dashboard's author says of one.
type panel struct {
	kind        kind
	title       string
	description string
	unit        string
	width       int // of 24
	repeat      string
	queries     []query
}

// section is a row of a dashboard and the panels below it.
type section struct {
	title  string
	panels []panel
}

// source is the data source that the variable chooses.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// targets are the queries as Grafana wants them, both variants of each.
func (p panel) targets() []cog.Builder[variants.Dataquery] {
	var all []cog.Builder[variants.Dataquery]
	add := func(expr string, of query) {
		format := prometheus.PromQueryFormatTimeSeries
		if p.kind == heat {
			format = prometheus.PromQueryFormatHeatmap
		}
		q := prometheus.NewDataqueryBuilder().
			Datasource(source()).Expr(expr).LegendFormat(of.legend).Format(format).
			EditorMode(prometheus.QueryEditorModeCode).RefId(string(rune('A' + len(all))))
		if p.kind == figure {
			q = q.Instant()
		} else {
			q = q.Range()
		}
		if of.exemplars {
			q = q.Exemplar(true)
		}
		all = append(all, q)
	}
	for _, q := range p.queries {
		if q.plain != "" {
			add(q.plain, q)
			continue
		}
		add(q.native, q)
		add(q.classic, q)
	}
	return all
}

// build makes the panel at a place of the grid.
func (p panel) build(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	switch p.kind {
	case heat:
		return p.heatmap(id, at)
	case figure:
		return stat.NewPanelBuilder().
			Id(id).GridPos(at).Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
			Targets(p.targets()).GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeNone).
			TextMode(p.textMode()).NoValue("none").
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
	default:
		return p.series(id, at)
	}
}

// textMode leaves a name out that is the panel's title.
func (p panel) textMode() common.BigValueTextMode {
	if len(p.queries) == 1 && p.queries[0].legend == p.title {
		return common.BigValueTextModeValue
	}
	return common.BigValueTextModeValueAndName
}

// noValue is what an empty panel says. One of latencies is empty also where the
// variable is not what Prometheus holds, which nothing else would tell.
func (p panel) noValue() string {
	for _, q := range p.queries {
		if q.native != "" {
			return "no packets, or not the form that Histograms (above) says"
		}
	}
	return "none"
}

func (p panel) series(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	b := timeseries.NewPanelBuilder().
		Id(id).GridPos(at).Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
		Targets(p.targets()).NoValue(p.noValue()).LineWidth(1).FillOpacity(0).ShowPoints(common.VisibilityModeNever).AxisSoftMin(0).
		Legend(common.NewVizLegendOptionsBuilder().
			ShowLegend(true).DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementRight).
			Calcs([]string{"lastNotNull"}).SortBy("Last *").SortDesc(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if p.kind == stacked {
		b = b.FillOpacity(60).Min(0).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
	}
	return b
}

func (p panel) heatmap(id uint32, at dashboard.GridPos) cog.Builder[dashboard.Panel] {
	b := heatmap.NewPanelBuilder().
		Id(id).GridPos(at).Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
		Targets(p.targets()).NoValue(p.noValue()).Calculate(false).CellGap(0).HideLegend().
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(p.unit)).
		Color(heatmap.NewHeatmapColorOptionsBuilder().
			Mode(heatmap.HeatmapColorModeScheme).Scheme("Turbo").Scale(heatmap.HeatmapColorScaleExponential).
			Exponent(0.5).Steps(64).Fill("dark-blue").Reverse(false)).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle).YHistogram(true))
	if p.repeat != "" {
		b = b.Repeat(p.repeat).RepeatDirection(dashboard.PanelRepeatDirectionH).MaxPerRow(3)
	}
	return b
}

// layOut puts sections below each other, and panels beside each other while there is room.
func layOut(b *dashboard.DashboardBuilder, sections []section) {
	id, y := uint32(1), uint32(0)
	for _, s := range sections {
		b.WithRow(dashboard.NewRowBuilder(s.title).Id(id).GridPos(dashboard.GridPos{H: rowHeight, W: gridWidth, Y: y}))
		id, y = id+1, y+rowHeight
		x, high := 0, uint32(0)
		for _, p := range s.panels {
			if x+p.width > gridWidth {
				x, y, high = 0, y+high, 0
			}
			h := uint32(panelHeight)
			if p.kind == figure {
				h = figureHeight
			}
			b.WithPanel(p.build(id, dashboard.GridPos{H: h, W: uint32(p.width), X: uint32(x), Y: y}))
			id, x, high = id+1, x+p.width, max(high, h)
		}
		y += high
	}
}
