package main

import (
	"encoding/json"
	"fmt"
	"math"
)

func last(values []float64) float64 {
	for i := len(values) - 1; i >= 0; i-- {
		if !math.IsNaN(values[i]) {
			return values[i]
		}
	}
	return 0
}

// format writes a value with a unit of Grafana's.
func format(v float64, unit string) string {
	switch unit {
	case "s":
		switch size := math.Abs(v); {
		case size == 0:
			return "0 s"
		case size < 1e-6:
			return fmt.Sprintf("%.0f ns", v*1e9)
		case size < 1e-3:
			return fmt.Sprintf("%.2f µs", v*1e6)
		case size < 1:
			return fmt.Sprintf("%.2f ms", v*1e3)
		}
		return fmt.Sprintf("%.2f s", v)
	case "percentunit":
		return fmt.Sprintf("%.2f%%", v*100)
	}
	suffix := map[string]string{"cps": " /s", "Bps": " B/s"}[unit]
	switch size := math.Abs(v); {
	case size >= 1e6:
		return fmt.Sprintf("%.1fM%s", v/1e6, suffix)
	case size >= 1e3:
		return fmt.Sprintf("%.1fk%s", v/1e3, suffix)
	}
	return fmt.Sprintf("%.4g%s", v, suffix)
}

// mustJSON is nil for what cannot be written, which a panel that was decoded can.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return text
}
