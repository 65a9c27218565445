// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Bounds of one evaluation: a set of rules made by hand can send a packet round
// and round, or leave too much open.
const (
	maxRules = 200_000 // rules looked at
	maxDepth = 64      // jumps; the kernel allows 16
	maxForks = 128     // ways followed for rules that can't be decided
)

// Hooks, as nft names them.
const (
	hookPrerouting  = "prerouting"
	hookInput       = "input"
	hookForward     = "forward"
	hookOutput      = "output"
	hookPostrouting = "postrouting"
)

// Priorities at which nat chains run, whatever their own is: that only orders
// them among themselves.
const (
	priorityDNAT = -100
	prioritySNAT = 100
)

// tri is an answer.
type tri uint8

const (
	no tri = iota
	yes
	maybe
)

func truth(b bool) tri {
	if b {
		return yes
	}
	return no
}

// not turns an answer round if invert is set.
func (t tri) not(invert bool) tri {
	switch {
	case !invert || t == maybe:
		return t
	case t == yes:
		return no
	}
	return yes
}

// Evaluator answers what a set of rules does to packets. It does not change, and
// may be used from several goroutines at once.
type Evaluator struct {
	set    *Set
	env    Env
	chains map[chainKey]*Chain
	hooks  map[hookKey][]*Chain // base chains in the order in which they run
}

type chainKey struct {
	backend             Backend
	family, table, name string
}

type hookKey struct{ family, hook string }

// NewEvaluator prepares rules for evaluation; set must not be changed afterwards.
func NewEvaluator(set *Set, env Env) *Evaluator {
	ev := &Evaluator{set: set, env: env, chains: map[chainKey]*Chain{}, hooks: map[hookKey][]*Chain{}}
	for _, c := range set.Chains {
		ev.chains[chainKey{c.Backend, c.Family, c.Table, c.Name}] = c
		if c.Base == nil {
			continue
		}
		for _, family := range []string{"ip", "ip6"} {
			if c.Family == family || c.Family == "inet" {
				key := hookKey{family, c.Base.Hook}
				ev.hooks[key] = append(ev.hooks[key], c)
			}
		}
	}
	for _, list := range ev.hooks {
		slices.SortStableFunc(list, func(a, b *Chain) int {
			return cmp.Or(cmp.Compare(a.Base.runsAt(), b.Base.runsAt()), cmp.Compare(a.Base.Priority, b.Base.Priority))
		})
	}
	return ev
}

// runsAt is the priority of the kernel's hook that calls the chain.
func (b *Base) runsAt() int {
	if b.Type != "nat" {
		return b.Priority
	}
	if b.Hook == hookPrerouting || b.Hook == hookOutput {
		return priorityDNAT
	}
	return prioritySNAT
}

// Hook tells what the chains of one hook (prerouting, input, forward, output,
// postrouting) do to a packet.
func (ev *Evaluator) Hook(hook string, p Packet) Outcome {
	return ev.explore(p, func(r *run) {
		if v := r.atHook(hook); v != Accept {
			r.out.Verdict = v
			return
		}
		r.out.Verdict = Accept
	})
}

// run is one evaluation with its answers to what can't be decided.
type run struct {
	ev       *Evaluator
	p        Packet
	out      Outcome
	hook     string
	chainNow *Chain
	choices  []bool // given ones first, then those made: false
	used     int
	looked   int    // rules
	reason   string // of the last maybe
	unknowns []string
	touched  map[string]bool // sets that a rule changed on the way
	vague    struct{ src, dst, sport, dport, mark, ctmark, ttl bool }
	natDone  [2]bool // source, destination: this connection is set up
	lost     bool    // a bound was reached
	early    bool    // connection tracking has not seen the packet yet
	notrack  bool    // a rule took the packet away from connection tracking
	later    State   // what it will be
	cameBack bool    // by lo
}

// explore evaluates with each combination of answers that leads somewhere new,
// and tells what all of them have in common.
func (ev *Evaluator) explore(p Packet, do func(*run)) Outcome {
	if !sound(&p) {
		return undetermined(p, "the packet has no addresses of one family")
	}
	if p.Conn.OrigSrc == (netip.AddrPort{}) && !p.Conn.Reply && !p.Conn.NewSrc.IsValid() && !p.Conn.NewDst.IsValid() {
		p.Conn.OrigSrc = netip.AddrPortFrom(p.Src, p.SrcPort)
		p.Conn.OrigDst = netip.AddrPortFrom(p.Dst, p.DstPort)
	}
	var all []Outcome
	pending := [][]bool{nil}
	for len(pending) > 0 {
		if len(all) == maxForks {
			return undetermined(p, fmt.Sprintf("more than %d rules and answers are open", maxForks))
		}
		given := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		r := &run{ev: ev, p: p, choices: slices.Clone(given), touched: map[string]bool{}}
		do(r)
		if r.lost {
			return undetermined(p, r.unknowns...)
		}
		r.out.Packet, r.out.Unknowns = r.p, r.unknowns
		r.decide()
		all = append(all, r.out)
		for i := len(given); i < len(r.choices); i++ {
			pending = append(pending, append(slices.Clone(r.choices[:i]), true))
		}
	}
	return common(all)
}

func sound(p *Packet) bool {
	return p.Src.IsValid() && p.Dst.IsValid() && p.Src.Is4() == p.Dst.Is4() && !p.Src.Is4In6() && !p.Dst.Is4In6()
}

func undetermined(p Packet, why ...string) Outcome {
	return Outcome{Verdict: Unknown, End: Undetermined, Packet: p, Unknowns: why}
}

// common is the outcome that holds whatever the answers are.
func common(all []Outcome) Outcome {
	out := all[0]
	same := true
	for _, o := range all {
		if !slices.Contains(out.Possible, o.Verdict) {
			out.Possible = append(out.Possible, o.Verdict)
		}
		for _, why := range o.Unknowns {
			if !slices.Contains(out.Unknowns, why) {
				out.Unknowns = append(slices.Clip(out.Unknowns), why)
			}
		}
		same = same && equivalent(&out, &o)
	}
	slices.Sort(out.Possible)
	if !same {
		out.Verdict, out.End, out.Decider = Unknown, Undetermined, nil
	} else if out.Verdict != Unknown {
		out.Possible = nil
	}
	return out
}

// equivalent tells whether two outcomes are the same to all that comes behind.
func equivalent(a, b *Outcome) bool {
	p, q := &a.Packet, &b.Packet
	if a.Verdict != b.Verdict || a.End != b.End {
		return false
	}
	if a.Verdict == Drop || a.Verdict == Reject {
		return true
	}
	return p.Src == q.Src && p.Dst == q.Dst && p.SrcPort == q.SrcPort && p.DstPort == q.DstPort &&
		p.In == q.In && p.Out == q.Out && p.Mark == q.Mark && p.Conn.Mark == q.Conn.Mark && p.Conn.State == q.Conn.State
}

// decide finds the step that decided, and words the end.
func (r *run) decide() {
	for i := len(r.out.Steps) - 1; i >= 0; i-- {
		s := &r.out.Steps[i]
		if s.Does == r.out.Verdict.String() && !s.Maybe {
			r.out.Decider = s
			break
		}
	}
	switch r.out.Verdict {
	case Drop, Reject:
		r.out.End = Dropped
	case Queue:
		r.out.End = HandedOver
	case Unknown:
		r.out.End = Undetermined
	}
}

// choose answers what can't be decided: as this run is told to.
func (r *run) choose(why string) bool {
	if !slices.Contains(r.unknowns, why) {
		r.unknowns = append(r.unknowns, why)
	}
	if r.used == len(r.choices) {
		r.choices = append(r.choices, false)
	}
	r.used++
	return r.choices[r.used-1]
}

// give up: a bound was reached.
func (r *run) giveUp(format string, args ...any) Verdict {
	r.lost = true
	r.unknowns = append(r.unknowns, fmt.Sprintf(format, args...))
	return Unknown
}

func (r *run) step(s Step) {
	s.Hook = r.hook
	r.out.Steps = append(r.out.Steps, s)
}
