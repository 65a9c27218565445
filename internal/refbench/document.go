// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"fmt"
	"time"

	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/result"
)

func (r *runner) document() result.Document {
	d := result.Document{
		Schema: result.Schema, Kind: result.KindBench, Version: r.Version,
		Start: r.start.UTC().Format(time.RFC3339Nano), DurationS: time.Since(r.start).Seconds(),
		Environment: r.Environment, Bench: r.bench, Comparisons: r.all, Notes: r.notes,
	}
	d.Answer = r.answer()
	return d
}

// answer is the first comparison's in one sentence.
func (r *runner) answer() string {
	if len(r.all) == 0 {
		return "nothing was compared: name two ways"
	}
	c := r.all[0]
	of, _ := wayNamed(r.ways, c.Of)
	against, _ := wayNamed(r.ways, c.Against)
	load, _ := loadNamed(c.Load)
	difference, base := c.Explained.Client, c.Explained.Base
	if difference == nil || base == nil {
		return fmt.Sprintf("%s against %s, %s: too few rounds to tell a difference", of.Title, against.Title, load.Title)
	}
	if difference.Lo <= 0 && difference.Hi >= 0 {
		return fmt.Sprintf("%s and %s are not distinguishable (%s): the difference of the client's mean is %s",
			of.Title, against.Title, load.Title, compare.Interval(*difference, true))
	}
	text := fmt.Sprintf("%s adds %s to what the client waits for an answer in %s, %+.0f%% (%s)",
		of.Title, compare.Interval(*difference, false), against.Title, difference.Ns/base.Ns*100, load.Title)
	if s := c.ExplainedShare; s != nil {
		text += fmt.Sprintf("; %.0f%% [%.0f, %.0f] of it is seen, hop by hop", s.Share*100, s.Lo*100, s.Hi*100)
	}
	return text
}
