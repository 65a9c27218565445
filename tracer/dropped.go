package tracer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/vethtrace/vethtrace/bpf"
	"github.com/vethtrace/vethtrace/internal/netns"
	"github.com/vethtrace/vethtrace/tracer/journey"
	"github.com/vethtrace/vethtrace/tracer/netfilter"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// What the judge may cost and keep.
const (
	judgeEvery   = time.Second // rules are read no more often while tracing goes on,
	judgeCalm    = 20          // nor more often than that many times what reading takes
	mostRuled    = 64          // namespaces whose rules are read at the start
	mostCases    = 4096        // kinds of dropped packets; of others the rule is not known
	reasonByRule = "NETFILTER_DROP"
)

// judge asks the rules about what netfilter has dropped:
//
//	rules at the start ─────────────────────────────┐
//	vt_dropped_packets ─> cases ─> evaluator ─> rule ├─> counter has moved? ─> Drop.Rules
//	rules again, once there is something to judge ──┘
//
// All of it is called with the tracer's lock held.
type judge struct {
	spaces map[uint32]*ruled // by inode of the namespace
	cases  map[caseKey]*dropCase
	fresh  bool // there is something that was not judged yet
	last   time.Time
	took   time.Duration
}

// ruled is a namespace and its rules at the start.
type ruled struct {
	ns     *netns.NS
	before *rules.Set
	now    *rules.Set
	env    rules.Env
	eval   *rules.Evaluator
}

type caseKey struct {
	of     *target
	packet bpf.KernelVtDroppedKey
}

// dropCase are packets that look the same to rules, as far as is known.
type dropCase struct {
	hop   string
	first bpf.KernelVtDropped // its Count is that of all
	rule  *NetfilterRule      // of the last judgement
	why   string              // there is none
}

func newJudge() *judge {
	return &judge{spaces: map[uint32]*ruled{}, cases: map[caseKey]*dropCase{}}
}

// watch reads the rules of a namespace, so that it is seen later which counters
// moved. Rules that cannot be read are nobody's fault: their drops have none.
func (j *judge) watch(ns *netns.NS) {
	inode := uint32(ns.Inode())
	if j == nil || j.spaces[inode] != nil || len(j.spaces) > mostRuled {
		return
	}
	before, err := netfilter.ReadRules(ns)
	if err != nil {
		return
	}
	j.spaces[inode] = &ruled{ns: ns, before: before}
}

// leave forgets the namespace of a target that has gone; what was judged stays.
func (j *judge) leave(of *target) {
	if j != nil && !of.hostMode {
		delete(j.spaces, uint32(of.ns.Inode()))
	}
}

// gather takes what the kernel has kept.
func (j *judge) gather(t *Tracer) error {
	if j == nil {
		return nil
	}
	var key bpf.KernelVtDroppedKey
	var value bpf.KernelVtDropped
	var keys []bpf.KernelVtDroppedKey
	table := t.kernel.maps.VtDroppedPackets
	for entries := table.Iterate(); entries.Next(&key, &value); {
		keys = append(keys, key)
	}
	for i := range keys {
		err := table.LookupAndDelete(&keys[i], &value)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read dropped packets: %w", err)
		}
		j.add(t, keys[i], value)
	}
	return nil
}

func (j *judge) add(t *Tracer, key bpf.KernelVtDroppedKey, value bpf.KernelVtDropped) {
	number := int(key.Drop.Target) - 1
	if number < 0 || number >= len(t.targets) || t.targets[number] == nil {
		return
	}
	at := caseKey{t.targets[number], key}
	known := j.cases[at]
	if known == nil {
		if len(j.cases) == mostCases {
			return
		}
		known = &dropCase{hop: journey.Next(unpack(key.Drop.History), t.naming(at.of)).Name, first: value}
		known.first.Count = 0
		j.cases[at] = known
	}
	known.first.Count += value.Count
	j.fresh = true
}

// judge reads the rules again, if there is something new, and asks them.
func (j *judge) judge(final bool) {
	if j == nil || !j.fresh || !final && time.Since(j.last) < max(judgeEvery, judgeCalm*j.took) {
		return
	}
	begin := time.Now()
	for _, s := range j.spaces {
		s.now, s.eval = nil, nil
	}
	for at, c := range j.cases {
		c.rule, c.why = j.ask(at.packet, c)
	}
	j.confirm()
	j.fresh, j.last, j.took = false, time.Now(), time.Since(begin)
}

// read reads the rules as they are now; its cases were gathered before, so all of them are in its counters.
func (s *ruled) read() error {
	if s.eval != nil {
		return nil
	}
	var err error
	if s.now, err = netfilter.ReadRules(s.ns); err != nil {
		return err
	}
	if s.env, err = netfilter.ReadEnv(s.ns); err != nil {
		return err
	}
	s.eval = rules.NewEvaluator(s.now, s.env)
	return nil
}

// ask finds the rule that drops such packets, not confirmed yet.
func (j *judge) ask(key bpf.KernelVtDroppedKey, c *dropCase) (*NetfilterRule, string) {
	s := j.spaces[c.first.Netns]
	switch {
	case s == nil && (c.rule != nil || c.why != ""):
		return c.rule, c.why // judged while it was there
	case s == nil:
		return nil, "the rules of its namespace were not read"
	}
	if err := s.read(); err != nil {
		return nil, err.Error()
	}
	hook := hookOf(c.hop, &c.first)
	out := s.eval.Hook(hook, packetOf(&key, &c.first, hook, s.env))
	switch {
	case out.Verdict == rules.Unknown:
		return nil, "it depends on what is not known: " + strings.Join(out.Unknowns, "; ")
	case out.Verdict != rules.Drop && out.Verdict != rules.Reject, out.Decider == nil, out.Decider.Chain == nil:
		return nil, "the rules as they are now let it pass in " + strings.ToUpper(hook)
	}
	return ruleNamed(out.Decider), ""
}

// confirm leaves the rules whose counters moved by at least what they are said
// to have dropped: each packet is counted by the rule that drops it.
func (j *judge) confirm() {
	type counted struct {
		space uint32
		rule  NetfilterRule
	}
	sum := map[counted]uint64{}
	for _, c := range j.cases {
		if c.rule != nil {
			sum[counted{c.first.Netns, *c.rule}] += c.first.Count
		}
	}
	for _, c := range j.cases {
		s := j.spaces[c.first.Netns]
		if c.rule == nil || s == nil {
			continue
		}
		moved, ok := movedOf(s.before, s.now, *c.rule)
		switch dropped := sum[counted{c.first.Netns, *c.rule}]; {
		case !ok:
			c.rule, c.why = nil, "perhaps "+c.rule.String()+", which has no counter"
		case moved < dropped:
			c.rule, c.why = nil, fmt.Sprintf("not %s, whose counter moved by %d", c.rule, moved)
		}
	}
}

// attach writes what is known into drops. What was not kept, as there were too
// many kinds, is of a rule that is not known.
func (j *judge) attach(of *target, drops []Drop, reason func(uint32) string) {
	if j == nil {
		return
	}
	for at, c := range j.cases {
		if at.of != of {
			continue
		}
		for i := range drops {
			d := &drops[i]
			if d.Direction == Direction(at.packet.Drop.Direction) && d.Hop == c.hop && d.Reason == reason(at.packet.Drop.Reason) {
				d.Rules = addRule(d.Rules, DropRule{Count: c.first.Count, Packet: packetText(&at.packet, &c.first), Rule: c.rule, Why: c.why})
			}
		}
	}
	for i := range drops {
		finishRules(&drops[i])
	}
}

// readRules reads the rules as they are before the first packet, if somebody
// wants to know which of them drop some.
func (t *Tracer) readRules(targets []*target) {
	if !t.cfg.DropRules {
		return
	}
	t.judge = newJudge()
	t.judge.watch(t.host)
	for _, target := range targets {
		t.judge.watch(target.ns)
	}
}

// addDrop counts a drop with those of the same hop and reason.
func addDrop(drops []Drop, drop Drop) []Drop {
	for i := range drops {
		if drops[i].Direction == drop.Direction && drops[i].Hop == drop.Hop && drops[i].Reason == drop.Reason {
			drops[i].Count += drop.Count
			return drops
		}
	}
	return append(drops, drop)
}

// forgetDrops removes a number's drops, which the next target with it has not had.
func (t *Tracer) forgetDrops(number int) {
	var key bpf.KernelVtDropKey
	var count uint64
	var keys []bpf.KernelVtDropKey
	for entries := t.kernel.maps.VtDrops.Iterate(); entries.Next(&key, &count); {
		if int(key.Target)-1 == number {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		_ = t.kernel.maps.VtDrops.Delete(key) // gone already is as good
	}
}
