// SPDX-License-Identifier: Apache-2.0

package wiring

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/exporter/internal/page"
	"github.com/vethtrace/vethtrace/tracer/wiring"
)

// facts joins what is not empty.
func facts(all ...string) string {
	var list []string
	for _, s := range all {
		if s != "" {
			list = append(list, s)
		}
	}
	return strings.Join(list, "  ")
}

func when(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return page.Escape(s)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func short(id string) string { return id[:min(12, len(id))] }

func nfCall(loaded bool, c wiring.NFCall) string {
	if !loaded {
		return "no br_netfilter"
	}
	return fmt.Sprintf("bridge-nf-call-iptables %s, -ip6tables %s, -arptables %s", onOff(c.IPTables), onOff(c.IP6Tables), onOff(c.ARPTables))
}

// end names a device as ip(8) does: vethef1372a@if26.
func end(d wiring.Device) string {
	name := page.Escape(d.Name)
	if d.Other != 0 {
		return fmt.Sprintf("%s@if%d", name, d.Other)
	}
	return name
}

func deviceFacts(d wiring.Device) string {
	state := onOff(d.Up)
	if d.Up {
		state = "up"
	}
	if d.State != "" && d.State != "up" && d.State != "unknown" {
		state += " (" + d.State + ")"
	}
	veth := d.Kind == "veth"
	return facts(fmt.Sprintf("index %d", d.Index), d.MAC, page.Escape(strings.Join(d.Addrs, " ")), fmt.Sprintf("mtu %d", d.MTU), state,
		page.Escape(d.Qdisc), when(d.XDP, "XDP"), when(veth && d.GRO, "GRO"), when(veth && d.NoTSO, "TSO off"), when(d.Mode != "", d.Kind+" "+d.Mode))
}

func portFacts(p wiring.Port) string {
	learned := ""
	if len(p.Learned) > 0 && p.Target == "" {
		learned = "learned " + strings.Join(p.Learned, " ")
	}
	return facts(deviceFacts(p.Device), p.State, when(p.Hairpin, "hairpin"), when(p.Isolated, "isolated"), learned)
}

func networkFacts(n wiring.Network) string {
	return facts(page.Escape(n.Driver), "icc "+onOff(n.ICC), "masquerade "+onOff(n.Masquerade), when(n.Internal, "internal"),
		when(n.HostBinding != "", "host binding "+page.Escape(n.HostBinding)), when(n.MTU != "", "mtu "+page.Escape(n.MTU)),
		when(n.GatewayMode != "", "gateway mode "+page.Escape(n.GatewayMode)), when(n.Project != "", "project "+page.Escape(n.Project)))
}

func socket(s wiring.Socket) string {
	return s.Protocol + " " + net.JoinHostPort(s.Addr, strconv.Itoa(int(s.Port)))
}

func ruleText(r *wiring.Rule) string {
	counter := ""
	if r.Packets != nil {
		counter = plural(int(*r.Packets), "packet") //nolint:gosec // a counter of packets
	}
	return facts(fmt.Sprintf("%s/%s rule %d:", page.Escape(r.Table), page.Escape(r.Chain), r.Number), page.Escape(r.Text), when(counter != "", "["+counter+"]"))
}

// way writes one way: its question, its steps, its verdict.
func (t printer) way(w wiring.Way) {
	root := &node{head: fmt.Sprintf("%s -> %s/%s", w.From, w.To, w.Protocol)}
	if w.Origin != "" { // a way that nowhere begins
		root.rest = "from " + page.Escape(w.Origin)
	}
	for _, leg := range []struct {
		name  string
		steps []wiring.Step
	}{{"there", w.There}, {"the proxy's own connection", w.Onward}, {"back", w.Back}} {
		if len(leg.steps) == 0 {
			continue
		}
		n := root.add(leg.name, "")
		for i := range leg.steps {
			step(n, leg.steps[i])
		}
	}
	v := root.add("verdict: "+w.Verdict.Kind, "%s", page.Escape(w.Verdict.Text))
	v.bad = w.Verdict.Kind != wiring.Delivered && w.Verdict.Kind != wiring.Leaves && w.Verdict.Kind != wiring.Proxied
	if w.Verdict.Rule != nil {
		v.add("", "%s", ruleText(w.Verdict.Rule))
	}
	switch w.Verdict.Answered {
	case "":
	case "client":
		v.add("", "the answer reaches the sender")
	default:
		v.add("", "the answer: %s", page.Escape(w.Verdict.Answered))
	}
	t.tree(root)
}

func step(n *node, s wiring.Step) {
	where := page.Escape(s.Place)
	if s.Hook != "" {
		where += " " + strings.ToUpper(s.Hook)
	}
	what := page.Escape(s.Text)
	if s.Kind == wiring.KindRoute {
		what = "route " + what
	}
	if s.Rule != nil {
		what = ruleText(s.Rule)
	}
	line := n.add(where, "%s", facts(what, when(s.NAT != "", "=> "+page.Escape(s.NAT)), when(s.Perhaps, "(perhaps)"), when(s.Decides, "<=")))
	line.bad = s.Decides && (s.Does == "drop" || s.Does == "reject")
}
