// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net/netip"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// published asks the rules about a published port: what becomes of a packet from
// outside, and what would become of it without the rule that accepts it.
func (f *Facts) published(p container.Port, ask *asker) Published {
	out := Published{Host: p.Host.String(), Container: p.Container, Protocol: p.Protocol, Proxies: []int{}}
	for _, proxy := range f.Proxies {
		if proxy.HostPort == p.Host.Port() && proxy.Protocol == p.Protocol && proxy.HostIP == p.Host.Addr() {
			out.Proxies = append(out.Proxies, proxy.PID)
		}
	}
	proto, ok := ParseProtocol(p.Protocol)
	if !ok || f.Host.Rules == nil {
		return out
	}
	dev, from, to, ok := ask.neighbor(p.Host.Addr().Is4())
	if !ok {
		out.With = "no uplink has an address of that family"
		return out
	}
	if !p.Host.Addr().IsUnspecified() {
		to = p.Host.Addr()
	}
	out.From = from.String()
	packet := rules.Packet{
		Src: from, Dst: to, Proto: proto, SrcPort: anyPort, DstPort: p.Host.Port(), TCPFlags: rules.SYN, In: dev,
	}
	got := ask.onHost().Walk(packet)
	out.With = f.fate(got)
	dnat, accept := deciding(got.Steps)
	if dnat != nil {
		out.DNAT = ruleOf(dnat.Chain, dnat.Rule)
	}
	if accept == nil {
		return out
	}
	out.Accept = ruleOf(accept.Chain, accept.Rule)
	out.Without = f.fate(rules.NewEvaluator(f.Host.Rules.Without(accept.Rule), f.Host.Env).Walk(packet))
	return out
}

// PortsByRules lists what the rules of the host publish to one of these
// addresses: for targets whose ports no engine tells of.
func PortsByRules(set *rules.Set, addrs []netip.Addr) []container.Port {
	if set == nil {
		return nil
	}
	var ports []container.Port
	for _, f := range set.PortForwards(addrs) {
		ports = append(ports, container.Port{Host: f.Host, Container: f.To.Port(), Protocol: protocolName(f.Proto)})
	}
	return ports
}

// ports are a target's published ports; byRules tells that no engine knows them.
func (f *Facts) ports(m *Member) (ports []container.Port, byRules bool) {
	if len(m.Ports) > 0 || m.Runtime.TellsPorts() || m.Wiring.Same {
		return m.Ports, false
	}
	var addrs []netip.Addr
	for _, in := range m.Wiring.Interfaces {
		for _, p := range in.Dev.Addrs {
			if !in.Dev.Loopback {
				addrs = append(addrs, p.Addr())
			}
		}
	}
	return PortsByRules(f.Host.Rules, addrs), true
}

// deciding finds the rule that translates and the first one of FORWARD that
// accepts; nil where there is none.
func deciding(steps []rules.Step) (dnat, accept *rules.Step) {
	for i := range steps {
		s := &steps[i]
		if s.NAT != nil && s.NAT.Kind == rules.DNAT && s.Rule != nil {
			dnat = s
		}
		if accept == nil && s.Hook == "forward" && s.Does == "accept" && s.Rule != nil {
			accept = s
		}
	}
	return dnat, accept
}

// fate words an outcome on the host.
func (f *Facts) fate(o rules.Outcome) string {
	switch o.End {
	case rules.Delivered:
		return "for the host itself: " + f.listener(o.Packet)
	case rules.Forwarded:
		return fmt.Sprintf("forwarded to %s by %s", endpoint(o.Packet.Dst, o.Packet.DstPort, o.Packet.Proto), o.Packet.Out)
	case rules.HandedOver:
		return "handed to a program by " + deciderText(hostPlace, o.Decider)
	case rules.Undetermined:
		return "not known: " + joined(o.Unknowns)
	}
	word := "dropped by "
	if o.Verdict == rules.Reject {
		word = "rejected by "
	}
	return word + deciderText(hostPlace, o.Decider)
}

func (f *Facts) listener(p rules.Packet) string {
	if s := find(f.Host.Sockets, p); s != nil {
		return socketText(s)
	}
	return "nothing listens"
}

// neighbor makes up an address outside: one of an uplink's own network, that is
// not the host's.
func (a *asker) neighbor(four bool) (dev string, from, to netip.Addr, ok bool) {
	for _, l := range a.uplinks() {
		for _, p := range l.Addrs {
			if p.Addr().Is4() != four || p.Addr().IsLinkLocalUnicast() {
				continue
			}
			from := p.Addr().Next()
			if !p.Contains(from) || !p.Contains(from.Next()) { // the last one is the broadcast address
				from = p.Addr().Prev()
			}
			if !p.Contains(from) { // /32 behind a default route
				from = netip.MustParseAddr("192.0.2.1")
				if !four {
					from = netip.MustParseAddr("2001:db8::1")
				}
			}
			return l.Name, from, p.Addr(), true
		}
	}
	return "", netip.Addr{}, netip.Addr{}, false
}
