// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vethtrace/vethtrace/tracer/container"
	"github.com/vethtrace/vethtrace/tracer/netfilter/rules"
	"github.com/vethtrace/vethtrace/tracer/topology"
)

// Document makes the wiring of the facts, without ways.
func (f *Facts) Document(version string) Document {
	d := Document{
		Schema: Schema, Version: version, Host: f.host(), Uplinks: []Device{}, Bridges: f.bridges(), Targets: []Target{},
		Proxies: f.proxies(), Policies: f.policies(), Ways: []Way{}, Notes: append([]string{}, f.Notes...),
	}
	ask := newAsker(f)
	for _, l := range ask.uplinks() {
		d.Uplinks = append(d.Uplinks, device(l))
	}
	for i := range f.Targets {
		d.Targets = append(d.Targets, f.target(&f.Targets[i], ask))
	}
	if f.Host.Rules != nil {
		for _, n := range f.Host.Rules.Notes {
			d.Notes = append(d.Notes, "rules of the host: "+n)
		}
	}
	return d
}

func (f *Facts) host() Host {
	h := Host{
		Netns: f.Host.Namespace.Inode, Forward4: f.Switches.Forward4, Forward6: f.Switches.Forward6, RouteLocalnet: f.Switches.RouteLocalnet,
		BridgeNF: f.Switches.BridgeNF, NFCall: NFCall(f.Switches.NFCall), Backends: []string{},
	}
	if f.Host.Rules == nil {
		return h
	}
	for _, c := range f.Host.Rules.Chains {
		h.Rules += len(c.Rules)
		if b := string(c.Backend); !slices.Contains(h.Backends, b) {
			h.Backends = append(h.Backends, b)
		}
	}
	slices.Sort(h.Backends)
	return h
}

func device(l topology.Link) Device {
	d := Device{
		Index: l.Index, Name: l.Name, Kind: l.Kind, Mode: l.Mode, Other: l.Parent, MAC: l.MAC, MTU: l.MTU, Up: l.Up, State: l.Oper,
		Qdisc: l.Qdisc, XDP: l.XDP, GRO: l.GRO, NoTSO: l.Small, Addrs: []string{},
	}
	for _, a := range l.Addrs {
		d.Addrs = append(d.Addrs, a.String())
	}
	return d
}

func pointer(l *topology.Link) *Device {
	if l == nil {
		return nil
	}
	d := device(*l)
	return &d
}

func (f *Facts) bridges() []Bridge {
	behind := f.behind()
	learned := map[int][]string{}
	for _, l := range f.Learned {
		if !l.Permanent && !slices.Contains(learned[l.Port], l.MAC) {
			learned[l.Port] = append(learned[l.Port], l.MAC)
		}
	}
	ports := map[int][]topology.Link{}
	for _, l := range f.Host.Namespace.Links {
		if l.Master != 0 {
			ports[l.Master] = append(ports[l.Master], l)
		}
	}
	list := []Bridge{}
	for _, l := range f.Host.Namespace.Bridges() {
		b := Bridge{Device: device(l), NFCall: NFCall(f.nfCall(l)), Ports: []Port{}, Network: networkOf(f.network(l.Name))}
		if l.Bridge != nil {
			b.ID, b.STP, b.VLANFiltering = l.Bridge.ID, l.Bridge.STP, l.Bridge.VLANFiltering
		}
		for _, p := range ports[l.Index] {
			port := Port{Device: device(p), Learned: append([]string{}, learned[p.Index]...)}
			if p.Port != nil {
				port.State, port.Hairpin, port.Isolated = p.Port.State, p.Port.Hairpin, p.Port.Isolated
			}
			if at, ok := behind[p.Index]; ok {
				port.Target, port.Interface = at[0], at[1]
			}
			b.Ports = append(b.Ports, port)
		}
		list = append(list, b)
	}
	return list
}

// behind names target and device by the index of the host's end.
func (f *Facts) behind() map[int][2]string {
	found := map[int][2]string{}
	for i := range f.Targets {
		for _, in := range f.Targets[i].Wiring.Interfaces {
			if in.Peer != nil {
				found[in.Peer.Index] = [2]string{f.Targets[i].Name, in.Dev.Name}
			}
		}
	}
	return found
}

// Docker's options of bridge networks.
const (
	optionICC        = "com.docker.network.bridge.enable_icc"
	optionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	optionBinding    = "com.docker.network.bridge.host_binding_ipv4"
	optionMTU        = "com.docker.network.driver.mtu"
	optionGateway    = "com.docker.network.bridge.gateway_mode_ipv4"
)

func networkOf(n *container.NetworkInfo) *Network {
	if n == nil {
		return nil
	}
	return &Network{
		Name: n.Name, Driver: n.Driver, Internal: n.Internal, ICC: enabled(n.Options[optionICC]), Masquerade: enabled(n.Options[optionMasquerade]) && !n.Internal,
		HostBinding: n.Options[optionBinding], MTU: cmp.Or(n.Options[optionMTU], n.Options["mtu"]), GatewayMode: n.Options[optionGateway], Project: n.Project,
	}
}

// enabled reads an option that is on unless it says otherwise.
func enabled(option string) bool {
	on, err := strconv.ParseBool(option)
	return err != nil || on
}

func (f *Facts) target(m *Member, ask *asker) Target {
	t := Target{
		Name: m.Name, Aliases: append([]string{}, m.Aliases...), ID: m.ID, Runtime: string(m.Runtime), Space: m.Container.Space, Image: m.Image, Project: m.Project(), Mode: m.Mode, PID: m.PID,
		Netns: m.Netns, Networks: []Attachment{}, Interfaces: []Interface{}, Published: []Published{}, Listens: sockets(m.Space.Sockets),
	}
	for _, n := range m.Networks {
		t.Networks = append(t.Networks, Attachment{Network: n.Name, Driver: n.Driver, IP4: text(n.IP4), IP6: text(n.IP6), MAC: n.MAC})
	}
	for _, in := range m.Wiring.Interfaces {
		if m.Wiring.Same || in.Dev.Loopback {
			continue
		}
		i := Interface{Device: device(in.Dev), Peer: pointer(in.Peer), Lower: pointer(in.Lower), Differs: f.differs(m, in, ask), Reason: in.Reason}
		if in.Bridge != nil {
			i.Bridge = in.Bridge.Name
			i.FDB = ask.learned(in.Dev.MAC, in.Peer.Index)
		}
		if in.Inner != nil {
			i.Inner = in.Inner.Name
		}
		t.Interfaces = append(t.Interfaces, i)
	}
	t.Means = means(m, t.Interfaces)
	ports, byRules := f.ports(m)
	for _, p := range ports {
		published := f.published(p, ask)
		published.ByRules = byRules
		t.Published = append(t.Published, published)
	}
	return t
}

// means says what being connected so means.
func means(m *Member, in []Interface) string {
	connected := func(i Interface) bool { return i.Peer != nil || i.Lower != nil }
	switch {
	case m.Wiring.Same:
		return "host mode: no bridge, no veth, no NAT; its sockets are in the host's namespace, and packets reach them by the host's INPUT and OUTPUT rules alone"
	case len(in) == 0:
		return "no device but lo: no packet enters or leaves it"
	case slices.ContainsFunc(in, func(i Interface) bool { return i.Device.Kind == "macvlan" && i.Lower != nil }):
		return "macvlan: packets go between the wire and the container without the host's rules, bridge or NAT; host and container do not reach each other by this device"
	case slices.ContainsFunc(in, func(i Interface) bool { return i.Device.Kind == "ipvlan" && i.Lower != nil }):
		return "ipvlan: packets go between the wire and the container without a bridge; in modes l2 and l3 without the host's rules as well"
	case slices.ContainsFunc(in, func(i Interface) bool { return i.Device.Kind == "tun" }):
		return "userland network (slirp4netns or pasta): a program carries packets between the container's device and its own sockets in the host's namespace; no veth, no bridge, no rule of the host's that knows the container"
	case !slices.ContainsFunc(in, connected):
		return "none of its devices leads to the host"
	case slices.ContainsFunc(in, func(i Interface) bool { return i.Bridge != "" }):
		return "bridge mode: packets pass the host's rules, a bridge and a veth pair"
	}
	return "routed: packets pass the host's rules and a veth pair, no bridge"
}

func sockets(all []container.Socket) []Socket {
	list := []Socket{}
	for _, s := range all {
		list = append(list, Socket{
			Protocol: s.Protocol, Addr: s.Addr.String(), Port: s.Port, Dual: s.Addr.Is6() && s.Addr.IsUnspecified() && !s.Only6, Processes: holders(s),
		})
	}
	return list
}

func holders(s container.Socket) []Process {
	list := []Process{}
	for _, p := range s.Holders {
		list = append(list, Process(p))
	}
	return list
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (f *Facts) proxies() []Proxy {
	list := []Proxy{}
	for _, p := range f.Proxies {
		proxy := Proxy{
			Kind: "docker-proxy", PID: p.PID, Listens: []string{p.Protocol + " " + netip.AddrPortFrom(p.HostIP, p.HostPort).String()},
			To: netip.AddrPortFrom(p.ContainerIP, p.ContainerPort).String(),
		}
		if m, _ := f.owner(p.ContainerIP); m != nil {
			proxy.Target = m.Name
		}
		list = append(list, proxy)
	}
	for _, s := range f.Host.Sockets {
		for _, h := range s.Holders {
			if !slices.Contains(proxyKinds(), h.Name) {
				continue
			}
			what := fmt.Sprintf("%s %s", s.Protocol, netip.AddrPortFrom(s.Addr, s.Port))
			if i := slices.IndexFunc(list, func(p Proxy) bool { return p.PID == h.PID }); i >= 0 {
				list[i].Listens = append(list[i].Listens, what)
				continue
			}
			proxy := Proxy{Kind: h.Name, PID: h.PID, Listens: []string{what}}
			if m, to, ok := f.publisher(s); ok {
				proxy.Target, proxy.To = m.Name, to.String()
			}
			list = append(list, proxy)
		}
	}
	return list
}

func (f *Facts) policies() []Policy {
	list := []Policy{}
	if f.Host.Rules == nil {
		return list
	}
	for _, c := range f.Host.Rules.Chains {
		if c.Base == nil || c.Base.Type != "filter" || c.Base.Hook == "ingress" || c.Base.Hook == "egress" {
			continue
		}
		list = append(list, Policy{
			Backend: string(c.Backend), Family: c.Family, Table: c.Table, Chain: c.Name, Hook: c.Base.Hook,
			Priority: c.Base.Priority, Policy: c.Base.Policy.String(), Rules: len(c.Rules),
		})
	}
	return list
}

func ruleOf(c *rules.Chain, r *rules.Rule) *Rule {
	if c == nil || r == nil {
		return nil
	}
	out := &Rule{Backend: string(c.Backend), Family: c.Family, Table: c.Table, Chain: c.Name, Number: max(1, r.Number), Text: r.Text}
	if r.Counter != nil {
		n := r.Counter.Packets
		out.Packets = &n
	}
	return out
}
