// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
)

// atHook runs the base chains of a hook.
func (r *run) atHook(hook string) Verdict {
	r.hook = hook
	if hook == hookPrerouting || hook == hookInput {
		r.p.Out = ""
	}
	translates := hook != hookForward
	natAt := prioritySNAT
	if manip(hook) == 1 {
		natAt = priorityDNAT
	}
	for _, c := range r.ev.hooks[hookKey{r.p.Family(), hook}] {
		at := c.Base.runsAt()
		if translates && at > natAt {
			r.bind(hook)
			translates = false
		}
		if c.Base.Type == "nat" && !r.natApplies(hook) {
			continue
		}
		if v := r.base(c); v != Accept {
			return v
		}
	}
	if translates {
		r.bind(hook)
	}
	return Accept
}

// bind is what the kernel's nat function does when no rule has translated: the
// connection stays as it is from now on, and packets of a connection that was
// translated are, too.
func (r *run) bind(hook string) {
	which := manip(hook)
	c := &r.p.Conn
	switch {
	case c.State == New:
		r.natDone[which] = true
		return
	case !r.p.tracked() || r.natDone[which]:
		return
	}
	r.natDone[which] = true
	to, addr, port := c.NewSrc, &r.p.Src, &r.p.SrcPort
	if which == 1 {
		to, addr, port = c.NewDst, &r.p.Dst, &r.p.DstPort
	}
	if !to.IsValid() {
		return
	}
	from := netip.AddrPortFrom(*addr, *port)
	*addr, *port = to.Addr(), to.Port()
	kind := SNAT
	if which == 1 {
		kind = DNAT
	}
	r.step(Step{
		Kind: StepKernel, Text: "the connection is translated", Does: kind.word(),
		NAT: &Translation{Kind: kind, From: from, To: to, Exact: true},
	})
}

// manip is which side of a connection a hook's nat chains translate: 0 source, 1
// destination.
func manip(hook string) int {
	if hook == hookPrerouting || hook == hookOutput {
		return 1
	}
	return 0
}

// natApplies: only a connection's first packet meets nat chains.
func (r *run) natApplies(hook string) bool {
	return r.p.Conn.State == New && !r.natDone[manip(hook)]
}

// base runs a base chain and its policy.
func (r *run) base(c *Chain) Verdict {
	r.beforeTracking(c)
	end := r.chain(c, 0)
	r.afterTracking()
	if end != ended {
		return Verdict(end)
	}
	policy := c.Base.Policy
	if policy == Unknown {
		policy = Accept
	}
	r.step(Step{Kind: StepPolicy, Chain: c, Text: "policy " + policy.String(), Does: policy.String()})
	return policy
}

// priorityTracking is where connection tracking sees a packet.
const priorityTracking = -200

// beforeTracking: chains that run before connection tracking see a packet without
// a connection, unless it came round by lo. That holds for what connection tracking
// will leave alone, too, such as neighbour discovery: only a rule makes a packet
// untracked before.
func (r *run) beforeTracking(c *Chain) {
	first := r.hook == hookOutput || r.hook == hookPrerouting && !r.cameBack
	r.early = first && c.Base.runsAt() < priorityTracking && !r.notrack
	if r.early {
		r.later = r.p.Conn.State
		r.p.Conn.State = Invalid
	}
}

func (r *run) afterTracking() {
	if r.early && r.p.Conn.State == Invalid {
		r.p.Conn.State = r.later
	}
	r.early = false
}

// end is how a chain ended: one of the verdicts, or ended: at its end or by
// return.
type end uint8

const ended end = 255

// chain runs the rules of a chain.
func (r *run) chain(c *Chain, depth int) end {
	if depth > maxDepth {
		return end(r.giveUp("chain %s is jumped to over and over", c.Name))
	}
	for {
		next, result := r.rulesOf(c, depth)
		if next == nil {
			return result
		}
		c = next
	}
}

// rulesOf runs the rules of a chain; next is the chain to go on with instead.
func (r *run) rulesOf(c *Chain, depth int) (next *Chain, result end) {
	for _, rule := range c.Rules {
		if r.looked++; r.looked > maxRules {
			return nil, end(r.giveUp("more than %d rules: %s goes round in circles", maxRules, c.Name))
		}
		r.chainNow = c
		out := r.rule(c, rule, depth)
		if r.lost {
			return nil, end(Unknown)
		}
		switch out.Kind {
		case GoContinue:
			continue
		case GoReturn:
			return nil, ended
		case GoAccept:
			return nil, end(Accept)
		case GoDrop:
			if out.Chain == "reject" {
				return nil, end(Reject)
			}
			return nil, end(Drop)
		case GoQueue:
			return nil, end(Queue)
		}
		to := r.ev.chains[chainKey{c.Backend, c.Family, c.Table, out.Chain}]
		if to == nil {
			return nil, end(r.giveUp("chain %s was not read", out.Chain))
		}
		if out.Kind == GoGoto {
			return to, 0
		}
		if result := r.chain(to, depth+1); result != ended {
			return nil, result
		}
	}
	return nil, ended
}

// rule looks at one rule: its conditions, and then what it does.
func (r *run) rule(c *Chain, rule *Rule, depth int) Go {
	step := Step{Kind: StepRule, Chain: c, Rule: rule, Depth: depth, Text: rule.Text}
	for i, s := range rule.Stmts {
		r.reason = ""
		switch r.holds(s) {
		case no:
			return Go{}
		case maybe:
			if inert(rule.Stmts[i:]) {
				step.Maybe = true
				r.step(step)
				return Go{}
			}
			why := fmt.Sprintf("%s/%s: %s", c.Table, c.Name, rule.Text)
			if r.reason != "" {
				why += " (" + r.reason + ")"
			}
			if !r.choose(why) {
				return Go{}
			}
		}
		if r.breaks(s) {
			return Go{}
		}
		if out, done := r.does(s, &step); done {
			r.step(step)
			return out
		}
	}
	r.step(step)
	return Go{}
}

// breaks tells that an action has nothing to work with, such as a port that is
// not in its map: the kernel ends the rule there.
func (r *run) breaks(s Stmt) bool {
	var list []Value
	switch s := s.(type) {
	case Assign:
		if !s.XT {
			list = []Value{s.From}
		}
	case NAT:
		list = []Value{s.AddrMin, s.AddrMax, s.PortMin, s.PortMax}
	}
	for _, v := range list {
		if v == nil {
			continue
		}
		if _, st := r.value(v, 0); st == broken {
			return true
		}
	}
	return false
}

// inert tells that statements change nothing, whether their conditions hold or
// not.
func inert(list []Stmt) bool {
	for _, s := range list {
		switch s := s.(type) {
		case Compare, Between, InSet, Rate, Note:
		case Test:
			if changes(s.Match) {
				return false
			}
		case Go:
			if s.Kind != GoContinue {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// holds tells whether a statement lets the rule go on.
func (r *run) holds(s Stmt) tri {
	switch s := s.(type) {
	case Compare:
		b, st := r.value(s.Left, 0)
		return r.settle(st, func() bool { return compare(b, s.Op, s.Right) })
	case Between:
		b, st := r.value(s.Left, 0)
		return r.settle(st, func() bool { return between(b, s.From, s.To) != s.Not })
	case InSet:
		b, st := r.value(s.Left, 0)
		if st != known {
			return r.settle(st, nil)
		}
		_, in := r.lookup(s.Set, b)
		return in.not(s.Not)
	case Rate:
		if r.ev.env.Rates == AssumeQuiet {
			return truth(!s.Over)
		}
		r.why("a rate")
		return maybe
	case Test:
		return r.match(s.Match)
	case GoMap:
		// As the kernel: nothing found ends the rule without having matched.
		b, st := r.value(s.Left, 0)
		if st != known {
			return r.settle(st, nil)
		}
		_, in := r.lookup(s.Set, b)
		return in
	case Opaque:
		r.why("%s is not known", s.Text)
		return maybe
	}
	return yes
}

func (r *run) settle(st status, holds func() bool) tri {
	switch st {
	case known:
		return truth(holds())
	case broken:
		return no
	}
	return maybe
}
