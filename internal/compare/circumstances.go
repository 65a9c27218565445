// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"fmt"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/internal/environment"
	"github.com/vethtrace/vethtrace/internal/result"
)

// Circumstances are those of a saved measurement.
type Circumstances struct {
	Name        string
	Start       time.Time
	Duration    time.Duration
	Environment *environment.Environment // nil: an older version saved none
}

// Circumstanced says what differs in the environments of two saved measurements,
// and why their difference must not be read as the effect of a cause, "" where
// nothing speaks against it: two hosts differ in more than is written down, and
// so do two days of one host.
func Circumstanced(of, against Circumstances) ([]result.Difference, string, error) {
	var why []string
	if y, m, d := of.Start.UTC().Date(); true {
		if y2, m2, d2 := against.Start.UTC().Date(); y != y2 || m != m2 || d != d2 {
			why = append(why, fmt.Sprintf("on different days (%s and %s)", against.Start.UTC().Format(time.DateOnly), of.Start.UTC().Format(time.DateOnly)))
		}
	}
	if of.Environment == nil || against.Environment == nil {
		for _, c := range []Circumstances{of, against} {
			if c.Environment == nil {
				why = append(why, fmt.Sprintf("in circumstances that %s does not tell (an older version saved it)", c.Name))
			}
		}
		return nil, caution(why), nil
	}
	if host(*of.Environment) != host(*against.Environment) {
		why = append(why, fmt.Sprintf("on different hosts (%s and %s)", against.Environment.Host.Name, of.Environment.Host.Name))
	}
	found, err := environment.Differences(*of.Environment, *against.Environment)
	if err != nil {
		return nil, "", err
	}
	if gap, apart := apartBy(of, against); apart && len(why) == 0 {
		return changed(found), fmt.Sprintf("the two were measured one after the other, %s apart: a machine drifts meanwhile, which is in the difference as well: repeat both before a cause is named", gap), nil
	}
	return changed(found), caution(why), nil
}

func changed(found []environment.Difference) []result.Difference {
	differences := make([]result.Difference, 0, len(found))
	for _, d := range found {
		differences = append(differences, result.Difference{Key: d.Key, Of: d.A, Against: d.B})
	}
	return differences
}

// apartBy is the time from the beginning of one measurement to that of another, which began behind the
// other's end.
func apartBy(a, b Circumstances) (gap string, apart bool) {
	if b.Start.Before(a.Start) {
		a, b = b, a
	}
	if a.Start.Add(a.Duration).After(b.Start) {
		return "", false
	}
	between := b.Start.Sub(a.Start)
	if between >= time.Minute {
		return fmt.Sprintf("%.0f min", between.Minutes()), true
	}
	return fmt.Sprintf("%.0f s", between.Seconds()), true
}

// host tells machines apart: by their id, or by their name where they have none.
func host(e environment.Environment) string {
	if e.Host.Machine != "" {
		return e.Host.Machine
	}
	return "name " + e.Host.Name
}

func caution(why []string) string {
	if len(why) == 0 {
		return ""
	}
	return "the two were measured " + strings.Join(why, " and ") + ": no cause can be named for the difference"
}
