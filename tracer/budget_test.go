package tracer_test

import (
	"testing"

	"github.com/vethtrace/vethtrace/internal/lab"
	"github.com/vethtrace/vethtrace/tracer"
)

// wide is a budget that is never used up: the hooks of budget mode, attached all the time.
const wide = 100

// With a budget the devices' borders are others; paths, names and counts are the same.
func TestBudgetOrderOfHops(t *testing.T) {
	bothWires(t, func(t *testing.T, wire lab.WireKind) {
		for _, detail := range []tracer.Detail{tracer.DetailDevices, tracer.DetailHooks, tracer.DetailTables} {
			t.Run(string(detail), func(t *testing.T) {
				orderOfHops(t, wire, tracer.Config{Detail: detail, MaxOverhead: wide})
			})
		}
	})
}
