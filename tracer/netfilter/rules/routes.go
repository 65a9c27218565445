// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"net/netip"
	"slices"
)

// Tables of the kernel's own policy rules.
const (
	TableDefault = 253
	TableMain    = 254
	TableLocal   = 255
)

// Lookup asks the routing, as the kernel does for a packet. ok is false without
// a route; unsure says that a policy rule without a model could have changed the
// answer.
func (r *Routes) Lookup(q Query) (route Route, ok, unsure bool) {
	for _, rule := range r.policy() {
		match, maybe := rule.matches(q)
		if maybe {
			return Route{}, false, true
		}
		if !match {
			continue
		}
		if rule.Action != RouteUnspec {
			return Route{Type: rule.Action}, true, false
		}
		found, ok := r.inTable(rule.Table, q)
		if !ok || found.Type == RouteThrow || found.Dst.Bits() <= rule.SuppressPrefix {
			continue
		}
		return found, true, false
	}
	return Route{}, false, false
}

// policy returns the policy rules in order.
func (r *Routes) policy() []PolicyRule {
	if len(r.Rules) == 0 {
		return []PolicyRule{
			{Priority: 0, Table: TableLocal, SuppressPrefix: -1},
			{Priority: 32766, Table: TableMain, SuppressPrefix: -1},
			{Priority: 32767, Table: TableDefault, SuppressPrefix: -1},
		}
	}
	list := slices.Clone(r.Rules)
	slices.SortStableFunc(list, func(a, b PolicyRule) int { return cmp.Compare(a.Priority, b.Priority) })
	return list
}

// matches tells whether a policy rule is asked; maybe, that this is not known.
func (p PolicyRule) matches(q Query) (match, maybe bool) {
	if p.V6Only && !q.v6() || p.V4Only && q.v6() {
		return false, false
	}
	if !p.selects(q) {
		return p.Not, false
	}
	if p.Opaque {
		return false, true
	}
	return !p.Not, false
}

// selects tells whether what a policy rule says of a packet is so.
func (p PolicyRule) selects(q Query) bool {
	return (!p.From.IsValid() || p.From.Bits() == 0 || q.Src.IsValid() && p.From.Contains(q.Src)) &&
		(!p.To.IsValid() || p.To.Contains(q.Dst)) &&
		(p.In == "" || p.In == q.In) &&
		(p.Out == "" || p.Out == q.Out) &&
		q.Mark&p.Mask == p.Mark&p.Mask
}

func (q Query) v6() bool { return q.Dst.Is6() && !q.Dst.Is4In6() }

// inTable finds the longest prefix, and of these the lowest metric.
func (r *Routes) inTable(table int, q Query) (best Route, ok bool) {
	for _, route := range r.Routes {
		if route.Table != table || !route.Dst.Contains(q.Dst) || q.Out != "" && route.Dev != q.Out {
			continue
		}
		if !ok || route.Dst.Bits() > best.Dst.Bits() ||
			route.Dst.Bits() == best.Dst.Bits() && route.Metric < best.Metric {
			best, ok = route, true
		}
	}
	return best, ok
}

// ForMany tells whether an address is a group's, or means all on a network.
func (r *Routes) ForMany(addr netip.Addr) bool {
	if addr.IsMulticast() {
		return true
	}
	return addr.Is4() && addr.As4()[0] != 0 && r.typeOf(addr, "") == RouteBroadcast
}

// typeOf is the type of an address as rules ask for it (RTN_LOCAL, ...): that of
// its entry in the local table. dev, if given, has to be that entry's.
func (r *Routes) typeOf(addr netip.Addr, dev string) RouteType {
	if addr.Is6() && !addr.Is4In6() {
		return r.typeOf6(addr, dev)
	}
	b := addr.As4()
	switch {
	case b[0] == 0, b == [4]byte{255, 255, 255, 255}:
		return RouteBroadcast
	case b[0]&0xf0 == 0xe0:
		return RouteMulticast
	}
	found, ok := r.inTable(TableLocal, Query{Dst: addr})
	if !ok || dev != "" && found.Dev != dev {
		return RouteUnicast
	}
	return found.Type
}

// typeOf6 is the type of an address of IPv6; whether there is a way at all
// counts, too.
func (r *Routes) typeOf6(addr netip.Addr, dev string) RouteType {
	if addr.IsMulticast() {
		return RouteMulticast
	}
	found, ok, _ := r.Lookup(Query{Dst: addr})
	switch {
	case !ok, found.Type == RouteUnreachable, found.Type == RouteBlackhole, found.Type == RouteProhibit:
		return RouteUnreachable
	case found.Type == RouteLocal:
		if dev != "" && found.Dev != dev && found.Src != addr {
			return RouteUnicast
		}
		return RouteLocal
	}
	return found.Type
}

// is6 tells whether an address of IPv6 is of each of the types that a mask names,
// as xtables asks: being multicast or unicast follows from the address alone.
func (r *Routes) is6(addr netip.Addr, dev string, mask uint16) bool {
	has := func(t RouteType) bool { return mask&(1<<t) != 0 }
	if has(RouteMulticast) && !addr.IsMulticast() ||
		has(RouteUnicast) && (addr.IsMulticast() || addr.IsUnspecified()) ||
		has(RouteUnspec) && !addr.IsUnspecified() {
		return false
	}
	if !has(RouteLocal) && !has(RouteAnycast) && !has(RouteUnreachable) {
		return true
	}
	found, ok, _ := r.Lookup(Query{Dst: addr})
	switch {
	case !ok, found.Type == RouteUnreachable, found.Type == RouteBlackhole, found.Type == RouteProhibit:
		return has(RouteUnreachable)
	case found.Type == RouteAnycast:
		return has(RouteAnycast)
	case found.Type == RouteLocal:
		return has(RouteLocal) && (dev == "" || dev == found.Dev)
	}
	return false
}
