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
	differences := make([]result.Difference, 0, len(found))
	for _, d := range found {
		differences = append(differences, result.Difference{Key: d.Key, Of: d.A, Against: d.B})
	}
	return differences, caution(why), nil
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
