package grafana

import (
	"strings"
	"time"
)

// Choice is what a user has chosen by the variables.
type Choice struct {
	Native   bool
	Interval time.Duration // of rates; Grafana takes four scrapes or more
	Hop      string        // default all
}

// Substitute puts values in place of an expression's variables, as Grafana does.
func (c Choice) Substitute(expr string) string {
	histograms := "0"
	if c.Native {
		histograms = "1"
	}
	hop := c.Hop
	if hop == "" {
		hop = ".+"
	}
	return strings.NewReplacer(
		"$__rate_interval", c.Interval.String(), "$histograms", histograms,
		"$host", ".+", "$container", ".+", "$network", ".+", "$hop", hop,
	).Replace(expr)
}
