// SPDX-License-Identifier: Apache-2.0

package change

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vethtrace/vethtrace/tracer/wiring"
)

func (d *differ) targets(old, now []wiring.Target) {
	// one that starts again has another namespace, or at least another process
	key := func(t wiring.Target) string {
		if t.ID != "" {
			return fmt.Sprintf("%s %d %d", t.ID, t.Netns, t.PID)
		}
		return fmt.Sprintf("%s %d", t.Name, t.Netns)
	}
	gone := func(t wiring.Target) { d.add(Removed, "container", host, t.Name, targetText(t)) }
	came := func(t wiring.Target) {
		d.add(Added, "container", host, t.Name, targetText(t))
		d.inside(wiring.Target{}, t)
	}
	pair(old, now, key, gone, came, func(a, b wiring.Target) {
		d.field("container", host, b.Name, "name", a.Name, b.Name)
		d.inside(a, b)
	})
}

// inside compares what a target has. Its name is the new one.
func (d *differ) inside(old, now wiring.Target) {
	place := now.Name
	d.values("container", place, "shares its namespace", old.Aliases, now.Aliases)
	d.values("network", place, "connected", networks(old), networks(now))
	tell := func(does string) func(wiring.Interface) {
		return func(i wiring.Interface) { d.add(does, "interface", place, end(i.Device), interfaceText(i)) }
	}
	pair(old.Interfaces, now.Interfaces, func(i wiring.Interface) string { return strconv.Itoa(i.Device.Index) },
		tell(Removed), tell(Added), func(a, b wiring.Interface) {
			d.device("interface", place, a.Device, b.Device)
			d.field("interface", place, end(b.Device), "bridge", a.Bridge, b.Bridge)
			d.field("interface", place, end(b.Device), "connected", connected(a), connected(b))
		})
	port := func(does string) func(wiring.Published) {
		return func(p wiring.Published) { d.add(does, "published", place, publishedName(p), publishedText(p)) }
	}
	pair(old.Published, now.Published, publishedName, port(Removed), port(Added), func(a, b wiring.Published) {
		d.field("published", place, publishedName(b), "packet from outside", a.With, b.With)
	})
	socket := func(does string) func(wiring.Socket) {
		return func(s wiring.Socket) { d.add(does, "listener", place, socketName(s), processes(s)) }
	}
	pair(old.Listens, now.Listens, socketName, socket(Removed), socket(Added), func(_, _ wiring.Socket) {})
}

func networks(t wiring.Target) []string {
	var list []string
	for _, n := range t.Networks {
		list = append(list, strings.TrimRight(n.Network+" "+n.IP4, " "))
	}
	return list
}

func targetText(t wiring.Target) string {
	text := fmt.Sprintf("(%s)  net:[%d]", t.Mode, t.Netns)
	if t.PID != 0 {
		text += fmt.Sprintf("  pid %d", t.PID)
	}
	if t.Image != "" {
		text += "  image " + t.Image
	}
	return text
}

func interfaceText(i wiring.Interface) string {
	text := deviceText(i.Device)
	if to := connected(i); to != "" {
		text += "  " + to
	}
	if i.Bridge != "" {
		text += "  on bridge " + i.Bridge
	}
	return text
}

// connected is what a device leads to; empty for nothing of the host.
func connected(i wiring.Interface) string {
	switch {
	case i.Peer != nil:
		return "<-> " + end(*i.Peer)
	case i.Lower != nil:
		return "on " + end(*i.Lower)
	}
	return ""
}

func publishedName(p wiring.Published) string {
	return fmt.Sprintf("%s -> %d/%s", p.Host, p.Container, p.Protocol)
}

func publishedText(p wiring.Published) string {
	if p.With == "" {
		return ""
	}
	return fmt.Sprintf("from outside (%s): %s", p.From, p.With)
}

func socketName(s wiring.Socket) string {
	return s.Protocol + " " + net.JoinHostPort(s.Addr, strconv.Itoa(int(s.Port)))
}

func processes(s wiring.Socket) string {
	var who []string
	for _, p := range s.Processes {
		who = append(who, fmt.Sprintf("%s[%d]", p.Name, p.PID))
	}
	return strings.Join(who, ", ")
}

func (d *differ) proxies(old, now []wiring.Proxy) {
	tell := func(does string) func(wiring.Proxy) {
		return func(p wiring.Proxy) {
			text := strings.Join(p.Listens, ", ")
			if p.To != "" {
				text += " -> " + p.To
			}
			d.add(does, "proxy", host, fmt.Sprintf("%s[%d]", p.Kind, p.PID), text)
		}
	}
	pair(old, now, func(p wiring.Proxy) string { return fmt.Sprintf("%s %d", p.Kind, p.PID) }, tell(Removed), tell(Added), func(a, b wiring.Proxy) {
		d.values("listener", host, fmt.Sprintf("%s[%d]", b.Kind, b.PID), a.Listens, b.Listens)
	})
}
