// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vethtrace/vethtrace/tracer"
)

func (j *judge) network() {
	j.section = SectionNetwork
	j.bridgeNetfilter()
	j.rules()
	j.unseen()
	c := j.Conntrack
	switch full := float64(c.Count) / float64(max(c.Max, 1)); {
	case !c.There:
		j.note("conntrack", "not in use in this namespace: flows are not told into new and established")
	case full > 0.9:
		j.add("conntrack", Warn, "raise net.netfilter.nf_conntrack_max: when the table is full, packets of new connections are dropped", "%d of %d connections", c.Count, c.Max)
	default:
		j.ok("conntrack", "%d of %d connections", c.Count, c.Max)
	}
	if forward := j.Environment.Sysctls["net.ipv4.ip_forward"]; forward == "0" {
		j.note("forwarding", "off (net.ipv4.ip_forward): no packet reaches a container by way of this host")
	}
	if j.DevicesErr != nil {
		j.add("devices", Warn, "run it again as root; a target may just have ended", "not all were read: %s", oneLine(j.DevicesErr))
	}
	if len(j.Devices) == 0 && j.DevicesErr == nil {
		j.add("devices", Note, "run it in the namespace where the bridge and the uplinks are: nsenter --net, or --net=host of a container",
			"this network namespace has neither an uplink nor a bridge")
	}
	for _, d := range j.Devices {
		j.device(d)
	}
	for _, unread := range j.Environment.Unread {
		switch {
		case strings.HasPrefix(unread, unreadEngine):
		case strings.Contains(unread, unix.EPERM.Error()), strings.Contains(unread, unix.EACCES.Error()):
			j.add("not read", Warn, "run it as root", "%s", unread)
		default:
			j.note("not read", "%s", unread)
		}
	}
}

// unreadEngine begins the line of environment.Environment.Unread about the engine.
const unreadEngine = "engine: "

// bridgeNetfilter says whether bridged packets pass the rules of iptables.
func (j *judge) bridgeNetfilter() {
	var on, off []string
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		switch j.Environment.Sysctls["net.bridge.bridge-nf-call-"+name] {
		case "0":
			off = append(off, name)
		case "":
		default:
			on = append(on, name)
		}
	}
	switch {
	case len(on)+len(off) == 0:
		j.note("br_netfilter", "not loaded: packets between containers of a bridge pass no hook of netfilter, which is seen as one hop")
	case len(off) > 0:
		j.note("br_netfilter", "%s", strings.TrimPrefix(fmt.Sprintf("%s; bridge-nf-call off for %s", call(on), strings.Join(off, ", ")), "; "))
	default:
		j.ok("br_netfilter", "%s", call(on))
	}
}

func call(on []string) string {
	if len(on) == 0 {
		return ""
	}
	return "bridge-nf-call on for " + strings.Join(on, ", ")
}

// unseen names what lies inside a hop because nothing can be attached beside it.
func (j *judge) unseen() {
	switch {
	case j.UnseenErr != nil:
		j.add("chains unseen", Warn, "run it as root", "not read: %s", oneLine(j.UnseenErr))
	case len(j.Unseen) > 0:
		j.note("chains unseen", "%s: they cannot be stamped, their time is in the hop around them (docs/limitations.md)", strings.Join(j.Unseen, ", "))
	default:
		j.ok("chains unseen", "none: no hooks of the bridge, arp or netdev families, nor at the ends of the range of priorities")
	}
}

func (j *judge) rules() {
	n := j.Environment.Netfilter
	var tables []string
	for table, rules := range n.Chains {
		tables = append(tables, fmt.Sprintf("%s %d", table, rules))
	}
	slices.Sort(tables)
	what := fmt.Sprintf("%d in %s (%s)", n.Rules, n.Backend, strings.Join(tables, ", "))
	switch n.Backend {
	case "":
		j.note("rules", "not read")
	case "none":
		j.note("rules", "none")
	case "both":
		j.add("rules", Note, "keep one backend where you can (update-alternatives --config iptables): each packet passes the rules of both", "%s", what)
	default:
		j.ok("rules", "%s", what)
	}
}

func (j *judge) device(d MetDevice) {
	name := d.Name
	if d.Where != "host" {
		name = d.Where + "/" + d.Name
	}
	parts := []string{d.Role}
	kind := d.Kind
	if kind == "" {
		kind = d.Driver
	}
	if kind != "" && kind != d.Role {
		parts = append(parts, kind)
	}
	parts = append(parts, fmt.Sprintf("mtu %d", d.MTU))
	if d.Qdisc != "" && d.Qdisc != "noqueue" {
		parts = append(parts, "queue "+d.Qdisc)
	}
	if len(d.Offloads) > 0 {
		parts = append(parts, strings.Join(d.Offloads, " "))
	} else {
		parts = append(parts, "no offloads")
	}
	if d.NFCall != "" {
		parts = append(parts, "its own bridge-nf-call: "+d.NFCall)
	}
	if d.Others > 0 {
		parts = append(parts, plural(d.Others, "tcx program")+" of others")
	}
	state, todo := OK, ""
	if d.XDP != "" {
		parts = append(parts, "XDP "+d.XDP)
		state, todo = Warn, "packets that its XDP program drops or sends elsewhere are not seen: it runs before every hook"
		if d.Role != "uplink" {
			state, todo = Note, ""
		}
	}
	j.add(name, state, todo, "%s", strings.Join(parts, ", "))
}

func (j *judge) engine() {
	j.section = SectionEngine
	e, d := j.Engine, j.Environment.Docker
	switch {
	case e.Err != nil && (e.Asked || e.Denied):
		j.add("engine", Warn, e.Todo, "cannot be asked at %s: %s", e.Host, oneLine(e.Err))
		return
	case e.Err != nil:
		j.add("engine", Note, e.Todo, "none answers at %s: containers cannot be named", e.Host)
		return
	case d == nil:
		why := "it does not describe itself"
		for _, unread := range j.Environment.Unread {
			if rest, ok := strings.CutPrefix(unread, unreadEngine); ok {
				why = rest
			}
		}
		j.add("engine", Warn, reportIt, "answers at %s, but: %s", e.Host, why)
		return
	}
	j.ok("engine", "%s at %s, %d running", d.Version, e.Host, e.Count)
	j.ok("default bridge", "%s, mtu %s, icc %s, masquerade %s, cgroup v%s", or(d.BridgeName, "none"), or(d.BridgeMTU, "default"),
		or(d.BridgeICC, "default"), or(d.BridgeMasquerade, "default"), d.CgroupVersion)
	switch {
	case d.UserlandProxy == nil:
		j.note("userland proxy", "it cannot be told: no running container publishes a port")
	case *d.UserlandProxy:
		j.ok("userland proxy", "docker-proxy serves published ports: connections from this host are shown as two legs")
	default:
		j.ok("userland proxy", "off: published ports are served by rules alone")
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// clock says what the time of a stamp is read from.
func (j *judge) clock() {
	j.section = SectionCost
	source := j.Environment.CPU.ClockSource
	switch source {
	case "":
		j.note("clock", "the kernel does not tell its source")
	case "tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page":
		j.ok("clock", "%s", source)
	default:
		j.add("clock", Warn, "each stamp reads it: look in dmesg why tsc was given up; tsc=reliable, or another time source of the hypervisor, may help", "%s, which is slow to read", source)
	}
}

// costOf is what was measured in the run.
func costOf(r Run) Cost {
	cost := Cost{Stamps: []StampCost{}, Packets: []PathCost{}}
	for _, kind := range []string{"tcx", "netfilter", "tracepoint", "device"} {
		if ns, ok := r.Seen.Observer.StampNs[kind]; ok {
			cost.Stamps = append(cost.Stamps, StampCost{Kind: kind, Ns: ns})
		}
	}
	for _, t := range r.Seen.Targets {
		for _, direction := range []tracer.Direction{tracer.Ingress, tracer.Egress} {
			if p := busiest(t, direction); p != nil && len(p.Hops) > 0 {
				cost.Packets = append(cost.Packets, pathCost(t, *p, cost.Stamps))
			}
		}
	}
	return cost
}

// busiest is the path of most packets.
func busiest(t tracer.Target, direction tracer.Direction) *tracer.Path {
	var most *tracer.Path
	for i := range t.Paths {
		if p := &t.Paths[i]; p.Direction == direction && (most == nil || p.Packets > most.Packets) {
			most = p
		}
	}
	return most
}

func pathCost(t tracer.Target, p tracer.Path, stamps []StampCost) PathCost {
	c := PathCost{Target: "bridge mode", Way: "in", Stamps: len(p.Hops) + 1, Count: p.Packets}
	if t.Mode == "host" {
		c.Target = "host mode"
	}
	if p.Direction == tracer.Egress {
		c.Way = "out"
	}
	hooks := []string{p.Hops[0].From}
	for _, h := range p.Hops {
		hooks = append(hooks, h.To)
	}
	for _, h := range hooks {
		c.Ns += stampOf(h, stamps)
	}
	return c
}

// stampOf is the cost of a stamp at a hook, of whose kind there may be no figure.
func stampOf(hook string, stamps []StampCost) float64 {
	kind := kindOf(hook)
	sum := 0.0
	for _, s := range stamps {
		if s.Kind == kind || s.Kind == "device" && kind == "tcx" && !slices.ContainsFunc(stamps, func(s StampCost) bool { return s.Kind == "tcx" }) {
			return s.Ns
		}
		sum += s.Ns
	}
	return sum / float64(max(len(stamps), 1))
}

// kindOf is the kind of hook that a path names.
func kindOf(hook string) string {
	side, _, ok := strings.Cut(hook, "/")
	switch {
	case !ok:
		return "tracepoint"
	case side == "host" || side == "target":
		return "netfilter"
	}
	return "tcx"
}
