// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// words is a translation as iptables writes it.
func (n NAT) words() string {
	if n.Netmap && n.FromHook {
		return "-j NETMAP --to " + n.prefixWords()
	}
	s := "-j " + n.Kind.String()
	option := " --to-destination "
	switch n.Kind {
	case SNAT:
		option = " --to-source "
	case Masquerade, Redirect:
		option = " --to-ports "
	}
	if to := n.to(); to != "" {
		s += option + to
	}
	if n.Random && !n.Fully {
		s += " --random"
	}
	if n.Fully {
		s += " --random-fully"
	}
	if n.Persistent {
		s += " --persistent"
	}
	return s
}

func (n NAT) prefixWords() string {
	low, ok1 := n.AddrMin.(Const)
	high, ok2 := n.AddrMax.(Const)
	if !ok1 || !ok2 || len(low) != len(high) {
		return "?"
	}
	mask := make([]byte, len(low))
	for i := range mask {
		mask[i] = ^(low[i] ^ high[i])
	}
	return addrWords(low, mask, len(low))
}

// to is the address and port that a translation names.
func (n NAT) to() string {
	s := addrOf(n.AddrMin)
	if high := addrOf(n.AddrMax); high != "" && high != s {
		s += "-" + high
	}
	ports := portOf(n.PortMin)
	if high := portOf(n.PortMax); high != "" && high != ports {
		ports += "-" + high
	}
	if n.Shifted {
		ports += fmt.Sprintf("/%d", n.Base)
	}
	if ports == "" || n.Kind == Masquerade || n.Kind == Redirect {
		return s + ports
	}
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	return s + ":" + ports
}

func addrOf(v Value) string {
	b, ok := v.(Const)
	if !ok {
		return ""
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	return a.String()
}

func portOf(v Value) string {
	b, ok := v.(Const)
	if !ok || len(b) < 2 {
		return ""
	}
	return fmt.Sprint(binary.BigEndian.Uint16(b))
}

// words is an assignment as iptables writes it.
func (a Assign) words() string {
	if a.Text != "" {
		return "-j " + a.Text
	}
	var target string
	var key Value
	switch to := a.To.(type) {
	case Meta:
		target, key = "MARK", to
	case CT:
		target, key = "CONNMARK", to
	default:
		return native(a)
	}
	value, mask, ok := masked(a.From, key)
	if !ok {
		return native(a)
	}
	return fmt.Sprintf("-j %s --set-xmark 0x%x/0x%x", target, value, mask)
}

// masked reads (key & ^mask) ^ value.
func masked(v, key Value) (value, mask uint32, ok bool) {
	switch v := v.(type) {
	case Const:
		if len(v) != 4 {
			return 0, 0, false
		}
		return binary.NativeEndian.Uint32(v), ^uint32(0), true
	case Bitwise:
		if v.Of != key || len(v.Mask) != 4 || len(v.Xor) != 4 {
			return 0, 0, false
		}
		return binary.NativeEndian.Uint32(v.Xor), ^binary.NativeEndian.Uint32(v.Mask), true
	}
	return 0, 0, false
}

func (s Save) words() string {
	word := "--save-mark"
	if s.Restore {
		word = "--restore-mark"
	}
	return fmt.Sprintf("-j CONNMARK %s --nfmask 0x%x --ctmask 0x%x", word, s.PacketMask, s.CTMask)
}
