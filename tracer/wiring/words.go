// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// ParseProtocol reads tcp, udp, sctp, icmp or icmpv6.
func ParseProtocol(s string) (uint8, bool) {
	for _, p := range protocols() {
		if p.name == s {
			return p.number, true
		}
	}
	return 0, false
}

type protocol struct {
	name   string
	number uint8
}

func protocols() []protocol {
	return []protocol{{"tcp", rules.TCP}, {"udp", rules.UDP}, {"sctp", rules.SCTP}, {"icmp", rules.ICMP}, {"icmpv6", rules.ICMPv6}}
}

func protocolName(n uint8) string {
	for _, p := range protocols() {
		if p.number == n {
			return p.name
		}
	}
	return fmt.Sprintf("protocol %d", n)
}

// ofFamily is the ICMP that a family has: each has its own.
func ofFamily(proto uint8, of netip.Addr) uint8 {
	switch {
	case proto == rules.ICMP && of.Is6():
		return rules.ICMPv6
	case proto == rules.ICMPv6 && of.Is4():
		return rules.ICMP
	}
	return proto
}

// echo is the ICMP type of an echo request, or of its answer; 0 of other protocols.
func echo(proto uint8, answer bool) uint8 {
	request, reply := uint8(0), uint8(0)
	switch proto {
	case rules.ICMP:
		request = 8
	case rules.ICMPv6:
		request, reply = 128, 129
	}
	if answer {
		return reply
	}
	return request
}

// step adds a step to the way.
func (w *walker) step(s Step) { *w.steps = append(*w.steps, s) }

// add adds the steps of an evaluation.
func (w *walker) add(place string, out rules.Outcome) {
	for i := range out.Steps {
		s := &out.Steps[i]
		step := Step{Place: place, Hook: s.Hook, Text: s.Text, Does: s.Does, Perhaps: s.Maybe, Rule: ruleOf(s.Chain, s.Rule)}
		switch s.Kind {
		case rules.StepRule:
			step.Kind = KindRule
		case rules.StepPolicy:
			step.Kind = KindPolicy
			step.Text = fmt.Sprintf("%s/%s: %s", s.Chain.Table, s.Chain.Name, s.Text)
		case rules.StepRoute:
			step.Kind = KindRoute
		case rules.StepKernel:
			step.Kind = KindKernel
		}
		if s.NAT != nil {
			step.NAT = s.NAT.String()
		}
		step.Decides = decides(s, out)
		w.step(step)
	}
}

// decides tells whether a step ended a hook, or the packet. Chains of nat only
// translate.
func decides(s *rules.Step, out rules.Outcome) bool {
	if out.Verdict != rules.Accept {
		return out.Decider != nil && sameStep(s, out.Decider)
	}
	return s.Does == "accept" && s.Chain != nil && s.Chain.Table != "nat" && s.NAT == nil
}

// sameStep tells whether two are one: outcomes hold copies.
func sameStep(a, b *rules.Step) bool {
	return a.Kind == b.Kind && a.Hook == b.Hook && a.Chain == b.Chain && a.Rule == b.Rule && a.Text == b.Text
}

func socketText(s *container.Socket) string {
	var who []string
	for _, h := range s.Holders {
		who = append(who, fmt.Sprintf("%s[%d]", h.Name, h.PID))
	}
	const most = 3
	if len(who) > most {
		who = append(who[:most], fmt.Sprintf("%d more", len(who)-most))
	}
	if len(who) == 0 {
		who = []string{"a process that cannot be seen"}
	}
	return fmt.Sprintf("%s, listening on %s %s", strings.Join(who, ", "), s.Protocol, netip.AddrPortFrom(s.Addr, s.Port))
}

func endpoint(a netip.Addr, port uint16, proto uint8) string {
	if proto == rules.ICMP || proto == rules.ICMPv6 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// deviceText names a device with its index, and its other end.
func deviceText(l *topology.Link, name string) string {
	if l == nil {
		return name
	}
	if l.Parent != 0 {
		return fmt.Sprintf("%s@if%d (index %d)", l.Name, l.Parent, l.Index)
	}
	return fmt.Sprintf("%s (index %d)", l.Name, l.Index)
}

func kindMode(l topology.Link) string {
	if l.Mode == "" {
		return l.Kind
	}
	return l.Kind + " " + l.Mode
}

func joined(list []string) string { return strings.Join(list, "; ") }
