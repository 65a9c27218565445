// SPDX-License-Identifier: Apache-2.0

package refbench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vethtrace/vethtrace/internal/compare"
	"github.com/vethtrace/vethtrace/internal/loadgen"
	"github.com/vethtrace/vethtrace/internal/pace"
	"github.com/vethtrace/vethtrace/internal/result"
)

// Both ends of request-response run on one CPU, and one of them always wants it:
// what they do not use of a round's time is other work's. A client waits for that
// as well, the longer its way the more; the hops, which softirqs walk through,
// are not interrupted by it. So a way that takes longer is explained less, by as
// much as other work takes of the CPU.

// Work on another CPU of the same core takes nothing that the kernel could tell, and
// slows all the same: hops and client alike, but not in all rounds. A look at how
// quick the CPU is, right before each round and right behind it, tells.

// How much of a CPU other work may take.
const (
	mostOthers = 0.02          // of a round: what takes more is left out
	mostSlowed = pace.Slow - 1 // likewise, of what a probe beside the round takes longer
	worthWords = 0.02          // of the rounds that are left, or of a CPU's time that a hypervisor gives to others: from here on it is said
	worthSlow  = 0.1           // of the rounds, slowed ones: likewise
	leastKept  = 2             // rounds are left out down to one in so many: the quietest stay
)

// unknown is the share of other work that cannot be told.
func unknown() float64 { return math.NaN() }

// served is a server whose processor time can be told.
type served interface {
	CPUTime() (time.Duration, error)
}

// watched runs the load, and tells what part of the round other work had the CPU;
// unknown where more than the two ends have a part in a request, or more than one
// request is under way: interrupts are then left to a thread of the kernel.
func (b *running) watched(w Way, length time.Duration) (seen loadgen.Round, others float64, err error) {
	client := b.clients[w.Name]
	if w.Server == nil || !b.load.OnePacket {
		seen, err = client.Run(length)
		return seen, unknown(), err
	}
	before, err := w.Server.CPUTime()
	if err != nil {
		return seen, unknown(), err
	}
	if seen, err = client.Run(length); err != nil {
		return seen, unknown(), err
	}
	after, err := w.Server.CPUTime()
	if err != nil || seen.Busy <= 0 {
		return seen, unknown(), err
	}
	return seen, max(float64(seen.Busy-seen.CPU-(after-before))/float64(seen.Busy), 0), nil
}

// judgePace compares the probes of a way's rounds with its quickest ones, of both
// places apart: what a way leaves behind in the caches is its own.
func (c *cell) judgePace() {
	both := []*clientRounds{&c.untraced, &c.traced}
	var quick [2]float64
	for place := range quick {
		var probes []float64
		for _, rounds := range both {
			for _, p := range rounds.probes {
				if p[place] > 0 {
					probes = append(probes, float64(p[place]))
				}
			}
		}
		if quick[place] = pace.Quick(probes); quick[place] == 0 {
			return // and it stays unknown
		}
	}
	for _, rounds := range both {
		for i, p := range rounds.probes {
			if p[0] > 0 && p[1] > 0 {
				rounds.slowed[i] = max(float64(p[0])/quick[0], float64(p[1])/quick[1]) - 1
			}
		}
	}
}

// disturbed is how much a round was, on a scale on which 1 is the most that is next
// to nothing; 0 where that is not known.
func (c *clientRounds) disturbed(i int) (most float64) {
	for _, d := range []float64{c.others[i] / mostOthers, c.slowed[i] / mostSlowed} {
		if !math.IsNaN(d) {
			most = max(most, d)
		}
	}
	return most
}

// pick chooses the rounds that figures of cells are made of: those which other
// work disturbed next to nothing on any of them, or else the quietest ones. A round is
// left out of all of them alike, so that pairs stay pairs.
func pick(all ...*clientRounds) []int { return quietest(worst(all)) }

// worst is, round by round, how much the way was disturbed that was most.
func worst(all []*clientRounds) []float64 {
	rounds := math.MaxInt
	for _, c := range all {
		rounds = min(rounds, len(c.others))
	}
	most := make([]float64, rounds)
	for i := range most {
		for _, c := range all {
			most[i] = max(most[i], c.disturbed(i))
		}
	}
	return most
}

// quietest are the rounds that stay, in their order.
func quietest(disturbed []float64) []int {
	order := make([]int, len(disturbed))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(disturbed[a], disturbed[b]) })
	least := min(max((len(order)+leastKept-1)/leastKept, compare.MinRounds), len(order))
	n := least
	for n < len(order) && disturbed[order[n]] <= 1 {
		n++
	}
	kept := order[:n]
	slices.Sort(kept)
	return kept
}

// withoutInterrupts takes out what a kernel that keeps the time of interrupts
// apart counts as nobody's: each request has the same of it, so that the quietest
// rounds tell how much.
func (c *clientRounds) withoutInterrupts() {
	var each []float64 // ns of a request that nobody used
	for i, o := range c.others {
		if r := c.rounds[i]; !math.IsNaN(o) && r.Count > 0 {
			each = append(each, o*float64(r.SumNs)/float64(r.Count))
		}
	}
	if len(each) == 0 {
		return
	}
	slices.Sort(each)
	const tenth = 10
	floor := each[len(each)/tenth]
	for i, r := range c.rounds {
		if r.SumNs > 0 {
			c.others[i] = max(c.others[i]-floor*float64(r.Count)/float64(r.SumNs), 0) // unknown stays unknown
		}
	}
}

// meanOthers is what other work took of the time of rounds (nil: of all); nil where
// it is not known.
func (c *clientRounds) meanOthers(rounds []int) *float64 {
	var taken, time float64
	for i, o := range c.others {
		if !math.IsNaN(o) && (rounds == nil || slices.Contains(rounds, i)) {
			ns := float64(c.rounds[i].SumNs)
			taken, time = taken+o*ns, time+ns
		}
	}
	if time == 0 {
		return nil
	}
	share := taken / time
	return &share
}

// mostOf is the greater one of two shares that are known.
func mostOf(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// count adds the rounds of a comparison to what is told of the whole; kept are the
// untraced and the traced ones that its figures are made of.
func count(o *result.Others, e *result.Explained, kept [2][]int, of, against *cell) {
	for i, pair := range [][2]*clientRounds{{&of.untraced, &against.untraced}, {&of.traced, &against.traced}} {
		for _, c := range pair {
			o.Share = mostOf(o.Share, c.meanOthers(nil))
			e.OthersShare = mostOf(e.OthersShare, c.meanOthers(kept[i]))
		}
		rounds := min(len(pair[0].rounds), len(pair[1].rounds))
		e.Rounds += rounds
		e.LeftOut += rounds - len(kept[i])
		for round := range rounds {
			if pair[0].slowed[round] > mostSlowed || pair[1].slowed[round] > mostSlowed {
				e.Slow++
				if slices.Contains(kept[i], round) {
					e.SlowKept++
				}
			}
		}
	}
	o.KeptShare = mostOf(o.KeptShare, e.OthersShare)
	o.Rounds += e.Rounds
	o.LeftOut += e.LeftOut
	o.Slow += e.Slow
	o.SlowKept += e.SlowKept
}

// caution says what a reader of shares must know; "" on a quiet machine.
func caution(o result.Others) string {
	var parts []string
	say := func(format string, of ...any) { parts = append(parts, fmt.Sprintf(format, of...)) }
	rounds := float64(max(o.Rounds, 1))
	if o.Share != nil && *o.Share > worthWords {
		say("other work took up to %s of the CPU that request-response ran on", compare.Percent(*o.Share))
	}
	if float64(o.Slow) > worthSlow*rounds {
		say("in %d of %d rounds something slowed the CPU of request-response from outside, as work on another CPU of the same core does", o.Slow, o.Rounds)
	}
	if len(parts) > 0 && o.LeftOut > 0 {
		say("%d of %d rounds are left out for it", o.LeftOut, o.Rounds)
	}
	if o.KeptShare != nil && *o.KeptShare > worthWords {
		say("in those that stay other work took up to %s: explained shares are lower, by at least as much, than on a quiet machine", compare.Percent(*o.KeptShare))
	}
	if float64(o.SlowKept) > worthSlow*rounds {
		// the client's wait is of other rounds than the hops' time
		say("%d slowed ones are among those that stay: figures are longer, and explained shares may be off to either side by more than their intervals", o.SlowKept)
	}
	if o.StealShare != nil && *o.StealShare > worthWords {
		say("the hypervisor gave %s of that CPU to others: figures are longer, and shares lower, than on a quiet machine", compare.Percent(*o.StealShare))
	}
	return strings.Join(parts, "; ")
}
