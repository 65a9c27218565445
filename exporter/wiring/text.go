// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// Options say how to write text. The zero value is plain.
type Options struct {
	Color bool // with terminal escapes; NO_COLOR is for the caller to respect
}

// node is a line of the tree with what hangs below it. Its text is escaped.
type node struct {
	head string // shown bold
	rest string
	bad  bool // shown red
	sub  []*node
}

func (n *node) add(head, format string, args ...any) *node {
	child := &node{head: head, rest: fmt.Sprintf(format, args...)}
	n.sub = append(n.sub, child)
	return child
}

// Text writes the tree, and the ways below it. A document with ways shows these
// alone, as they were asked for.
func Text(w io.Writer, d wiring.Document, o Options) error {
	b := bufio.NewWriter(w)
	t := printer{w: b, color: o.Color}
	if len(d.Ways) == 0 {
		t.tree(tree(d))
	}
	for i := range d.Ways {
		if i > 0 {
			b.WriteByte('\n')
		}
		t.way(d.Ways[i])
	}
	for _, n := range d.Notes {
		fmt.Fprintf(b, "note: %s\n", page.Escape(n))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write topology: %w", err)
	}
	return nil
}

type printer struct {
	w     *bufio.Writer
	color bool
}

// Terminal escapes.
const (
	bold  = "\x1b[1m"
	red   = "\x1b[31m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

func (t printer) styled(style, s string) string {
	if !t.color || s == "" {
		return s
	}
	return style + s + plain
}

func (t printer) tree(root *node) {
	t.line("", root)
	t.below("", root)
}

func (t printer) below(indent string, n *node) {
	for i, child := range n.sub {
		branch, next := "├─ ", "│  "
		if i == len(n.sub)-1 {
			branch, next = "└─ ", "   "
		}
		t.line(indent+branch, child)
		t.below(indent+next, child)
	}
}

func (t printer) line(indent string, n *node) {
	style := bold
	if n.bad {
		style = red
	}
	fmt.Fprintln(t.w, strings.TrimRight(t.styled(dim, indent)+t.styled(style, n.head)+spaced(n.head, n.rest), " "))
}

func spaced(head, s string) string {
	if head == "" || s == "" {
		return s
	}
	return "  " + s
}

// tree makes the host's tree.
func tree(d wiring.Document) *node {
	root := &node{head: "host", rest: facts(
		fmt.Sprintf("net:[%d]", d.Host.Netns), "ip_forward "+onOff(d.Host.Forward4), "IPv6 forwarding "+onOff(d.Host.Forward6),
		when(d.Host.RouteLocalnet, "route_localnet on"), nfCall(d.Host.BridgeNF, d.Host.NFCall),
		fmt.Sprintf("%d rules (%s)", d.Host.Rules, none(strings.Join(d.Host.Backends, ", "))))}
	for _, u := range d.Uplinks {
		n := root.add("uplink "+end(u), "%s", deviceFacts(u))
		n.bad = !u.Up
		for _, t := range d.Targets {
			below(n, t, u)
		}
	}
	shown, behind := map[string]bool{}, places(d)
	for _, b := range d.Bridges {
		bridge(root, d, b, behind, shown)
	}
	for _, t := range d.Targets {
		if !shown[t.Name] && !onUplink(d, t) {
			loose(root, t)
		}
	}
	if len(d.Proxies) > 0 {
		n := root.add("userland proxies", "")
		for _, p := range d.Proxies {
			n.add(fmt.Sprintf("%s[%d]", page.Escape(p.Kind), p.PID), "%s", facts(page.Escape(strings.Join(p.Listens, ", ")),
				when(p.To != "", "-> "+p.To), when(p.Target != "", "("+page.Escape(p.Target)+")")))
		}
	}
	policies(root, d)
	return root
}

// below hangs targets under the uplink that their macvlan or ipvlan is on.
func below(n *node, t wiring.Target, u wiring.Device) {
	for _, in := range t.Interfaces {
		if in.Lower != nil && in.Lower.Index == u.Index {
			targetAt(n.add(in.Device.Kind+" "+in.Device.Mode, "on %s", end(u)), t, in)
		}
	}
}

func onUplink(d wiring.Document, t wiring.Target) bool {
	for _, in := range t.Interfaces {
		for _, u := range d.Uplinks {
			if in.Lower != nil && in.Lower.Index == u.Index {
				return true
			}
		}
	}
	return false
}

// place is where a target's device is in a document.
type place struct{ target, device int }

// places finds targets' devices by the index of the host's end.
func places(d wiring.Document) map[int]place {
	found := map[int]place{}
	for i := range d.Targets {
		for j := range d.Targets[i].Interfaces {
			if peer := d.Targets[i].Interfaces[j].Peer; peer != nil {
				found[peer.Index] = place{i, j}
			}
		}
	}
	return found
}

func bridge(root *node, d wiring.Document, b wiring.Bridge, behind map[int]place, shown map[string]bool) {
	n := root.add("bridge "+end(b.Device), "%s", deviceFacts(b.Device))
	n.bad = !b.Device.Up
	n.add("", "%s", facts("id "+none(b.ID), "STP "+onOff(b.STP), "VLAN filtering "+onOff(b.VLANFiltering), nfCall(d.Host.BridgeNF, b.NFCall), plural(len(b.Ports), "port")))
	if b.Network != nil {
		n.add("network "+page.Escape(b.Network.Name), "%s", networkFacts(*b.Network))
	}
	others := 0
	for _, p := range b.Ports {
		if p.Target == "" && len(d.Targets) > 0 && p.Device.Kind == "veth" {
			others++
			continue
		}
		port := n.add("port "+end(p.Device), "%s", portFacts(p))
		port.bad = !p.Device.Up || p.State != "forwarding"
		at, ok := behind[p.Device.Index]
		if !ok {
			continue
		}
		t, in := d.Targets[at.target], d.Targets[at.target].Interfaces[at.device]
		if shown[t.Name] {
			pair(port, in).add(page.Escape(t.Name), "(above)")
			continue
		}
		shown[t.Name] = true
		targetAt(port, t, in)
	}
	if others > 0 {
		n.add("", "%s of containers that were not asked for", plural(others, "port"))
	}
}

// pair adds the target's end of a pair.
func pair(n *node, in wiring.Interface) *node {
	line := n.add("<-> "+end(in.Device), "%s", facts(deviceFacts(in.Device), when(in.Bridge != "", "FDB "+map[bool]string{true: "knows its address", false: "does not know its address"}[in.FDB])))
	line.bad = !in.Device.Up || len(in.Differs) > 0
	for _, d := range in.Differs {
		line.add("MAC differs", "%s", page.Escape(d)).bad = true
	}
	return line
}

// targetAt adds a target below the device that leads to it.
func targetAt(n *node, t wiring.Target, in wiring.Interface) {
	target(pair(n, in), t)
}

// loose adds a target that hangs on no bridge and no uplink.
func loose(root *node, t wiring.Target) {
	n := target(root, t)
	for _, in := range t.Interfaces {
		line := pair(n, in)
		if in.Peer != nil {
			line.add("<-> "+end(*in.Peer), "%s", facts("in the host, on no bridge", deviceFacts(*in.Peer)))
		}
		if in.Lower != nil {
			line.add("on "+end(*in.Lower), "%s", deviceFacts(*in.Lower))
		}
		if in.Reason != "" {
			line.add("", "%s", page.Escape(in.Reason))
		}
	}
}

func target(n *node, t wiring.Target) *node {
	pid := ""
	if t.PID != 0 {
		pid = fmt.Sprintf("pid %d", t.PID)
	}
	line := n.add(page.Escape(t.Name), "%s", facts("("+page.Escape(t.Mode)+")", fmt.Sprintf("net:[%d]", t.Netns), pid, when(t.ID != "", "id "+short(t.ID)), engine(t),
		when(t.Image != "", "image "+page.Escape(t.Image)), when(t.Project != "", "project "+page.Escape(t.Project)), when(len(t.Aliases) > 0, "also "+page.Escape(strings.Join(t.Aliases, ", ")))))
	line.add("", "%s", page.Escape(t.Means))
	for _, p := range t.Published {
		published(line, p)
	}
	for _, s := range t.Listens {
		var who []string
		for _, p := range s.Processes {
			who = append(who, fmt.Sprintf("%s[%d]", page.Escape(p.Name), p.PID))
		}
		line.add("listens", "%s", facts(socket(s), when(s.Dual, "IPv4 and IPv6"), strings.Join(who, ", ")))
	}
	return line
}

// engine names who runs a container, where that is not Docker.
func engine(t wiring.Target) string {
	if t.Runtime == "" || t.Runtime == "docker" {
		return ""
	}
	return strings.TrimSuffix(page.Escape(t.Runtime)+" "+page.Escape(t.Space), " ")
}

func published(n *node, p wiring.Published) {
	line := n.add("published", "%s", facts(fmt.Sprintf("%s -> %d/%s", p.Host, p.Container, page.Escape(p.Protocol)), when(p.ByRules, "by the host's rules"), when(len(p.Proxies) > 0, "docker-proxy "+strings.Trim(fmt.Sprint(p.Proxies), "[]"))))
	if p.DNAT != nil {
		line.add("", "%s", ruleText(p.DNAT))
	}
	if p.From != "" && p.With != "" {
		line.add("", "from outside (%s): %s", p.From, page.Escape(p.With))
	}
	if p.Accept != nil {
		line.add("", "%s", ruleText(p.Accept))
		line.add("", "without this rule: %s", page.Escape(p.Without))
	}
}

func policies(root *node, d wiring.Document) {
	if len(d.Policies) == 0 {
		return
	}
	n := root.add("policies", "")
	for _, p := range d.Policies {
		line := n.add(fmt.Sprintf("%s %s/%s", p.Family, page.Escape(p.Table), page.Escape(p.Chain)), "%s",
			facts(p.Hook, "policy "+p.Policy, plural(p.Rules, "rule"), p.Backend))
		line.bad = p.Policy == "drop"
	}
}
