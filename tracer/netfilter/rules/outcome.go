// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
)

// End is where a packet's way through the host ended.
type End uint8

// The ends. The zero value says that it did not: Hook gives it for Accept.
const (
	OnItsWay     End = iota
	Delivered        // to the host's own sockets
	Forwarded        // by the device Packet.Out
	Sent             // by the device Packet.Out, made on the host
	Dropped          // by a rule, a policy or the kernel; see Decider
	HandedOver       // handed to a program
	Undetermined     // the verdict is Unknown
)

// String is the end in words.
func (e End) String() string {
	names := [...]string{
		"on its way", "delivered", "forwarded", "sent", "dropped", "handed to a program", "undetermined",
	}
	if int(e) < len(names) {
		return names[e]
	}
	return "undetermined"
}

// StepKind is what a step of the trail is.
type StepKind uint8

// The kinds of steps.
const (
	StepRule   StepKind = iota // a rule that matched
	StepPolicy                 // a base chain's end
	StepRoute                  // a routing decision
	StepKernel                 // something the kernel does without a rule
)

// Step is one thing that happened to the packet, in order.
type Step struct {
	Kind  StepKind
	Hook  string // prerouting, input, forward, output, postrouting
	Chain *Chain // of StepRule and StepPolicy
	Rule  *Rule  // of StepRule
	Depth int    // jumps below the base chain
	Text  string // the rule's text; "policy drop"; the route; what the kernel does
	Does  string // accept, drop, reject, jump DOCKER, return, dnat, masquerade, mark, ... ; "" for a mere note
	// Maybe says that it is not known whether the rule matches, nor does it matter.
	Maybe bool
	NAT   *Translation // where the packet was translated
}

// String is the step in one line.
func (s Step) String() string {
	text := s.Text
	if s.Chain != nil {
		text = fmt.Sprintf("%s/%s: %s", s.Chain.Table, s.Chain.Name, s.Text)
	}
	if s.Maybe {
		text += " (perhaps)"
	}
	if s.NAT != nil {
		text += " => " + s.NAT.String()
	}
	return text
}

// Translation is what NAT did to a connection.
type Translation struct {
	Kind     NATKind
	From, To netip.AddrPort
	// Exact: To is what the kernel chooses. Otherwise To is the first of several
	// (a range, a random port), or what it is if the port is free.
	Exact bool
}

// String is the translation in words.
func (t Translation) String() string {
	s := fmt.Sprintf("%s %s -> %s", t.Kind, t.From, t.To)
	if !t.Exact {
		s += " or another of its range"
	}
	return s
}

// Outcome is what rules do to a packet.
type Outcome struct {
	Verdict Verdict
	End     End
	Packet  Packet // as it is at its end, or where it was dropped
	Steps   []Step // all of them, in order
	// Decider is the step that decided: the rule or policy that dropped, or the
	// one that accepted last; nil where there was none.
	Decider *Step
	// Unknowns say which rules and matches could not be decided. The verdict may
	// be known all the same, where it does not depend on them.
	Unknowns []string
	// Possible are the ends that an Unknown verdict may have.
	Possible []Verdict
}

// Ref names a rule across two readings of a Set.
type Ref struct {
	Backend              Backend
	Family, Table, Chain string
	Handle               uint64 // 0: Number and Text say which
	Number               int
	Text                 string
}

// Ref returns the name of a rule of this chain.
func (c *Chain) Ref(r *Rule) Ref {
	ref := Ref{Backend: c.Backend, Family: c.Family, Table: c.Table, Chain: c.Name, Handle: r.Handle}
	if r.Handle == 0 {
		ref.Number, ref.Text = r.Number, r.Text
	}
	return ref
}

// Find returns the rule that a reference names, or nil if it is no longer there.
func (s *Set) Find(ref Ref) *Rule {
	c := s.Chain(ref.Backend, ref.Family, ref.Table, ref.Chain)
	if c == nil {
		return nil
	}
	for _, r := range c.Rules {
		if c.Ref(r) == ref {
			return r
		}
	}
	return nil
}
