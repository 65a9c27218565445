package grafana

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const tag = "vethtrace"

// uids of the dashboards, which links name.
const (
	bridgeUID    = "vethtrace-bridge-host"
	containerUID = "vethtrace-container"
	fleetUID     = "vethtrace-fleet"
)

// File is a dashboard and the name of its file.
type File struct {
	Name      string
	Dashboard dashboard.Dashboard
}

// Files builds all dashboards.
func Files() ([]File, error) {
	var files []File
	for _, one := range []struct {
		name  string
		build func() *dashboard.DashboardBuilder
	}{
		{"bridge-vs-host.json", bridgeVersusHost},
		{"container.json", oneContainer},
		{"fleet.json", fleet},
	} {
		d, err := one.build().Build()
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", one.name, err)
		}
		for i := range d.Links {
			d.Links[i].Placement = nil // the SDK's default hides them in a menu
		}
		files = append(files, File{Name: one.name, Dashboard: d})
	}
	return files, nil
}

// Encode writes a dashboard as its file has it.
func Encode(d dashboard.Dashboard) ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode dashboard %s: %w", *d.Title, err)
	}
	return append(text, '\n'), nil
}

// newDashboard has what all of them share. Links take the variables and the time along.
func newDashboard(uid, title, description string, more ...cog.Builder[dashboard.VariableModel]) *dashboard.DashboardBuilder {
	b := dashboard.NewDashboardBuilder(title).
		Uid(uid).Description(description).Tags([]string{tag}).Editable().Timezone("browser").
		Time("now-1h", "now").Refresh("30s").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").
			Label("Data source").Description("The Prometheus that scrapes vethtrace.").Type("prometheus")).
		WithVariable(dashboard.NewCustomVariableBuilder("histograms").
			Label("Histograms").Description("How this Prometheus holds latencies.").
			Values(dashboard.StringOrMap{String: cog.ToPtr("native : 1,classic : 0")}).
			Options([]dashboard.VariableOption{option("native", "1", true), option("classic", "0", false)}).
			Current(option("native", "1", true))).
		WithVariable(labelValues("host", "Host", "Machines, as Prometheus names them.", "vethtrace_targets", "instance")).
		WithVariable(labelValues("container", "Container", "Containers that are traced.",
			`vethtrace_target_info{instance=~"$host"}`, "container"))
	for _, v := range more {
		b = b.WithVariable(v)
	}
	return b.Link(dashboard.NewDashboardLinkBuilder("vethtrace").
		Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).AsDropdown(false).
		Tooltip("The other dashboards of vethtrace").IncludeVars(true).KeepTime(true))
}

func option(text, value string, selected bool) dashboard.VariableOption {
	return dashboard.VariableOption{
		Selected: cog.ToPtr(selected),
		Text:     dashboard.StringOrArrayOfString{String: cog.ToPtr(text)},
		Value:    dashboard.StringOrArrayOfString{String: cog.ToPtr(value)},
	}
}

// labelValues is a variable of the values that a label has. All is .+: series
// of a label without value are of no container.
func labelValues(name, label, description, series, of string) cog.Builder[dashboard.VariableModel] {
	query := fmt.Sprintf("label_values(%s, %s)", series, of)
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).Description(description).Datasource(source()).
		Query(dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": "StandardVariableQuery"}}).
		Definition(query).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).Multi(true).IncludeAll(true).AllValue(".+").
		Current(dashboard.VariableOption{
			Selected: cog.ToPtr(true),
			Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value:    dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		})
}

// hopVariable has the hops of both forms of histograms: native ones have no
// series with a suffix, classic ones none without.
func hopVariable() cog.Builder[dashboard.VariableModel] {
	return labelValues("hop", "Hop", "Hops of which heat maps are drawn.",
		`{__name__=~"vethtrace_hop_latency_seconds(_count)?", instance=~"$host", container=~"$container"}`, "hop")
}
