// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"
)

// nftWriter writes a rule in the words of nft.
type nftWriter struct {
	set   *Set
	chain *Chain
	v6    bool  // what the rule has said so far about the packet
	proto uint8 // 0: nothing
}

func (w *nftWriter) rule(list []Stmt) string {
	w.v6 = w.chain.Family == "ip6"
	var words []string
	for i, s := range list {
		if text := w.stmt(s, list[i+1:]); text != "" {
			words = append(words, text)
		}
	}
	return strings.Join(words, " ")
}

func (w *nftWriter) stmt(s Stmt, rest []Stmt) string {
	switch s := s.(type) {
	case Compare:
		return w.compare(s, rest)
	case Between:
		not := ""
		if s.Not {
			not = "!= "
		}
		return fmt.Sprintf("%s %s%s-%s", w.value(s.Left), not, w.constant(s.Left, s.From), w.constant(s.Left, s.To))
	case InSet:
		not := ""
		if s.Not {
			not = "!= "
		}
		return fmt.Sprintf("%s %s%s", w.value(s.Left), not, w.setWords(s.Left, s.Set))
	case Rate:
		return s.Text
	case Test:
		ipt := iptWriter{family: w.chain.Family}
		return "xt [" + ipt.match(s.Match) + "]"
	case Note:
		if s.Target != "" {
			return "xt [-j " + s.Target + " " + s.Text + "]"
		}
		return s.Text
	}
	return w.action(s)
}

func (w *nftWriter) action(s Stmt) string {
	switch s := s.(type) {
	case Go:
		return goNFT(s)
	case GoMap:
		return fmt.Sprintf("%s vmap %s", w.value(s.Left), w.setWords(s.Left, s.Set))
	case NAT:
		return w.nat(s)
	case RejectWith:
		if s.With == "" {
			return "reject"
		}
		return "reject with " + s.With
	case Assign:
		return fmt.Sprintf("%s set %s", w.value(s.To), w.assigned(s))
	case Track:
		return s.Text
	case Touch:
		return s.Text
	case ToProgram:
		return s.Text
	case Opaque:
		return s.Text
	case Save:
		return "xt [" + s.words() + "]"
	}
	return ""
}

func (w *nftWriter) assigned(s Assign) string {
	if c, ok := s.From.(Const); ok {
		return w.constant(s.To, c)
	}
	return w.value(s.From)
}

func goNFT(g Go) string {
	switch g.Kind {
	case GoAccept:
		return "accept"
	case GoDrop:
		return "drop"
	case GoReturn:
		return "return"
	case GoJump:
		return "jump " + g.Chain
	case GoGoto:
		return "goto " + g.Chain
	case GoQueue:
		return "queue"
	}
	return "continue"
}

func (w *nftWriter) nat(s NAT) string {
	name := strings.ToLower(s.Kind.String())
	var to string
	switch {
	case s.AddrMin != nil && addrOf(s.AddrMin) == "":
		to = w.value(s.AddrMin)
		if s.PortMin != nil {
			to += ":" + w.portWords(s.PortMin)
		}
	case s.PortMin != nil && portOf(s.PortMin) == "":
		to = addrOf(s.AddrMin) + ":" + w.portWords(s.PortMin)
	default:
		to = s.to()
		if s.Kind == Masquerade || s.Kind == Redirect {
			if to != "" {
				to = ":" + to
			}
		}
	}
	if to != "" {
		name += " to " + to
	}
	flags := map[bool]string{true: " random"}[s.Random && !s.Fully] + map[bool]string{true: " fully-random"}[s.Fully] +
		map[bool]string{true: " persistent"}[s.Persistent]
	return name + flags
}

func (w *nftWriter) portWords(v Value) string {
	if s := portOf(v); s != "" {
		return s
	}
	return w.value(v)
}

// compare leaves out what a later statement of the rule says anyway.
func (w *nftWriter) compare(s Compare, rest []Stmt) string {
	if m, ok := s.Left.(Meta); ok && s.Op == EQ {
		switch {
		case m.Key == "l4proto" && len(s.Right) == 1:
			w.proto = s.Right[0]
			if mentions(rest, TransportHeader) && protoHeader(w.proto) {
				return ""
			}
		case m.Key == "nfproto" && len(s.Right) == 1, m.Key == "protocol" && len(s.Right) == 2:
			w.v6 = s.Right[0] == 10 || s.Right[0] == 0x86
			if mentions(rest, NetworkHeader) {
				return ""
			}
		}
	}
	left, mask := s.Left, []byte(nil)
	if b, ok := s.Left.(Bitwise); ok {
		left, mask = b.Of, b.Mask
		if words, ok := w.bits(left, mask, s); ok {
			return words
		}
	}
	op := map[Op]string{NE: "!= ", LT: "< ", LE: "<= ", GT: "> ", GE: ">= "}[s.Op]
	if mask == nil {
		return fmt.Sprintf("%s %s%s", w.value(left), op, w.constant(left, s.Right))
	}
	return fmt.Sprintf("%s %s%s", w.value(s.Left), map[bool]string{true: "== ", false: op}[s.Op == EQ], w.constant(left, s.Right))
}

// bits writes prefixes ("ip saddr 10.0.0.0/8") and sets of bits ("ct state
// established,related").
func (w *nftWriter) bits(left Value, mask []byte, s Compare) (string, bool) {
	if p, ok := left.(Payload); ok && isAddr(p, w.v6) {
		return fmt.Sprintf("%s %s%s", w.value(left), map[bool]string{true: "!= "}[s.Op == NE],
			addrWords(s.Right, mask, len(mask))), true
	}
	zero := strings.Trim(string(s.Right), "\x00") == ""
	c, isCT := left.(CT)
	if isCT && (c.Key == "state" || c.Key == "status") && zero && s.Op == NE {
		return fmt.Sprintf("%s %s", w.value(left), w.constant(left, mask)), true
	}
	return "", false
}

func isAddr(p Payload, v6 bool) bool {
	if p.Base != NetworkHeader {
		return false
	}
	if v6 {
		return (p.Offset == 8 || p.Offset == 24) && p.Len <= 16
	}
	return (p.Offset == 12 || p.Offset == 16) && p.Len <= 4
}

func protoHeader(n uint8) bool {
	return n == TCP || n == UDP || n == SCTP || n == ICMP || n == ICMPv6 || n == dccp
}

// mentions tells whether statements look into a header.
func mentions(list []Stmt, base PayloadBase) bool {
	for _, s := range list {
		var v Value
		switch s := s.(type) {
		case Compare:
			v = s.Left
		case Between:
			v = s.Left
		case InSet:
			v = s.Left
		case GoMap:
			v = s.Left
		}
		if looksInto(v, base, 0) {
			return true
		}
	}
	return false
}

func looksInto(v Value, base PayloadBase, depth int) bool {
	if depth > nested {
		return false
	}
	switch v := v.(type) {
	case Payload:
		return v.Base == base
	case Bitwise:
		return looksInto(v.Of, base, depth+1)
	case Concat:
		for _, part := range v {
			if looksInto(part, base, depth+1) {
				return true
			}
		}
	}
	return false
}
