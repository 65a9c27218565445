// SPDX-License-Identifier: Apache-2.0

package refbench

import "time"

// plan is how long everything takes.
type plan struct {
	rounds        int // with tracing, and as many without
	round, warmup time.Duration
	block         int // loads that share an attachment
}

// What a run costs beside its rounds.
const (
	overheadOfBlock = 800 * time.Millisecond // hooks are attached and detached, and the kernel lets go of them
	overheadOfCell  = 15 * time.Millisecond  // a client is started, its figures are computed
	overheadOfLook  = 5 * time.Millisecond   // two looks at the figures of a traced round
	overheadOfTurn  = 500 * time.Microsecond // a client is told, and answers
)

// Rounds differ from each other far more than a round's requests would make them
// differ: by what else the machine does, from one tenth of a second to the next.
// So many short rounds say more than few long ones. Where there is time for more
// than most, they are longer.
const (
	leastRound   = 4 * time.Millisecond
	wantedRound  = 8 * time.Millisecond
	mostRound    = time.Second
	fewestRounds = 8
	mostRounds   = 100
	mostTurns    = 2000                   // of all cells: the document has each
	fullRounds   = 30                     // that each cell may have nevertheless
	leastWarmup  = 2 * time.Millisecond   // a hundred exchanges: the first ones, in cold caches, take half as long again
	mostWarmup   = 100 * time.Millisecond // of long rounds
	shareWarmup  = 6
	shortBlock   = 8 * time.Second // attaching is a tenth of it
)

func newPlan(duration time.Duration, ways, loads int) plan {
	ways, loads = max(ways, 1), max(loads, 1)
	duration = duration * 96 / 100
	p := plan{block: loads}
	if each := duration / time.Duration(loads); each > 0 {
		p.block = min(int((shortBlock+each-1)/each), loads)
	}
	blocks := (loads + p.block - 1) / p.block
	cells := time.Duration(ways * loads)
	each := (duration-time.Duration(blocks)*overheadOfBlock)/cells - overheadOfCell // that a cell has for its rounds
	most := min(max(mostTurns/int(cells), fullRounds), mostRounds)
	p.rounds = min(max(int(each/p.both(wantedRound+warmupOf(wantedRound))), fewestRounds), most) &^ 1
	turn := (each/time.Duration(p.rounds) - p.both(0)) / 2
	turn = min(max(turn, leastRound+leastWarmup), mostRound+mostWarmup)
	p.warmup = min(max(turn/(shareWarmup+1), leastWarmup), mostWarmup)
	p.round = turn - p.warmup
	return p
}

func warmupOf(round time.Duration) time.Duration { return max(round/shareWarmup, leastWarmup) }

// both is what two turns take, one of them traced.
func (plan) both(turn time.Duration) time.Duration { return 2*(turn+overheadOfTurn) + overheadOfLook }

// least is what so many loads take that share an attachment.
func (p plan) least(ways, loads int) time.Duration {
	each := overheadOfCell + time.Duration(p.rounds)*p.both(p.round+p.warmup)
	return overheadOfBlock + time.Duration(ways*loads)*each
}

// behindRounds are wanted of each way in which what follows a journey's end (the
// socket, the application) is traced as well. The tracer's own windows, a
// twentieth of the time, fall into hardly any round of one way where many ways
// and loads share a short run.
const behindRounds = 16

// behind tells whether it is traced in this round, of all ways alike: in every
// second one at most, so that what it costs the client is not in all of them;
// where these were too few, in all.
func (p plan) behind(round int) bool {
	every := max(p.rounds/behindRounds, 2)
	if p.rounds < 2*enoughFilled {
		return true
	}
	return round%every == every/2
}

// turn is one round of one way.
type turn struct{ round, warmup time.Duration }

// leastTurn is what a round is still worth having.
const leastTurn = leastRound + leastWarmup

// turns says how long rounds are when so many turns must end in time: as planned,
// or shorter where something, as attaching, has taken longer than it should.
func (r *runner) turns(left int, end time.Time, overhead time.Duration) turn {
	room := time.Until(end)/time.Duration(max(left, 1)) - overhead
	if planned := r.plan.round + r.plan.warmup; room >= planned {
		return turn{r.plan.round, r.plan.warmup}
	}
	room = max(room, leastTurn)
	warmup := max(room/(shareWarmup+1), leastWarmup)
	return turn{round: room - warmup, warmup: warmup}
}
