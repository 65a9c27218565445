// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
)

// proxyKinds are the programs that take connections in place of containers,
// beside docker-proxy, as /proc/PID/comm names them.
func proxyKinds() []string {
	return []string{"slirp-proxy", "vpnkit", "vpnkit-forwarde", "rootlesskit", "rootlessport", "slirp4netns", "pasta", "pasta.avx2", "passt"}
}

// keeper is the program by which Podman keeps a published port from others: it
// listens, and never answers.
const keeper = "conmon"

// publisher finds the target whose published port a socket of the host is, and
// where a program that holds it brings the connection.
func (f *Facts) publisher(s container.Socket) (m *Member, to netip.AddrPort, ok bool) {
	for i := range f.Targets {
		m := &f.Targets[i]
		for _, p := range m.Ports {
			if m.Wiring.Same || p.Protocol != s.Protocol || p.Host.Port() != s.Port || !s.Takes(p.Host.Addr()) && !s.Addr.IsUnspecified() {
				continue
			}
			for _, in := range m.Wiring.Interfaces {
				for _, a := range in.Dev.Addrs {
					if !in.Dev.Loopback && a.Addr().Is4() == p.Host.Addr().Is4() {
						return m, netip.AddrPortFrom(a.Addr(), p.Container), true
					}
				}
			}
		}
	}
	return nil, netip.AddrPort{}, false
}

// userland is a proxy that holds a socket.
type userland struct {
	kind string
	pid  int
	to   netip.AddrPort // zero where its command line does not say
}

// proxyOf tells whether a userland proxy holds a socket of the host.
func (w *walker) proxyOf(s *container.Socket) *userland {
	for _, h := range s.Holders {
		for _, p := range w.f.Proxies {
			if p.PID == h.PID {
				return &userland{"docker-proxy", p.PID, netip.AddrPortFrom(p.ContainerIP, p.ContainerPort)}
			}
		}
		if slices.Contains(proxyKinds(), h.Name) {
			return &userland{kind: h.Name, pid: h.PID}
		}
	}
	return nil
}

// proxied ends a packet in a userland proxy, and follows the proxy's own
// connection to the container.
func (w *walker) proxied(s *container.Socket, proxy *userland, p rules.Packet) {
	v := &w.way.Verdict
	w.step(Step{Place: hostPlace, Kind: KindSocket, Text: "taken by " + socketText(s), Decides: true})
	v.Why, v.Rule = w.whyProxy(proxy)
	who := fmt.Sprintf("%s[%d], which listens on %s %s", proxy.kind, proxy.pid, s.Protocol, netip.AddrPortFrom(s.Addr, s.Port))
	if !proxy.to.IsValid() {
		v.Processes = holders(*s)
		if m, to, ok := w.f.publisher(*s); ok {
			v.Target = m.Name
			w.end(Proxied, "answered by %s: %s; it brings the connection to %s in the namespace of %s, past the host's rules", who, v.Why, to, m.Name)
		} else {
			w.end(Proxied, "answered by %s: %s; where it forwards is not to be seen from here", who, v.Why)
		}
		w.answerFromHost(p)
		return
	}
	onward := &walker{asker: w.asker, q: Query{Proto: p.Proto, To: proxy.to}, local: true, proxying: true}
	onward.way = Way{There: []Step{}, Back: []Step{}, Verdict: Verdict{}}
	onward.steps = &onward.way.There
	src, ok := w.sourceFor(proxy.to.Addr())
	if !ok {
		w.end(Proxied, "answered by %s: %s; it has no way to %s", who, v.Why, proxy.to)
		return
	}
	onward.step(Step{Place: hostPlace, Kind: KindStart, Text: fmt.Sprintf("%s[%d] makes a connection of its own to %s", proxy.kind, proxy.pid, proxy.to)})
	onward.onHostFrom(rules.Packet{
		Src: src, Dst: proxy.to.Addr(), Proto: p.Proto, SrcPort: anyPort, DstPort: proxy.to.Port(), TCPFlags: rules.SYN,
	})
	w.way.Onward = onward.way.There
	v.Processes, v.Target = holders(*s), onward.way.Verdict.Target
	w.end(Proxied, "answered by %s: %s; its own connection to %s is %s", who, v.Why, proxy.to, onward.way.Verdict.Text)
	w.answerFromHost(p)
}

// sourceFor is the host's address that a connection to dst begins with.
func (w *walker) sourceFor(dst netip.Addr) (netip.Addr, bool) {
	route, ok, unsure := w.f.Host.Env.Routes.Lookup(rules.Query{Dst: dst})
	if !ok || unsure {
		return netip.Addr{}, false
	}
	if route.Src.IsValid() {
		return route.Src, true
	}
	for _, p := range w.f.Host.Env.Devices[route.Dev].Addrs {
		if p.Addr().Is4() == dst.Is4() && (p.Contains(dst) || route.Via.IsValid()) {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// whyProxy says why no rule sends the packet to the container itself, with the
// rule that leaves it to the proxy, where there is one.
func (w *walker) whyProxy(proxy *userland) (string, *Rule) {
	skipped := w.returned()
	dst := w.q.To.Addr()
	switch {
	case dst.IsLoopback():
		return "it was sent to a loopback address, which no rule translates", skipped
	case dst.Is6() && proxy.to.Addr().Is4():
		return "it is IPv6 and the container has IPv4 only: no rule translates between them", skipped
	case w.sender != nil && w.from.Bridge != nil:
		return w.whyFromBridge(proxy, w.from.Bridge.Name, skipped), skipped
	}
	return noDNAT, skipped
}

// noDNAT is why a proxy answers where nothing else is to be said.
const noDNAT = "no rule translates it (no DNAT)"

// whyFromBridge says why no rule translates what a container of a bridge sends.
func (w *walker) whyFromBridge(proxy *userland, bridge string, skipped *Rule) string {
	to, in := w.f.owner(proxy.to.Addr())
	switch {
	case w.sender == to:
		return "hairpin: it comes from the container itself, and no rule translates what comes from its own bridge"
	case in != nil && in.Bridge != nil && bridge == in.Bridge.Name:
		return fmt.Sprintf("it comes from %s, the container's own bridge, and no rule translates that", bridge)
	case skipped != nil:
		return fmt.Sprintf("it comes from another bridge (%s), and a rule leaves that untranslated", bridge)
	}
	return noDNAT
}

// returned is the last rule of nat that let the packet go untranslated.
func (w *walker) returned() *Rule {
	var last *Rule
	for _, s := range w.way.There {
		if s.Kind == KindRule && s.Does == "return" && s.Rule != nil && s.Rule.Table == "nat" {
			last = s.Rule
		}
	}
	return last
}
